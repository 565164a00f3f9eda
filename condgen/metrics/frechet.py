r"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6; Dowson & Landau 1982).

.. math:: d^2 = |m_1 - m_2|^2 + \mathrm{tr}\left(S_1 + S_2 - 2 (R_2 S_1 R_2^T)^{1/2}\right), \qquad S_i = R_i^T R_i

for any factors R of the covariances: those of Cholesky cost a twentieth of square roots, and fewer samples than
features are a factor themselves. The argument of the root is symmetric, so its trace is the sum of the roots of real
eigenvalues.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_ROWS = 4096  # in float64 at a time


class Gaussian(NamedTuple):
    mean: Tensor  # (F,) float64
    factor: Tensor  # R, (R, F) float64, of the covariance R^T R

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> "Gaussian":
        """From a mean (F,) and a positive semi-definite covariance (F, F), float64."""
        lower, failed = torch.linalg.cholesky_ex(covariance)
        if not failed:
            return cls(mean, lower.T)
        values, vectors = torch.linalg.eigh(covariance)  # some direction has no variance
        return cls(mean, _spectral_zero(values).sqrt()[:, None] * vectors.T)

    @classmethod
    def fit(cls, features: Tensor) -> "Gaussian":
        """Mean and unbiased covariance of features (N, F), N at least 2."""
        n, width = features.shape
        parts = features.split(_ROWS)
        mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / n
        if n < width:
            return cls(mean, (features.double() - mean) / (n - 1) ** 0.5)
        covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
        for part in parts:
            rows = part.double() - mean
            covariance.addmm_(rows.T, rows, alpha=1 / (n - 1))
        return cls.of(mean, covariance)


def _spectral_zero(eigenvalues: Tensor) -> Tensor:
    """Sets to zero what rounding leaves of vanishing eigenvalues, on either side of zero."""
    floor = len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * eigenvalues.abs().max()
    return torch.where(eigenvalues > floor, eigenvalues, 0.0)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared distance, as FID reports it; never negative."""
    few, many = sorted((a.factor, b.factor), key=len)
    product = few @ many.T
    cross = _spectral_zero(torch.linalg.eigvalsh(product @ product.T)).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.factor.square().sum() + b.factor.square().sum() - 2 * cross
    return max(float(distance), 0.0)


def influences(features: Tensor, own: Gaussian, other: Gaussian) -> Tensor:
    r"""How much each sample moves the distance of its set from another, (N,) float64, to first order.

    Their root mean square over the root of N is a standard error (the infinitesimal jackknife: Efron 1982, "The
    jackknife, the bootstrap and other resampling plans", chapter 6). With R the factor of the other, a sample at z from
    the mean moves the distance by

    .. math:: 2 (m_1 - m_2) \cdot z + z^T (I - T) z - \mathrm{tr}((I - T) S_1), \qquad
              T = R^T (R S_1 R^T)^{-1/2} R
    """
    z = features.double() - own.mean
    product = other.factor @ own.factor.T
    values, vectors = torch.linalg.eigh(product @ product.T)
    values = _spectral_zero(values)
    scales = torch.where(values > 0, values.pow(-0.25), 0.0)
    carried = z @ (other.factor.T @ (vectors * scales))
    moved = 2 * z @ (own.mean - other.mean) + z.square().sum(1) - carried.square().sum(1)
    return moved - moved.mean()
