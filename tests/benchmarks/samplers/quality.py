"""Work and precision on digits, with trained models: unguided, and guided by a classifier.

Three yardsticks, since a sampler is not at fault for what its model gets wrong:

* the training images: sliced Wasserstein and Fréchet distance on pixels, and how often a judge sees the class that was
  asked for;
* the reverse SDE of the same model, followed closely: the sliced Wasserstein distance to many such samples. With an
  estimated or guided score the reverse SDE and the probability flow end in different distributions, and samplers
  without noise tend to the flow's, which is therefore measured against it too;
* the probability flow of the same model, followed closely from the same seeds: for samplers without noise, the distance
  of each sample from where the flow leads. No finite number of samples blurs it.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.samplers.work import PAIRED, Point, Problem, Way, as_facts, comparison_facts, draw_all, measure, ways
from benchmarks.seeds import Fact, rows_over_seeds
from condgen.data import load
from condgen.denoiser import Denoiser
from condgen.metrics import Gaussian, Judge, directions, extract, frechet_distance, pixels, sliced_wasserstein
from condgen.recipes import Guidance, Recipe
from condgen.rng import keyed_generator
from condgen.runs import Models, open_guided
from condgen.samplers import SamplerName

__all__ = [
    "BUDGETS",
    "PLAN",
    "SW_DATA",
    "SW_SDE",
    "UNITS",
    "Yardsticks",
    "distances",
    "open_digits",
    "problem_name",
    "quality_rows",
    "yardsticks",
]

_FIRST, _SECOND = (5, 10, 20, 50, 100, 200), (5, 10, 20, 50, 100)  # orders
PLAN: dict[SamplerName, Sequence[float]] = {
    "heun": _SECOND,
    "edm": _SECOND,
    "restart": (20, 50, 100),
    "ddim": _SECOND,
    "dpm++2m": _SECOND,
    "unipc": _SECOND,
    "dpm++2m-sde": _SECOND,
    "dpm++3m-sde": _SECOND,
    "ancestral": _FIRST,
    "euler-maruyama": (20, 50, 100, 200, 1000),
    "reverse-diffusion": (20, 50, 100, 200),
    "predictor-corrector": (20, 50, 100, 200),
    "annealed-langevin": (20, 50, 100, 200),
    "consistent-annealed": _FIRST,
    "adaptive-ode": (0.5, 0.2, 0.05, 0.01),
    "adaptive-multistep": (0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
    "adaptive-sde": (0.5, 0.2, 0.1, 0.05),
}
BUDGETS = (10, 20, 50, 200)
SW_DATA, FD_DATA = "SW to training images", "FD to training images"
SW_SDE = "SW to the model's SDE"
_ACCURACY = "class accuracy"
_COMPARED = {SW_DATA: "pixels", FD_DATA: "pixels^2", SW_SDE: "pixels"}
UNITS = {**_COMPARED, _ACCURACY: "", PAIRED: "pixels"}  # pixels are numbers from -1 to 1
_SDE, _FLOW = Way("dpm++2m-sde", 300), Way("heun", 199)
_TIMES = 2  # as many samples of the model's SDE as of a way
_PROJECTIONS, _KEY = 200, 271828
_FAR = 1_000_000  # between the first samples of two seeds


def distances(reference: Tensor, what: str) -> dict[str, Callable[[Tensor], float]]:
    """Sliced Wasserstein and Fréchet distance to a reference (M, ...), by the names "SW to ..." and "FD to ..."."""
    along = directions(reference[0].numel(), _PROJECTIONS, keyed_generator(_KEY))
    extractor = pixels(tuple(reference.shape[1:]))
    gaussian = Gaussian.fit(extract(extractor, reference))
    return {
        f"SW to {what}": lambda x: sliced_wasserstein(x, reference, along),
        f"FD to {what}": lambda x: frechet_distance(Gaussian.fit(extract(extractor, x)), gaussian),
    }


class Yardsticks(NamedTuple):
    """Where a model leads, when it is followed closely."""

    sde: Tensor  # many samples
    sde_again: Tensor  # as many as a way draws
    flow: Tensor  # as many, from the seeds of the ways


def yardsticks(denoiser: Denoiser, first: int, y: Tensor, n_classes: int, shape: tuple[int, ...]) -> Yardsticks:
    """Follows the reverse SDE and the probability flow of a model.

    Args:
        denoiser: the model.
        first: seed of the first sample of the flow.
        y: labels, (n,).
        n_classes: labels of the SDE take turns among so many.
        shape: of a sample.
    """
    n = len(y)
    flow = _stacked(denoiser, _FLOW, first, y, shape)
    sde = _stacked(denoiser, _SDE, first + _FAR // 2, torch.arange((_TIMES + 1) * n) % n_classes, shape)
    return Yardsticks(sde[n:], sde[:n], flow)


def _stacked(denoiser: Denoiser, way: Way, first: int, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.stack([one.x for one in draw_all(denoiser, way, range(first, first + len(y)), y, shape)])


def open_digits(run: Path, scale: float) -> Denoiser:
    """The score model of a run, guided by its classifier called dlsm unless the scale is 0."""
    guidance = Guidance(classifier="dlsm", scale=scale) if scale else Guidance()
    return open_guided(guidance, Models(run / "score", run / "classifier-dlsm"), torch.device("cpu"))[0]


def problem_name(scale: float) -> str:
    """What tables call digits at a guidance scale."""
    return f"digits, guided at scale {scale:g}" if scale else "digits, unguided"


def quality_rows(
    recipe: Recipe,
    folder: Path,
    seeds: Sequence[int],
    scales: Sequence[float],
    n: int,
    plan: Mapping[SamplerName, Sequence[float]] = PLAN,
) -> Generator[str, None, list[dict[str, Any]]]:
    """Every measure of every sampler at every budget, and what follows from them.

    Args:
        recipe: of the digits, with a classifier called dlsm.
        folder: of the runs; `seed-N/score` and `seed-N/classifier-dlsm` are used.
        seeds: of the runs.
        scales: of guidance; 0 is the score model alone.
        n: samples a way, problem and seed; labels take turns.
        plan: budgets of every sampler: evaluations, or, below one, tolerances.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them, of `work.as_facts` and `work.comparison_facts`. Variants in brackets are
        no samplers: held-out images, the model's SDE drawn once more, the model's flow.
    """
    train, test = load(recipe.data, "train"), load(recipe.data, "test")
    judge = Judge.fit(train, test)
    real = distances(train.floats(), "training images")
    y = torch.arange(n) % train.n_classes
    points: list[Point] = []
    marks: list[Fact] = []
    for seed in seeds:
        for scale in scales:
            name, first = problem_name(scale), (seed + 1) * _FAR
            yield f"seed {seed}, {name}: the model's SDE and flow"
            denoiser = open_digits(folder / f"seed-{seed}", scale)
            truth = yardsticks(denoiser, first, y, train.n_classes, train.shape)
            measures = {**real, SW_SDE: distances(truth.sde, "the model's SDE")[SW_SDE]}
            for what, judged in measures.items():
                marked = {"[the model's SDE]": truth.sde_again, "[the model's flow]": truth.flow}
                if what in real:
                    marked["[held-out images]"] = test.floats()
                for who, x in marked.items():
                    marks.append(Fact(what, who, f"{name}; close; n = {len(x)}", UNITS[what], judged(x)))
            if scale:
                measures[_ACCURACY] = lambda x: float((judge.predict(x) == y).double().mean())
            problem = Problem(name, denoiser, y, train.shape, measures, truth.flow)
            for way in ways(plan):
                yield f"seed {seed}, {name}: {way.sampler}, {way.label}"
                point = measure(problem, way, seed, first)
                if point is not None:
                    points.append(point)
    return rows_over_seeds(
        [*as_facts(points, UNITS, f"n = {n}"), *marks, *comparison_facts(points, _COMPARED, BUDGETS)]
    )
