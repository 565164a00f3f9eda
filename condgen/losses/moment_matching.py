r"""Moment matching: the squared maximum mean discrepancy of generated and real data, within each class.

.. math:: E\, \phi(\lVert x - r \rVert) - \tfrac{1}{2} E\, \phi(\lVert x - x' \rVert)
    - \tfrac{1}{2} E\, \phi(\lVert r - r' \rVert), \qquad \phi(d) = h (1 - e^{-d/h})

for generated x, real r, and the Laplace kernel of width h (generative moment matching: Li et al. 2015, arXiv
1502.02761; with this kernel, one step from noise to data of inductive moment matching, arXiv 2503.07565). It is zero
only where the two distributions agree, so that no second network judges the generator. For a great h it becomes the
energy distance. The last term has no gradient and is left out. Distances in pixels tell little of large images: this
is a loss for points and small ones.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from condgen.settings import Settings

_NEAR = 1e-6  # added to squared distances: the root has no derivative at zero


class MomentMatching(Settings):
    loss: Literal["mmd"] = "mmd"
    bandwidth: float = Field(
        default=0.25, gt=0, description="h, in the data's standard deviation times the root of its dimensions"
    )


def _potential(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    """Of the distances of rows, (A, D), (B, D) -> (A, B)."""
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT
    return -bandwidth * (-(squared.clamp_min(0) + _NEAR).sqrt() / bandwidth).expm1()


def moment_matching_loss(x: Tensor, y: Tensor, real: Tensor, bandwidth: float) -> Tensor:
    """The loss (B,) of generated x (B, ...) of labels y (B,), which real (B, ...) has too; h in units of x.

    Each row's are means over pairs within its class, unbiased; one that is alone in its class has a loss of zero.
    """
    x, real, labels = x.flatten(1), real.flatten(1), F.one_hot(y).to(x.dtype)
    same = labels @ labels.mT
    others = same - same.diag().diag()
    count = others.sum(1)
    to_real = (same * _potential(x, real, bandwidth)).sum(1) / (count + 1)
    apart = (others * _potential(x, x, bandwidth)).sum(1) / count.clamp_min(1)
    return (to_real - 0.5 * apart) * (count > 0)
