r"""Work and precision: what a sampler's evaluations buy, and which sampler buys most with them.

A *way* is a sampler with a budget, or with a tolerance where it chooses its own steps; a *point* is what one way has
given on one problem with one seed. Points of a way over seeds are compared with those of a baseline, seed by seed, so
that what the models of the seeds have in common drops out. The standard deviation of these differences is pooled over
the ways that come near the baseline, since a few seeds of one way alone would hardly tell it: with S seeds, a way is as
good as another where its mean is worse by at most :math:`1.96\, s / \sqrt{S}`.
"""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.seeds import Fact
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.samplers import (
    AdaptiveSampler,
    Finished,
    Sampler,
    SamplerName,
    build_sampler,
    draw,
    grid_for,
    points_within,
)
from condgen.schedules import GridName

__all__ = [
    "BASELINE",
    "NEVER",
    "PAIRED",
    "REACHED",
    "Best",
    "Point",
    "Problem",
    "Way",
    "as_facts",
    "best_within",
    "comparison_facts",
    "draw_all",
    "first_to_reach",
    "measure",
    "slack",
    "ways",
]


class Way(NamedTuple):
    """A way to sample."""

    sampler: SamplerName
    evaluations: int | None = None  # at most so many, on a time grid
    relative: float | None = None  # the tolerance of a sampler that chooses its own steps
    grid: GridName | None = None  # by default the sampler's own

    @property
    def label(self) -> str:
        """What tables call the budget."""
        if self.evaluations is None:
            return f"relative {self.relative:g}"
        return f"{self.evaluations} evaluations" + (f", {self.grid} grid" if self.grid else "")


BASELINE = Way("euler-maruyama", 1000)
REACHED, NEVER = "evaluations to reach euler-maruyama with 1,000", "never as good as euler-maruyama with 1,000"
PAIRED = "error of the flow"
_NEAR = 1.3  # times the baseline: worse ways vary more


def ways(budgets: Mapping[SamplerName, Sequence[float]]) -> list[Way]:
    """Ways of samplers with budgets: whole numbers of evaluations, or tolerances, which are below one."""
    return [
        Way(name, relative=budget) if budget < 1 else Way(name, evaluations=int(budget))
        for name, found in budgets.items()
        for budget in found
    ]


class Problem(NamedTuple):
    """What is sampled, and how samples of it are judged."""

    name: str
    denoiser: Denoiser
    y: Tensor  # (N,), a label a sample
    shape: tuple[int, ...]
    measures: Mapping[str, Callable[[Tensor], float]]  # of samples (N, *shape), by what they are called with their unit
    flow: Tensor | None = None  # (N, *shape), where the probability flow leads from the same seeds, exactly


class Point(NamedTuple):
    """What a way has given."""

    problem: str
    seed: int
    way: Way
    evaluations: float  # of the denoiser per sample, mean
    seconds: float  # for 1,000 samples
    values: dict[str, float]  # by measure; empty where numbers became infinite or undefined


def draw_all(denoiser: Denoiser, way: Way, seeds: Sequence[int], y: Tensor, shape: Sequence[int]) -> list[Finished]:
    """Samples of a way, all at once and in order.

    Raises:
        UserError: the budget does not suffice for the shortest time grid.
    """
    sampler = build_sampler(way.sampler, denoiser, {} if way.relative is None else {"relative": way.relative})
    grid = None
    if isinstance(sampler, Sampler):
        assert way.evaluations is not None
        grid = grid_for(sampler, points_within(sampler, way.evaluations, way.grid), way.grid)
    done = [one for batch in draw(sampler, grid, seeds, y, shape, len(seeds)) for one in batch]
    return sorted(done, key=lambda one: one.number)


def measure(problem: Problem, way: Way, seed: int, first: int) -> Point | None:
    """Draws the samples of a problem in one way, and judges them; None where the budget is below the sampler's least.

    Samplers that draw no noise are also measured by how far each sample lies from where the flow leads from its seed.

    Args:
        problem: what is sampled.
        way: how.
        seed: of the models.
        first: seed of the first sample.
    """
    seeds = range(first, first + len(problem.y))
    started = time.perf_counter()
    try:
        done = draw_all(problem.denoiser, way, seeds, problem.y, problem.shape)
    except UserError:
        return None
    seconds = (time.perf_counter() - started) * 1000 / len(done)
    evaluations = statistics.fmean(one.evaluations for one in done)
    x = torch.stack([one.x for one in done])
    if any(one.problem for one in done) or not bool(x.isfinite().all()):
        return Point(problem.name, seed, way, evaluations, seconds, {})
    values = {name: judge(x) for name, judge in problem.measures.items()}
    if problem.flow is not None and _draws_no_noise(build_sampler(way.sampler, problem.denoiser)):
        values[PAIRED] = float((x.double() - problem.flow.double()).square().mean().sqrt())
    return Point(problem.name, seed, way, evaluations, seconds, values)


def _draws_no_noise(sampler: Sampler | AdaptiveSampler) -> bool:
    """Whether a sampler follows the probability flow: always, or by the default of its eta."""
    return sampler.info.noise == "no" or getattr(sampler, "eta", None) == 0


def as_facts(points: Iterable[Point], units: Mapping[str, str], condition: str) -> list[Fact]:
    """Every number of the points, with the problem, the budget and a condition as its size."""
    facts = []
    for point in points:
        size = f"{point.problem}; {point.way.label}; {condition}"
        facts.append(Fact("evaluations", point.way.sampler, size, "per sample", point.evaluations))
        facts.append(Fact("seconds", point.way.sampler, size, "s for 1,000 samples", point.seconds))
        facts += [Fact(what, point.way.sampler, size, units[what], v) for what, v in point.values.items()]
        if not point.values:
            facts.append(Fact("not finite", point.way.sampler, size, "samples are infinite or undefined", 1.0))
    return facts


# ----------------------------------------------------------------------------------------------------
# Comparisons


def _by_way(points: Iterable[Point], problem: str, what: str) -> dict[Way, dict[int, Point]]:
    found: dict[Way, dict[int, Point]] = defaultdict(dict)
    for point in points:
        if point.problem == problem and what in point.values:
            found[point.way][point.seed] = point
    return dict(found)


def _mean(points: Mapping[int, Point], what: str) -> float:
    return statistics.fmean(point.values[what] for point in points.values())


def _work(points: Mapping[int, Point]) -> float:
    return statistics.fmean(point.evaluations for point in points.values())


def slack(points: Sequence[Point], problem: str, what: str, baseline: Way = BASELINE) -> float:
    """By how much a mean over seeds may be worse and still be as good; zero for one seed.

    Raises:
        ValueError: the baseline was not measured.
    """
    found = _by_way(points, problem, what)
    if baseline not in found:
        raise ValueError(f"{problem} has no {baseline.sampler} with {baseline.label}")
    base = found.pop(baseline)
    variances = []
    for others in found.values():
        if set(others) == set(base) and len(base) > 1 and _mean(others, what) <= _NEAR * _mean(base, what):
            variances.append(statistics.variance(others[s].values[what] - base[s].values[what] for s in base))
    return 1.96 * math.sqrt(statistics.fmean(variances) / len(base)) if variances else 0.0


def first_to_reach(
    points: Sequence[Point], problem: str, what: str, baseline: Way = BASELINE
) -> dict[SamplerName, float | None]:
    """The fewest evaluations at which each sampler is as good as the baseline; None where it never is."""
    found = _by_way(points, problem, what)
    enough = _mean(found[baseline], what) + slack(points, problem, what, baseline)
    reached: dict[SamplerName, float | None] = {way.sampler: None for way in found}
    for way, seeds in found.items():
        if _mean(seeds, what) <= enough:
            before = reached[way.sampler]
            reached[way.sampler] = _work(seeds) if before is None else min(before, _work(seeds))
    return reached


class Best(NamedTuple):
    """A way that no other beats within a budget, or one as good."""

    way: Way
    evaluations: float
    value: float


def best_within(
    points: Sequence[Point], problem: str, what: str, budget: float, baseline: Way = BASELINE
) -> list[Best]:
    """The best way of each sampler with at most so many evaluations: the best of all, then those as good as it."""
    chosen: dict[SamplerName, Best] = {}
    for way, seeds in _by_way(points, problem, what).items():
        candidate = Best(way, _work(seeds), _mean(seeds, what))
        if candidate.evaluations <= budget and (
            way.sampler not in chosen or candidate.value < chosen[way.sampler].value
        ):
            chosen[way.sampler] = candidate
    ranked = sorted(chosen.values(), key=lambda best: best.value)
    margin = slack(points, problem, what, baseline)
    return [best for best in ranked if best.value <= ranked[0].value + margin]


def comparison_facts(points: Sequence[Point], measures: Mapping[str, str], budgets: Sequence[int]) -> list[Fact]:
    """What the comparisons say, for every problem and measure: the slack, who is best, and who reaches the baseline."""
    facts = []
    for problem in dict.fromkeys(point.problem for point in points):
        for what, unit in measures.items():
            found = _by_way(points, problem, what)
            if BASELINE not in found:
                continue
            name = f"{problem}; {what}"
            facts.append(Fact("slack", "all", name, unit, slack(points, problem, what)))
            for budget in budgets:
                for best in best_within(points, problem, what, budget):
                    size = f"{name}; at most {budget} evaluations"
                    facts.append(Fact("best", best.way.sampler, f"{size}; {best.way.label}", unit, best.value))
            for sampler, reached in first_to_reach(points, problem, what).items():
                if reached is not None:
                    facts.append(Fact(REACHED, sampler, name, "per sample", reached))
                else:
                    facts.append(Fact(NEVER, sampler, name, "yes or no", 1.0))
    return facts
