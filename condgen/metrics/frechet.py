r"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6; Dowson & Landau 1982).

.. math:: d^2 = |m_1 - m_2|^2 + \mathrm{tr}\left(S_1 + S_2 - 2 (R S_1 R^T)^{1/2}\right), \qquad S_2 = R^T R

for any factor R of one covariance. Its own square root is the usual choice; that of Cholesky costs a twentieth, and of
fewer samples than features they themselves are a factor, with fewer rows still. The argument of the root is symmetric,
so that its trace is the sum of the roots of real eigenvalues.

With Inception features and 10,000 samples or more it is the FID; with any other it must not be called so.
"""

from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Gaussian", "frechet_distance", "influences"]

_ROWS = 4096  # in float64 at a time


class Gaussian:
    """A normal distribution.

    Args:
        mean: (F,) float64.
        covariance: (F, F) float64, symmetric and positive semi-definite; or
        rows: (R, F) float64, whose `rows.T @ rows` it is.

    Raises:
        ValueError: neither of both.
    """

    def __init__(self, mean: Tensor, covariance: Tensor | None = None, *, rows: Tensor | None = None) -> None:
        if covariance is None and rows is None:
            raise ValueError("a Gaussian needs a covariance, or rows that it is the product of")
        self.mean, self.rows, self._covariance = mean, rows, covariance

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
        count, width = features.shape
        weights = torch.ones(count) if counts is None else counts
        weights = weights.to(features.device, torch.float64)
        parts = [(weights[i : i + _ROWS], features[i : i + _ROWS]) for i in range(0, count, _ROWS)]
        mean = torch.stack([w @ x.double() for w, x in parts]).sum(0) / n
        if count < width:
            return cls(mean, rows=(features.double() - mean) * (weights / (n - 1)).sqrt()[:, None])
        covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
        for w, x in parts:
            rows = (x.double() - mean) * (w / (n - 1)).sqrt()[:, None]
            covariance.addmm_(rows.T, rows)
        return cls(mean, covariance)

    @cached_property
    def covariance(self) -> Tensor:
        """(F, F)."""
        if self._covariance is not None:
            return self._covariance
        assert self.rows is not None
        product: Tensor = self.rows.T @ self.rows
        return product

    @cached_property
    def trace(self) -> Tensor:
        """Of the covariance."""
        return self._covariance.trace() if self.rows is None else self.rows.square().sum()  # type: ignore[union-attr]

    @cached_property
    def factor(self) -> Tensor:
        """R, (R, F), with the covariance R^T R."""
        if self.rows is not None:
            return self.rows
        lower, failed = torch.linalg.cholesky_ex(self.covariance)
        factor: Tensor = lower.T
        if failed:  # some direction has no variance
            values, vectors = torch.linalg.eigh(self.covariance)
            factor = _spectral_zero(values).sqrt()[:, None] * vectors.T
        return factor


def _spectral_zero(eigenvalues: Tensor) -> Tensor:
    """Sets to zero what rounding leaves of vanishing eigenvalues, on either side of zero."""
    floor = len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * eigenvalues.abs().max()
    return torch.where(eigenvalues > floor, eigenvalues, 0.0)


def _sandwich(factor: Tensor, inner: Gaussian) -> Tensor:
    """R S R^T, (R, R)."""
    if inner.rows is not None:
        half = factor @ inner.rows.T
        return half @ half.T
    product = factor @ inner.covariance @ factor.T
    return (product + product.T) / 2


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared distance (as FID reports it) in squared units of the features; never negative."""
    few = min((g for g in (b, a) if g.rows is not None), key=lambda g: len(g.rows), default=b)  # type: ignore[arg-type]
    outer, inner = (a, b) if few is a else (b, a)
    cross = _spectral_zero(torch.linalg.eigvalsh(_sandwich(outer.factor, inner))).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.trace + b.trace - 2 * cross
    return max(float(distance), 0.0)


def influences(features: Tensor, own: Gaussian, other: Gaussian) -> Tensor:
    r"""How much each sample moves the distance of its set from another, (N,) float64, to first order.

    Their root mean square over the root of N is the limit of the bootstrap's standard error (the infinitesimal
    jackknife: Efron 1982, "The jackknife, the bootstrap and other resampling plans", chapter 6), at the price of one
    decomposition. A sample at z from the mean moves the distance by

    .. math:: 2 (m_1 - m_2) \cdot z + z^T (I - T) z - \mathrm{tr}((I - T) S_1), \qquad
              T = R^T (R S_1 R^T)^{-1/2} R

    Args:
        features: the samples, (N, F).
        own: fitted to them.
        other: what the distance is from; R is its factor.
    """
    z = features.double() - own.mean
    values, vectors = torch.linalg.eigh(_sandwich(other.factor, own))
    values = _spectral_zero(values)
    scales = torch.where(values > 0, values.pow(-0.25), 0.0)
    carried = z @ (other.factor.T @ (vectors * scales))
    moved = 2 * z @ (own.mean - other.mean) + z.square().sum(1) - carried.square().sum(1)
    centred: Tensor = moved - moved.mean()
    return centred
