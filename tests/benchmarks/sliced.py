r"""The sliced Wasserstein distance: optimal transport between one-dimensional projections of two sets of samples.

.. math:: SW^2 = \mathbb{E}_\theta\, W^2(\theta \cdot a,\ \theta \cdot b), \qquad
          W^2 = \int_0^1 |F_a^{-1}(q) - F_b^{-1}(q)|^2\, dq

with directions :math:`\theta` uniform on the unit sphere (Rabin et al. 2011; Bonneel et al. 2015). On a line optimal
transport goes from quantile to quantile, so a sort finds it exactly. Unlike a Fréchet distance it sees the whole
distribution. Two finite sets of one distribution are a distance apart too: compare at equal sizes, with that floor.
"""

import math

import torch
from torch import Tensor


def directions(dimensions: int, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors, uniform on the sphere: (count, dimensions) float64, which comparisons should share."""
    drawn = torch.randn(count, dimensions, dtype=torch.float64, generator=generator)
    return torch.nn.functional.normalize(drawn)


def sliced_wasserstein(a: Tensor, b: Tensor, along: Tensor) -> float:
    """SW of samples (N, ...) and (M, ...) of D finite numbers each along directions (P, D), in units of the samples."""
    projected = []
    for samples in (a, b):
        flat = samples.double().flatten(1)
        projected.append((flat @ along.T.to(flat.device)).sort(dim=0).values)
    # Between these quantiles, in units of 1 / (n m), both quantile functions are constant.
    n, m = len(a), len(b)
    ends = torch.cat((torch.arange(n + 1) * m, torch.arange(m + 1) * n)).unique().to(a.device)
    gaps = (projected[0][ends[:-1] // m] - projected[1][ends[:-1] // n]).abs()
    return math.sqrt(float((ends.diff()[:, None] * gaps**2).sum(0).mean()) / (n * m))
