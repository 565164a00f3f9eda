r"""Score errors against an exact oracle: where, and by how much, every estimated score is wrong.

With s the estimated prior score, g the estimated likelihood score, and hats for the exact ones (Chao et al. 2022,
section 3; the names are the paper's):

.. math::
    D = \lVert s - \hat s \rVert, \qquad D_L = \lVert \gamma g - \hat g \rVert, \qquad
    D_P = \lVert s + \gamma g - \hat s - \hat g \rVert

at guidance scale :math:`\gamma`. All are norms in the units of the score (one over data units), averaged over queries.
*Data-weighted* queries are noised data; *grid* queries are the points of a regular grid, on and off the data alike.

Every such norm follows from six inner products per query, so the fields themselves are never kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from condgen.bayes import Denoiser, Likelihood
from condgen.noise import perturb
from condgen.oracle import Oracle

__all__ = ["ErrorRow", "Measured", "best_constant_scale", "likelihood_fields", "measure", "summarise"]

Weighting: TypeAlias = Literal["data", "grid"]


@dataclass(frozen=True)
class ErrorRow:
    """One fact: the mean and standard deviation over n queries of one error of one method at one noise level."""

    method: str
    sigma: float
    weighting: Weighting
    quantity: Literal["D", "D_P", "D_L"]
    mean: float
    sd: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """The row as plain JSON."""
        return asdict(self)


class Measured(NamedTuple):
    """Inner products per query, each (n,) float64: v the prior's error, g and e the likelihood score."""

    vv: Tensor
    gg: Tensor
    ee: Tensor
    vg: Tensor
    ve: Tensor
    ge: Tensor

    def likelihood_error(self, scale: float) -> Tensor:
        """D_L of each query at a guidance scale."""
        return (scale**2 * self.gg - 2 * scale * self.ge + self.ee).clamp_min(0).sqrt()

    def posterior_error(self, scale: float) -> Tensor:
        """D_P of each query at a guidance scale."""
        squared = self.vv + scale**2 * self.gg + self.ee + 2 * scale * self.vg - 2 * self.ve - 2 * scale * self.ge
        return squared.clamp_min(0).sqrt()


def measure(
    oracle: Oracle,
    prior: Denoiser,
    likelihoods: Mapping[str, Likelihood],
    t: Tensor,
    x_t: Tensor,
    y: Tensor,
    *,
    batch: int = 500,
) -> dict[str, Measured]:
    """Compares estimated with exact scores at one time.

    Args:
        oracle: knows the exact scores.
        prior: the unconditional score model.
        likelihoods: classifiers by name.
        t: the time, scalar float64.
        x_t: queries, (n, ...) float64.
        y: the label of each query, (n,).
        batch: queries that the networks see at once.

    Returns:
        The inner products for each classifier.
    """
    rows: dict[str, list[Measured]] = {name: [] for name in likelihoods}
    for x, labels in zip(x_t.split(batch), y.split(batch), strict=True):
        with torch.no_grad():
            exact = oracle.scores(x, t, labels)
            error = (prior.score(x.float(), t).double() - exact.prior).flatten(1)
        e = exact.likelihood.flatten(1)
        for name, likelihood in likelihoods.items():
            g = likelihood.score(x.float(), t, labels).double().flatten(1)
            pairs = ((error, error), (g, g), (e, e), (error, g), (error, e), (g, e))
            rows[name].append(Measured(*((a * b).sum(1) for a, b in pairs)))
    return {name: Measured(*(torch.cat(column) for column in zip(*parts, strict=True))) for name, parts in rows.items()}


def best_constant_scale(levels: Sequence[float], measured: Sequence[Measured]) -> float:
    r"""The one guidance scale that minimises the posterior error over all noise levels, weighted by sigma squared.

    It is the minimum of :math:`E\,\sigma^2 \lVert v + \gamma g - e \rVert^2`, a parabola in :math:`\gamma`.
    """
    top = sum(level**2 * float((m.ge - m.vg).mean()) for level, m in zip(levels, measured, strict=True))
    bottom = sum(level**2 * float(m.gg.mean()) for level, m in zip(levels, measured, strict=True))
    return top / bottom if bottom > 0 else 0.0


def summarise(
    level: float, weighting: Weighting, measured: Mapping[str, Measured], scales: Mapping[str, tuple[str, float]]
) -> list[ErrorRow]:
    """Rows of one noise level.

    Args:
        level: the noise level, sigma / alpha.
        weighting: how the queries were drawn.
        measured: inner products by classifier.
        scales: for each method to report, the classifier it uses and its guidance scale.
    """

    def row(method: str, quantity: Literal["D", "D_P", "D_L"], errors: Tensor) -> ErrorRow:
        return ErrorRow(
            method, level, weighting, quantity, float(errors.mean()), float(errors.std(correction=1)), len(errors)
        )

    anyone = next(iter(measured.values()))  # v and e are the same for all
    rows = [
        row("prior", "D", anyone.vv.sqrt()),
        row("zero guidance", "D_P", anyone.posterior_error(0.0)),
        row("zero guidance", "D_L", anyone.likelihood_error(0.0)),
    ]
    for method, (name, scale) in scales.items():
        rows.append(row(method, "D_P", measured[name].posterior_error(scale)))
        rows.append(row(method, "D_L", measured[name].likelihood_error(scale)))
    return rows


def data_queries(oracle: Oracle, n: int, level: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noised draws from the oracle's own distribution: (time, x_t (n, ...) float64, labels (n,))."""
    x, y = oracle.sample(n, generator)
    t = oracle.schedule.t_of_noise_level(torch.tensor(level))
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
    return t, perturb(oracle.schedule, x.double(), t, eps), y


def grid_queries(
    oracle: Oracle, x_range: tuple[float, float], y_range: tuple[float, float], points: int, level: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A points x points grid in the plane, once for every class: (time, x_t, labels), x fastest.

    The grid is laid in data units and scaled by alpha, as noised data are.
    """
    horizontal = torch.linspace(*x_range, points, dtype=torch.float64)
    vertical = torch.linspace(*y_range, points, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(horizontal, vertical, indexing="xy"), -1).reshape(-1, 2)
    t = oracle.schedule.t_of_noise_level(torch.tensor(level))
    k = oracle.n_classes
    queries = (oracle.schedule.alpha(t) * plane).repeat(k, 1).to(oracle.means.device)
    return t, queries, torch.arange(k, device=queries.device).repeat_interleave(len(plane))


def likelihood_fields(
    oracle: Oracle, likelihoods: Mapping[str, Likelihood], t: Tensor, x_t: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Likelihood scores as vectors, for pictures: exact and by classifier, each (K, n / K, 2)."""
    with torch.no_grad():
        fields = {"exact": oracle.scores(x_t, t, y).likelihood}
    fields |= {name: likelihood.score(x_t.float(), t, y).double() for name, likelihood in likelihoods.items()}
    return {name: field.reshape(oracle.n_classes, -1, 2) for name, field in fields.items()}
