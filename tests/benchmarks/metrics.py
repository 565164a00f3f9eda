"""Metrics beside those of other libraries: the same numbers, their time, and the memory they take.

All get the same features, take turns in one run, and use as many threads as torch is set to (the matrix square root and
the neighbours of other libraries are numpy's, whose threads the environment sets: OMP_NUM_THREADS,
OPENBLAS_NUM_THREADS). Memory is what a fresh process needs beyond its features and its libraries, at its peak. Features
are those of correlated Gaussians whose variances fall over four decades, as those of networks do.
"""

import contextlib
import io
import multiprocessing
from collections.abc import Callable, Generator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from benchmarks.memory import forget_peak, high_water
from benchmarks.seeds import Fact, rows_over_seeds
from benchmarks.timing import take_turns
from condgen.metrics import Gaussian, KernelReference, classifier_score, frechet_distance, kernel_distance, prdc
from condgen.rng import keyed_generator
from condgen.runs import keep_freed_memory

__all__ = ["CASES", "Case", "metric_rows"]

OURS = "condgen"
_NEIGHBOUR = 5
_LOGITS = 1008

Values: TypeAlias = dict[str, float]
Measure: TypeAlias = Callable[[Any, Any], Values]


class Case(NamedTuple):
    """A metric, and who computes it.

    Attributes:
        variants: by name, from what is prepared of real and of generated features to the figures that all should
            agree on.
        needs: the package that a variant comes from.
        same: whether all look at the same pairs of samples, so that their figures are equal but for rounding.
        prepare: from features (n, F) to what the variants take; not timed, since it is the same for all.
    """

    variants: Mapping[str, Measure]
    needs: Mapping[str, str]
    same: bool = True
    prepare: Callable[[Tensor], Any] = lambda features: features


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance, which take as long whoever computes them."""
    fitted = Gaussian.fit(features)
    return fitted.mean, fitted.covariance


def _frechet(real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor]) -> Values:
    return {"FD": frechet_distance(Gaussian(*fake), Gaussian(*real))}


def _frechet_scipy(real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor]) -> Values:
    """The square root of the product of covariances, as most implementations have it."""
    from scipy.linalg import sqrtm

    gap, (a, b) = real[0] - fake[0], (covariance for _, covariance in (real, fake))
    root = sqrtm((a @ b).numpy())
    return {"FD": float(gap.square().sum() + a.trace() + b.trace()) - 2 * float(root.trace().real)}


def _frechet_fidelity(real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor]) -> Values:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    statistics = [{"mu": mean.numpy(), "sigma": covariance.numpy()} for mean, covariance in (real, fake)]
    return {"FD": fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]}


def _prdc(real: Tensor, fake: Tensor) -> Values:
    found = prdc(real, fake, _NEIGHBOUR)
    return {name: float(getattr(found, name).mean()) for name in ("precision", "recall", "density", "coverage")}


def _prdc_package(real: Tensor, fake: Tensor) -> Values:
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real.numpy(), fake.numpy(), nearest_k=_NEIGHBOUR)
    return {name: float(value) for name, value in found.items()}


def _kernel(real: Tensor, fake: Tensor) -> Values:
    return {"KD": kernel_distance(fake, KernelReference.of(real)).value}


def _kernel_fidelity(real: Tensor, fake: Tensor) -> Values:
    from torch_fidelity.metric_kid import kid_features_to_metric

    size = min(1000, len(real))
    found = kid_features_to_metric(fake, real, kid_subset_size=size, verbose=False)
    return {"KD": found["kernel_inception_distance_mean"]}


def _score(real: Tensor, fake: Tensor) -> Values:
    logits = (fake @ real[: min(_LOGITS, len(real))].T) / fake.shape[1] ** 0.5
    return {"classifier score": classifier_score(logits).mean}


def _score_fidelity(real: Tensor, fake: Tensor) -> Values:
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = (fake @ real[: min(_LOGITS, len(real))].T) / fake.shape[1] ** 0.5
    return {"classifier score": isc_features_to_metric(logits, shuffle=False)["inception_score_mean"]}


_FIDELITY = "torch-fidelity"
CASES: dict[str, Case] = {
    "frechet": Case(
        {OURS: _frechet, "scipy sqrtm": _frechet_scipy, _FIDELITY: _frechet_fidelity},
        {_FIDELITY: "torch_fidelity"},
        prepare=_statistics,
    ),
    "prdc": Case({OURS: _prdc, "prdc package": _prdc_package}, {"prdc package": "prdc"}),
    "kernel": Case({OURS: _kernel, _FIDELITY: _kernel_fidelity}, {_FIDELITY: "torch_fidelity"}, same=False),
    "score": Case({OURS: _score, _FIDELITY: _score_fidelity}, {_FIDELITY: "torch_fidelity"}),
}


def _features(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Real and generated features, (n, width) float32 each; the generated ones are a little off."""
    mixing = torch.randn(width, width, generator=keyed_generator(0)) / width**0.5
    mixing *= torch.logspace(0, -2, width)
    real, fake = (torch.randn(n, width, generator=keyed_generator(key)) @ mixing.T for key in (1, 2))
    return real, 1.05 * fake + 0.02


def metric_rows(
    name: str, n: int, width: int, rounds: int = 3, *, memory: bool = True, alone: bool = False
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times a metric, measures its memory, and compares its figures with those of other libraries.

    Args:
        name: one of `CASES`.
        n: real samples, and as many generated ones.
        width: features of each.
        rounds: every variant is timed once a round; the median counts.
        memory: measure it too, in a fresh process for each variant.
        alone: without the other libraries, whose memory some sizes would exceed.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them. By variant: "time" in milliseconds, "speed" in that of the variant over
        condgen's, "memory" in MB, and of others "difference" from condgen's figures, the largest relative one.
    """
    case = CASES[name]
    real, fake = map(case.prepare, _features(n, width))
    known = {who: measure for who, measure in case.variants.items() if find_spec(case.needs.get(who, "torch"))}
    if alone:
        known = {OURS: known[OURS]}
    figures: dict[str, Values] = {}

    def turn(who: str) -> Callable[[], object]:
        def run() -> None:
            figures[who] = known[who](real, fake)

        return run

    times = yield from take_turns({f"{name}, {who}": turn(who) for who in known}, rounds, torch.device("cpu"))
    where, facts = f"{name}: {n:,} against {n:,}, {width:,} features", []
    for who in known:
        ms = times[f"{name}, {who}"]
        facts.append(Fact("time", who, where, "ms", ms))
        if who != OURS:
            facts.append(Fact("relative time", who, where, "condgen's times", ms / times[f"{name}, {OURS}"]))
            gaps = [abs(figures[who][key] - value) / abs(value or 1.0) for key, value in figures[OURS].items()]
            kind = "relative" if case.same else "relative; it draws subsets"
            facts.append(Fact("difference", who, where, kind, max(gaps)))
        if memory:
            yield f"{name}, {who}: memory"
            facts.append(Fact("memory", who, where, "MB", _peak(name, who, n, width)))
    return rows_over_seeds(facts)


def _peak(name: str, who: str, n: int, width: int) -> float:
    """Megabytes that a variant needs at its peak, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=_weigh, args=(queue, name, who, n, width, torch.get_num_threads()))
    process.start()
    process.join()
    return queue.get(timeout=10) if process.exitcode == 0 else float("nan")


def _weigh(queue: "multiprocessing.Queue[float]", name: str, who: str, n: int, width: int, threads: int) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    case = CASES[name]
    measure = case.variants[who]
    measure(*map(case.prepare, _features(100, 16)))  # imports, and the pools of threads
    real, fake = map(case.prepare, _features(n, width))
    before = forget_peak()
    measure(real, fake)
    queue.put(max(high_water() - before, 0.0) / 2**20)
