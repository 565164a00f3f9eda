r"""Score errors against an exact oracle: where, and by how much, every estimated score is wrong.

With s the estimated prior score, g the estimated likelihood score, p the posterior score that a method samples with,
and hats for the exact ones (Chao et al. 2022, section 3; the names are the paper's):

.. math::
    D = \lVert s - \hat s \rVert, \qquad D_L = \lVert \gamma g - \hat g \rVert, \qquad
    D_P = \lVert p - \hat s - \hat g \rVert

With a classifier at guidance scale :math:`\gamma`, :math:`p = s + \gamma g`; a score model that is told the label gives
p itself, alone or with a guide. All are norms in the units of the score (one over data units), averaged over queries.
*Data-weighted* queries are noised data; *grid* queries are the points of a regular grid, on and off the data alike.

Only norms are kept, one a query, and never the fields.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from condgen.bayes import Denoiser, Likelihood
from condgen.guidance import ClassifierGuided
from condgen.noise import perturb
from condgen.oracle import Oracle

__all__ = ["ErrorRow", "Errors", "likelihood_fields", "measure", "summarise"]

Weighting: TypeAlias = Literal["data", "grid"]
Quantity: TypeAlias = Literal["D", "D_P", "D_L"]

Errors: TypeAlias = dict[tuple[str, Quantity], Tensor]
"""By method and quantity, the error of each query, (n,) float64."""


@dataclass(frozen=True)
class ErrorRow:
    """One fact: the mean and standard deviation over n queries of one error of one method at one noise level."""

    method: str
    sigma: float
    weighting: Weighting
    quantity: Quantity
    mean: float
    sd: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """The row as plain JSON."""
        return asdict(self)


def measure(
    oracle: Oracle,
    prior: Denoiser,
    methods: Mapping[str, Denoiser],
    t: Tensor,
    x_t: Tensor,
    y: Tensor,
    *,
    batch: int = 500,
) -> Errors:
    """Compares estimated with exact scores at one time.

    Args:
        oracle: knows the exact scores.
        prior: the unconditional score model.
        methods: what samples are drawn with, by name: guided denoisers, or denoisers that are told the label.
        t: the time, scalar float64.
        x_t: queries, (n, ...) float64.
        y: the label of each query, (n,).
        batch: queries that the networks see at once; it bounds the memory.

    Returns:
        D of the prior; D_P and D_L of zero guidance; D_P of every method, and D_L of those with a classifier.
    """
    parts: dict[tuple[str, Quantity], list[Tensor]] = defaultdict(list)
    for x, labels in zip(x_t.split(batch), y.split(batch), strict=True):
        for key, error in _errors(oracle, prior, methods, t, x, labels).items():
            parts[key].append(error.flatten(1).norm(dim=1))
    return {key: torch.cat(norms) for key, norms in parts.items()}


@torch.no_grad()
def _errors(
    oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], t: Tensor, x_t: Tensor, y: Tensor
) -> Errors:
    """As `measure`, but the differences themselves, each (B, ...)."""
    exact, x = oracle.scores(x_t, t, y), x_t.float()
    # Methods often share a score model or a classifier, which then answers once.
    scores: dict[Denoiser, Tensor] = {prior: prior.score(x, t).double()}
    gradients: dict[Likelihood, Tensor] = {}
    errors: Errors = {
        ("prior", "D"): scores[prior] - exact.prior,
        ("zero guidance", "D_P"): scores[prior] - exact.posterior,
        ("zero guidance", "D_L"): exact.likelihood,
    }
    for name, method in methods.items():
        if not isinstance(method, ClassifierGuided):
            errors[name, "D_P"] = method.score(x, t, y).double() - exact.posterior
            continue
        if method.denoiser not in scores:
            scores[method.denoiser] = method.denoiser.score(x, t).double()
        if method.likelihood not in gradients:
            gradients[method.likelihood] = method.likelihood.score(x, t, y).double()
        guidance = float(method.scale_at(t)) * gradients[method.likelihood]
        errors[name, "D_P"] = scores[method.denoiser] + guidance - exact.posterior
        errors[name, "D_L"] = guidance - exact.likelihood
    return errors


def summarise(level: float, weighting: Weighting, errors: Errors) -> list[ErrorRow]:
    """Rows of one noise level.

    Args:
        level: the noise level, sigma / alpha.
        weighting: how the queries were drawn.
        errors: from `measure`.
    """
    return [
        ErrorRow(method, level, weighting, quantity, float(found.mean()), float(found.std(correction=1)), len(found))
        for (method, quantity), found in errors.items()
    ]


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
