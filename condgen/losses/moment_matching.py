r"""Moment matching: the squared maximum mean discrepancy of generated and real data, within each class.

.. math:: E\, \phi(\lVert x - r \rVert) - \tfrac{1}{2} E\, \phi(\lVert x - x' \rVert)
    - \tfrac{1}{2} E\, \phi(\lVert r - r' \rVert), \qquad \phi(d) = h (1 - e^{-d/h})

for generated x and real r (Li et al. 2015, arXiv 1502.02761; with this Laplace kernel, inductive moment matching, arXiv
2503.07565, in one step from noise to data). It is zero only where the two agree: no second network is needed. A great
h makes it the energy distance. The last term has no gradient and is left out. For points and small images: distances
in pixels tell little of large ones.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from condgen.settings import Settings


class MomentMatching(Settings):
    loss: Literal["mmd"] = "mmd"
    bandwidth: float = Field(default=0.25, gt=0, description="h, over the data's deviation times root dimensions")


def _potential(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Of the distances of rows, (A, D), (B, D) -> (A, B)."""
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT
    return -width * (-(squared.clamp_min(0) + 1e-6).sqrt() / width).expm1()  # at zero the root is not differentiable


def moment_matching_loss(x: Tensor, y: Tensor, real: Tensor, width: float) -> Tensor:
    """The loss (B,) of generated x (B, ...) and real data, both of labels y (B,), for a width h in units of x."""
    x, real, same = x.flatten(1), real.flatten(1), (y[:, None] == y).to(x.dtype)
    others = same - same.diag().diag()
    count = others.sum(1)
    to_real = (same * _potential(x, real, width)).sum(1) / (count + 1)
    apart = (others * _potential(x, x, width)).sum(1) / count.clamp_min(1)
    return (to_real - 0.5 * apart) * (count > 0)  # one alone in its class would be drawn to data, and repelled by none
