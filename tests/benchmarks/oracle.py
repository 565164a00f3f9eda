r"""What exact scores cost and how exact they are: the oracle of a training set at twelve noise levels.

Three ways to the same scores take turns: `Oracle.scores_along`, whose products serve all levels; `Oracle.scores`, a
level at a time; and a plain one, products and means in float64, every component at every level. The ceiling is what
matrix products alone would take: those that a way makes, counted, at the speed of the same products of the same shapes
in their own precision, measured beside.
"""

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import peak_of
from benchmarks.seeds import Fact, rows_over_seeds
from benchmarks.timing import take_turns, wait_for
from condgen.data import LabelledSet
from condgen.diagnostics.score_errors import Queries, draw_queries, measure_levels
from condgen.oracle import ExactScores, Oracle
from condgen.rng import keyed_generator
from condgen.schedules import EDM

__all__ = ["LEVELS", "oracle_rows"]

LEVELS = tuple(round(float(level), 4) for level in torch.logspace(-2, 1.7, 12, dtype=torch.float64))  # of VE on CIFAR
_TOGETHER, _SINGLY, _PLAIN = "all levels at once", "a level at a time", "plain float64"
_COLUMNS = 2000  # components whose points the plain way holds in float64
_FULL = 1000  # queries of the figure that stands for a whole diagnosis
_FAINT = 1e-6  # of the prior score: a likelihood score below this has no digits in the plain way

Way = Callable[[], Iterator[ExactScores]]


class _Plain(NamedTuple):
    """A training set, class after class."""

    points: Tensor  # (N, D) float32
    starts: list[int]  # of each class, and the end

    @classmethod
    def of(cls, data: LabelledSet) -> "_Plain":
        counts = torch.bincount(data.y, minlength=data.n_classes)
        return cls(data.floats(data.y.argsort(stable=True)).flatten(1), [0, *counts.cumsum(0).tolist()])

    def scores(self, x_t: Tensor, sigma: float, y: Tensor) -> ExactScores:
        """The scores of the set noised by sigma at (B, ...), straight from their definition, all in float64."""
        x = x_t.flatten(1)
        parts = (part.double() for part in self.points.split(_COLUMNS))
        logits = torch.cat([2 * (x @ part.T) - part.square().sum(1) for part in parts], 1) / (2 * sigma**2)
        masses = torch.stack([logits[:, a:b].logsumexp(1) for a, b in pairwise(self.starts)], 1).softmax(1)
        marginal, of_class = torch.zeros_like(x), torch.zeros_like(x)
        for k, (a, b) in enumerate(pairwise(self.starts)):
            shares, points = logits[:, a:b].softmax(1).split(_COLUMNS, 1), self.points[a:b].split(_COLUMNS)
            mean = sum((s @ part.double() for s, part in zip(shares, points, strict=True)), torch.zeros_like(x))
            marginal = marginal + masses[:, k, None] * mean
            of_class = torch.where((y == k)[:, None], mean, of_class)
        scores = ((marginal - x) / sigma**2, (of_class - x) / sigma**2, (of_class - marginal) / sigma**2)
        return ExactScores(*(score.view(x_t.shape) for score in scores))


def oracle_rows(
    data: LabelledSet, device: torch.device, queries: int = _FULL, rounds: int = 3
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times every way, counts its products, measures its memory, and compares its scores.

    Args:
        data: the training set.
        device: where.
        queries: noised images; at most what the oracle treats at once is taken.
        rounds: over which medians are taken.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them.
    """
    data = data.to(device)
    schedule = EDM(sigma_min=LEVELS[0] / 2, sigma_max=2 * LEVELS[-1])
    oracle = Oracle(schedule, data.x, data.y, data.n_classes).to(device)
    few = draw_queries(oracle, min(queries, oracle.at_once), keyed_generator(0))
    ways = _ways(oracle, data, few)
    n, (components, dimensions) = len(few.y), oracle.means.shape
    where = f"{data.source}: {components:,} images of {dimensions:,} numbers, {n} queries, {len(LEVELS)} noise levels"
    facts: list[Fact] = []

    scores: dict[str, list[ExactScores]] = {}
    for name, way in ways.items():
        yield f"{name}: scores, memory"

        def keep(name: str = name, way: Way = way) -> None:
            scores[name] = list(way())

        facts.append(Fact("memory", name, where, "MB", peak_of(keep, device) / 2**20))
    facts += _error_facts(scores, where)
    yield "the exact denoiser"
    errors = [part.errors["prior", "D"] / part.exact["D"] for part in measure_levels(oracle, oracle, {}, LEVELS, few)]
    worst = max(float(error.max()) for error in errors)
    facts.append(Fact("D of the exact denoiser", _TOGETHER, where, "of the exact score, at most", worst))

    rates = yield from _rates(n, dimensions, rounds, device)
    times: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            yield name
            times[name].append(_clock(way, device))
    for name, way in ways.items():
        per_level = [statistics.median(found) for found in zip(*times[name], strict=True)]
        total = statistics.median(sum(found) for found in times[name])
        for level, ms in zip(LEVELS, per_level, strict=True):
            first = name == _TOGETHER and level == LEVELS[0]
            about = f"{where}; at {level:g}{', products of all included' if first else ''}"
            facts.append(Fact("time at a level", name, about, "ms a query", ms / n))
        in_float64, in_float32 = _counted(way, name, n * components * dimensions)
        ceiling = 1e3 * (in_float64 / rates[torch.float64] + in_float32 / rates[torch.float32])
        facts += [
            Fact("time", name, where, "ms a query and level", total / n / len(LEVELS)),
            Fact(f"time of {_FULL:,} queries", name, where, "s", total * _FULL / n / 1e3),
            Fact("speed", name, where, "TFLOP/s", (in_float64 + in_float32) / total / 1e9),
            Fact("share of the ceiling", name, where, "of the matrix products' own speed", ceiling / total),
        ]
    for dtype, rate in rates.items():
        facts.append(Fact("ceiling", str(dtype).removeprefix("torch."), where, "TFLOP/s", rate / 1e12))
    return rows_over_seeds(facts)


def _ways(oracle: Oracle, data: LabelledSet, few: Queries) -> dict[str, Way]:
    x, eps, y = few
    times = [oracle.schedule.t_of_noise_level(torch.tensor(level)) for level in LEVELS]

    plain = _Plain.of(data)

    def noised(level: float) -> Tensor:
        return x.double() + level * eps

    return {
        _TOGETHER: lambda: (scores for _, scores in oracle.scores_along(x, eps, times, y)),
        _SINGLY: lambda: (oracle.scores(noised(level), t, y) for level, t in zip(LEVELS, times, strict=True)),
        _PLAIN: lambda: (plain.scores(noised(level), level, y) for level in LEVELS),
    }


def _error_facts(scores: dict[str, list[ExactScores]], where: str) -> Iterator[Fact]:
    """The greatest distance from the plain way over queries, by level, in lengths of the exact score."""
    for name in (_TOGETHER, _SINGLY):
        for level, ours, exact in zip(LEVELS, scores[name], scores[_PLAIN], strict=True):
            whole = _rms(exact.prior)
            for term, found, expected in zip(ExactScores._fields, ours, exact, strict=True):
                if _rms(expected) > _FAINT * whole:
                    error = float((found - expected).flatten(1).norm(dim=1).max()) / _rms(expected)
                    yield Fact(f"error of the {term} score", name, f"{where}; at {level:g}", "of its length", error)


def _rms(score: Tensor) -> float:
    return float(score.flatten(1).square().sum(1).mean().sqrt())


def _rates(
    n: int, dimensions: int, rounds: int, device: torch.device
) -> Generator[str, None, dict[torch.dtype, float]]:
    """FLOP/s of the products (n, D) x (D, components) in both precisions."""
    products = {}
    for dtype in (torch.float64, torch.float32):
        x, points = (torch.randn(rows, dimensions, dtype=dtype, device=device) for rows in (n, _COLUMNS))
        products[str(dtype)] = lambda x=x, points=points: x @ points.T
    timings = yield from take_turns(products, rounds, device)
    operations = 2.0 * n * dimensions * _COLUMNS
    return {dtype: operations / (1e-3 * timings[str(dtype)]) for dtype in (torch.float64, torch.float32)}


def _counted(way: Way, name: str, pairs: int) -> tuple[float, float]:
    """Operations of the matrix products that a way makes in float64 and in float32."""
    with FlopCounterMode(display=False) as counter:
        for _ in way():
            pass
    whole = float(counter.get_total_flops())
    if name == _PLAIN:
        return whole, 0.0
    products = 2.0 * pairs * (2 if name == _TOGETHER else len(LEVELS))
    return products, whole - products


def _clock(way: Way, device: torch.device) -> list[float]:
    """Milliseconds that each level takes."""
    wait_for(device)
    marks = [time.perf_counter()]
    for _ in way():
        wait_for(device)
        marks.append(time.perf_counter())
    return [1e3 * (after - before) for before, after in pairwise(marks)]
