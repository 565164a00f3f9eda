r"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6; Dowson & Landau 1982).

.. math:: d^2 = |m_1 - m_2|^2 + \mathrm{tr}\left(S_1 + S_2 - 2 (S_1^{1/2} S_2 S_1^{1/2})^{1/2}\right)

With Inception features it is the FID; with any other features it must not be called so.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Gaussian", "frechet_distance"]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution.

    Args:
        mean: (F,) float64.
        covariance: (F, F) float64, symmetric and positive semi-definite.
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def fit(cls, features: Tensor, counts: Tensor | None = None) -> "Gaussian":
        """Mean and unbiased covariance of features (N, F).

        Args:
            features: one row per sample; computed in float64.
            counts: how often each row counts, (N,) int64; once by default. Bootstrap resamples are stated so.

        Raises:
            ValueError: fewer than 2 samples.
        """
        n = len(features) if counts is None else int(counts.sum())
        if n < 2:
            raise ValueError(f"a covariance needs at least 2 samples, not {n}")
        weights = torch.ones(len(features)) if counts is None else counts
        weights = weights.to(features.device, torch.float64)
        features = features.double()
        mean = weights @ features / n
        centred = (features - mean) * weights.sqrt()[:, None]
        return cls(mean, centred.T @ centred / (n - 1))


def _spectral_zero(eigenvalues: Tensor) -> Tensor:
    """Sets to zero what rounding leaves of vanishing eigenvalues, on either side of zero."""
    floor = len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * eigenvalues.abs().max()
    return torch.where(eigenvalues > floor, eigenvalues, 0.0)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared distance (as FID reports it) in squared units of the features; never negative."""
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * _spectral_zero(values).sqrt()) @ vectors.T
    product = root @ b.covariance @ root
    cross = _spectral_zero(torch.linalg.eigvalsh((product + product.T) / 2)).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float(distance), 0.0)
