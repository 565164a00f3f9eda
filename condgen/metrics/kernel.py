r"""The kernel distance (KID: Binkowski et al. 2018, "Demystifying MMD GANs"): a squared maximum mean discrepancy.

.. math:: \hat d = \frac{\sum_{i \ne j} k(x_i, x_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m (m - 1)}
          - \frac{2}{n m} \sum_{ij} k(x_i, y_j), \qquad k(x, y) = \left(\frac{x \cdot y}{F} + 1\right)^3

It has no bias at finite n, so that it may be below zero. Papers print the mean over a hundred random subsets of a
thousand: the same expectation. Here all pairs count at once. Products are in the type of the features, sums in float64.
"""

import torch
from torch import Tensor

_SIDE = 2**10  # of a square of kernel values held at a time: 4 MB in float32


def mean_within(vectors: Tensor) -> float:
    """The mean of the kernel over all pairs of different features among (M, F)."""
    return float(_sums_over_others(vectors).sum()) / (len(vectors) * (len(vectors) - 1))


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    """Sums of the kernel over b for each of a, (N,) float64; its values are of the type of the features."""
    b = b.to(a.dtype)
    out = torch.zeros(len(a), dtype=torch.float64)
    for rows, sums in zip(a.split(_SIDE), out.split(_SIDE), strict=True):
        for part in b.split(_SIDE):
            sums += (rows @ part.T).div_(a.shape[1]).add_(1).pow_(3).sum(1, dtype=torch.float64)
    return out


def _sums_over_others(a: Tensor) -> Tensor:
    own = [(part.double().square().sum(1) / a.shape[1] + 1).pow(3) for part in a.split(1000)]
    return _row_sums(a, a) - torch.cat(own)


def kernel_distance(samples: Tensor, real: Tensor, within: float | None = None) -> tuple[float, float]:
    """The distance of 3 samples or more, (N, F), from 2 real ones or more, whose mean `within` may be at hand.

    The standard error is the delete-one jackknife's (Efron 1982, chapter 3), up to 1.6 times too wide for like sets.
    """
    n, within = len(samples), mean_within(real) if within is None else within
    own = _sums_over_others(samples)
    cross = _row_sums(samples, real) / len(real)
    total, mean = own.sum(), cross.mean()
    without = (total - 2 * own) / ((n - 1) * (n - 2)) - 2 * (n * mean - cross) / (n - 1)
    error = ((n - 1) / n * (without - without.mean()).square().sum()).sqrt()
    return float(total / (n * (n - 1)) - 2 * mean) + within, float(error)
