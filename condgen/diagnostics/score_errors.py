r"""Score errors against an exact oracle: where, and by how much, every estimated score is wrong.

With s the estimated prior score, g the estimated likelihood score, p the posterior score that a method samples with,
and hats for the exact ones (Chao et al. 2022, section 3; the names are the paper's):

.. math::
    D = \lVert s - \hat s \rVert, \qquad D_L = \lVert \gamma g - \hat g \rVert, \qquad
    D_P = \lVert p - \hat s - \hat g \rVert

With a classifier at guidance scale :math:`\gamma`, :math:`p = s + \gamma g`. Norms are in units of the score, averaged
over queries: noised data of the oracle, *held-out* ones that it does not know, or the points of a regular *grid*. An
oracle of a training set of images is the memorised optimum of score matching: a distance from it is no distance from
the truth, which held-out data measure (`condgen.diagnostics.held_out`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.denoiser import Denoiser, Likelihood, refuse_infinite, refuse_other_schedules
from condgen.guidance import ClassifierGuided, DenoiserGuided
from condgen.oracle import ExactScores, Oracle
from condgen.rng import float64_device, to_float64
from condgen.rows import AveragedRow, Estimate

Weighting: TypeAlias = Literal["data", "held_out", "grid"]
Quantity: TypeAlias = Literal["D", "D_P", "D_L"]

ZERO_GUIDANCE = "zero guidance"  # the method that leaves the likelihood score out
_BATCH = 250  # queries that networks see at once


class ErrorRow(AveragedRow):
    method: str
    sigma: float = Field(gt=0)  # the noise level, sigma / alpha
    weighting: Weighting  # how the queries were drawn
    quantity: Quantity
    mean: float  # over queries, one over units of x_t
    sd: float  # over queries
    n: int = Field(ge=1)
    exact: float  # mean length, over the same queries, of the exact score that this is an error of

    @property
    def estimate(self) -> Estimate:
        return self.interval(self.mean, None if self.weighting == "grid" else 2 * self.sd / math.sqrt(self.n))


Errors: TypeAlias = dict[tuple[str, Quantity], Tensor]
"""Errors of queries at one noise level by method and quantity, each (n,) float64; of `EXACT`, the lengths of scores."""

EXACT = ""  # in the place of a method: the exact scores that quantities are errors of


def join_errors(parts: Sequence[Errors]) -> Errors:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


class Queries(NamedTuple):
    x: Tensor  # (n, ...)
    eps: Tensor  # (n, ...) float64
    y: Tensor  # (n,)

    def at(self, rows: slice) -> "Queries":
        return Queries(*(part[rows] for part in self))


@torch.no_grad()
def measure(
    oracle: Oracle,
    prior: Denoiser,
    methods: Mapping[str, Denoiser],
    t: Tensor,
    x_t: Tensor,
    y: Tensor,
    *,
    exact: ExactScores | None = None,
    batch: int = _BATCH,
) -> Errors:
    """D of the prior; D_P and D_L of zero guidance; D_P of every method, and D_L of those with a classifier.

    Methods are denoisers of the posterior; queries are x_t (n, ...) float64 at one time with labels y (n,).
    """
    refuse_other_schedules(oracle, prior, *methods.values())
    exact = oracle.scores(x_t, t, y) if exact is None else exact
    x, y = _for_networks(prior, x_t, y)
    exact = ExactScores(*(score.to(float64_device(x.device)) for score in exact))
    parts = []
    for start in range(0, len(x_t), batch):
        rows = slice(start, start + batch)
        of_prior, of_posterior, of_likelihood = exact.prior[rows], exact.posterior[rows], exact.likelihood[rows]
        estimates = estimate_scores({ZERO_GUIDANCE: DenoiserGuided(prior, scale=0.0), **methods}, x[rows], t, y[rows])
        unguided = estimates.pop(ZERO_GUIDANCE).score
        errors: Errors = {
            (EXACT, "D"): of_prior,
            (EXACT, "D_P"): of_posterior,
            (EXACT, "D_L"): of_likelihood,
            ("prior", "D"): unguided - of_prior,
            (ZERO_GUIDANCE, "D_P"): unguided - of_posterior,
            (ZERO_GUIDANCE, "D_L"): of_likelihood,
        }
        for name, estimate in estimates.items():
            errors[name, "D_P"] = estimate.whole - of_posterior
            if estimate.guidance is not None:
                errors[name, "D_L"] = estimate.guidance - of_likelihood
        parts.append({key: vectors.flatten(1).norm(dim=1) for key, vectors in errors.items()})
    return join_errors(parts)


def measure_levels(
    oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], levels: Sequence[float], queries: Queries
) -> Iterator[Errors]:
    """As `measure`, at several noise levels on the same images and noise, at most `oracle.at_once`."""
    times = [oracle.schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64)) for level in levels]
    for t, (x_t, exact) in zip(times, oracle.scores_along(queries.x, queries.eps, times, queries.y), strict=True):
        yield measure(oracle, prior, methods, t, x_t, queries.y, exact=exact)


class PosteriorScore(NamedTuple):
    """An estimate of the posterior score: the sum of two terms, each (B, ...) float64."""

    score: Tensor
    guidance: Tensor | None  # the likelihood score times the scale, where a classifier guides

    @property
    def whole(self) -> Tensor:
        return self.score if self.guidance is None else self.score + self.guidance


def _for_networks(model: nn.Module, x_t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    device = next(model.parameters(), x_t).device
    return x_t.float().to(device), y.to(device)


def estimate_scores(methods: Mapping[str, Denoiser], x_t: Tensor, t: Tensor, y: Tensor) -> dict[str, PosteriorScore]:
    """The estimates of methods, each model evaluated once; UserError for a score that is not finite."""
    scores, gradients = dict[tuple[Denoiser, bool], Tensor](), dict[Likelihood, Tensor]()

    def score(model: Denoiser, *, labelled: bool) -> Tensor:
        key = model, labelled and getattr(model, "labels", None) != "none"
        if key not in scores:
            scores[key] = to_float64(model.score(x_t, t, y if key[1] else None))
        return scores[key]

    found = {}
    for name, method in methods.items():
        guidance = None
        if type(method) is ClassifierGuided:  # a subclass may guide otherwise
            posterior, scale = score(method.denoiser, labelled=False), float(method.scale_at(t))
            if scale and method.likelihood not in gradients:
                gradients[method.likelihood] = to_float64(method.likelihood.score(x_t, t, y))
            guidance = scale * gradients[method.likelihood] if scale else torch.zeros_like(posterior)
        elif type(method) is DenoiserGuided:
            guide, scale = method.guide or method.denoiser, float(method.scale_at(t))
            parts = [(1 - scale, guide, method.guide is not None), (scale, method.denoiser, True)]
            posterior = sum(
                (weight * score(model, labelled=labelled) for weight, model, labelled in parts if weight),
                torch.zeros((), dtype=torch.float64),
            )
        else:
            posterior = score(method, labelled=True)
        found[name] = PosteriorScore(posterior, guidance)
    schedule = next(iter(methods.values())).schedule
    refuse_infinite({f"score of {name}": estimate.whole for name, estimate in found.items()}, schedule, t)
    return found


def summarise(level: float, weighting: Weighting, errors: Errors) -> list[ErrorRow]:
    return [
        ErrorRow(
            method=method,
            sigma=level,
            weighting=weighting,
            quantity=quantity,
            mean=float(found.mean()),
            sd=float(found.std(correction=1)),
            n=len(found),
            exact=float(errors[EXACT, quantity].mean()),
        )
        for (method, quantity), found in errors.items()
        if method != EXACT
    ]


def draw_queries(oracle: Oracle, n: int, generator: torch.Generator) -> Queries:
    x, y = oracle.sample(n, generator)
    return Queries(x, torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device), y)


def grid_queries(
    oracle: Oracle, x_range: tuple[float, float], y_range: tuple[float, float], points: int, level: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A points x points grid, scaled by alpha, once for every class: (time, x_t, labels), x fastest."""
    axes = [torch.linspace(*ends, points, dtype=torch.float64) for ends in (x_range, y_range)]
    plane = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).reshape(-1, 2)
    t = oracle.schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64))
    k = oracle.n_classes
    queries = (oracle.schedule.alpha(t) * plane).repeat(k, 1).to(oracle.means.device)
    return t, queries, torch.arange(k, device=queries.device).repeat_interleave(len(plane))


def likelihood_fields(
    oracle: Oracle, likelihoods: Mapping[str, Likelihood], t: Tensor, x_t: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Likelihood scores as vectors: exact and by classifier, each (K, n / K, 2)."""
    with torch.no_grad():
        fields = {"exact": oracle.scores(x_t, t, y).likelihood}
    for name, likelihood in likelihoods.items():
        x, labels = _for_networks(likelihood, x_t, y)
        fields[name] = to_float64(likelihood.score(x, t, labels))
    return {name: field.reshape(oracle.n_classes, -1, 2) for name, field in fields.items()}
