r"""The sliced Wasserstein distance: optimal transport between one-dimensional shadows of two sets of samples.

.. math:: SW_p^p = \mathbb{E}_\theta\, W_p^p(\theta \cdot a,\ \theta \cdot b), \qquad
          W_p^p = \int_0^1 |F_a^{-1}(q) - F_b^{-1}(q)|^p\, dq

with directions :math:`\theta` uniform on the unit sphere (Rabin et al. 2011, "Wasserstein barycenter and its
application to texture mixing"; Bonneel et al. 2015). On a line optimal transport goes from quantile to quantile, so a
sort finds it exactly. Unlike a Fréchet distance it sees the whole distribution, and it grows by
:math:`|m| / \sqrt{D}` (p = 2) when one of two equal sets in D dimensions is moved by m.

Two finite sets of one distribution are a distance apart too, which falls with their sizes: compare at equal sizes, and
beside that floor.
"""

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["directions", "sliced_wasserstein"]


def directions(dimensions: int, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors, uniform on the sphere: (count, dimensions) float64.

    Args:
        dimensions: of the samples, flattened.
        count: of directions; the error of the mean over them falls with its root.
        generator: a CPU generator: the same one gives the same directions, which comparisons should share.
    """
    drawn = torch.randn(count, dimensions, dtype=torch.float64, generator=generator)
    unit: Tensor = drawn / drawn.norm(dim=1, keepdim=True)
    return unit


def sliced_wasserstein(a: Tensor, b: Tensor, along: Tensor, order: Literal[1, 2] = 2) -> float:
    """The distance between samples a (N, ...) and b (M, ...), computed in float64.

    Args:
        a: samples, of finite numbers.
        b: samples of the same shape; there may be more or fewer.
        along: `directions`, (P, D) for samples of D numbers each.
        order: p.

    Returns:
        SW_p, in units of the samples.

    Raises:
        ValueError: no samples on a side, or samples that do not fit the directions.
    """
    shadows = []
    for samples in (a, b):
        flat = samples.double().flatten(1)
        if len(flat) == 0 or flat.shape[1] != along.shape[1]:
            raise ValueError(f"samples {tuple(samples.shape)} have no shadow along directions {tuple(along.shape)}")
        shadows.append((flat @ along.T.to(flat.device)).sort(dim=0).values)
    rows, weights = _pieces(len(a), len(b))
    gaps = (shadows[0][rows[0]] - shadows[1][rows[1]]).abs()
    cost = float((weights.to(gaps.device)[:, None] * gaps**order).sum(0).mean())
    return cost if order == 1 else math.sqrt(cost)


def _pieces(n: int, m: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The stretches of [0, 1] on which the quantile functions of n and of m points are both constant.

    Returns:
        Which of the n and of the m sorted points each stretch belongs to, and its length: (n + m - gcd(n, m),) each.
    """
    ends = torch.cat((torch.arange(n + 1) * m, torch.arange(m + 1) * n)).unique()  # in units of 1 / (n m), exactly
    starts, lengths = ends[:-1], ends.diff()
    return (starts // m, starts // n), lengths.double() / (n * m)
