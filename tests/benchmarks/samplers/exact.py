"""Work and precision with exact scores: what is wrong here is the sampler's doing alone.

The denoiser is that of a point set of CIFAR-10 images, noised from level 80 to 0.002 (Karras et al. 2022). It remembers
its images, and every sampler ends on one of them: what a sampler can get wrong is how often each of them comes up. So
samples are compared with the images as distributions, by the sliced Wasserstein distance, beside as many images drawn
afresh; and samplers without noise, one by one, with where the flow leads from the same seed.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch

from benchmarks.samplers.quality import BUDGETS, SW_DATA, UNITS, distances
from benchmarks.samplers.work import PAIRED, Point, Problem, Way, as_facts, comparison_facts, draw_all, measure, ways
from benchmarks.seeds import Fact, rows_over_seeds
from condgen.data import LabelledSet
from condgen.oracle import Oracle
from condgen.rng import keyed_generator
from condgen.samplers import SamplerName
from condgen.schedules import EDM

__all__ = ["EXACT_PLAN", "exact_rows"]

_FIRST, _SECOND = (10, 20, 50, 200), (10, 20, 50)  # orders
EXACT_PLAN: dict[SamplerName, Sequence[float]] = {
    "heun": _SECOND,
    "edm": _SECOND,
    "restart": (50,),
    "ddim": _SECOND,
    "dpm++2m": _SECOND,
    "unipc": _SECOND,
    "dpm++2m-sde": _SECOND,
    "dpm++3m-sde": _SECOND,
    "ancestral": _FIRST,
    "euler-maruyama": (50, 200, 1000),
    "reverse-diffusion": (50, 200),
    "predictor-corrector": (50, 200),
    "annealed-langevin": (200,),
    "consistent-annealed": _FIRST,
    "adaptive-ode": (0.2, 0.05, 0.01),
    "adaptive-multistep": (0.2, 0.1, 0.05, 0.02, 0.01),
    "adaptive-sde": (0.2, 0.1, 0.05),
}
_SW = "SW to the images"
_COMPARED = {_SW: UNITS[SW_DATA]}
_FLOW = Way("dpm++2m", 200)


def exact_rows(
    data: LabelledSet,
    seeds: Sequence[int],
    images: int = 300,
    samples: int = 100,
    plan: Mapping[SamplerName, Sequence[float]] = EXACT_PLAN,
) -> Generator[str, None, list[dict[str, Any]]]:
    """Every measure of every sampler at every budget, and what follows from them.

    Args:
        data: the images.
        seeds: of draws.
        images: how many of them the oracle knows, from the first.
        samples: a way and seed.
        plan: budgets of every sampler: evaluations, or, below one, tolerances.

    Yields:
        What comes next.

    Returns:
        Rows as those of `quality_rows`; the variant "[images drawn afresh]" is the best at this number of samples.
    """
    x = data.floats(torch.arange(min(images, len(data))))
    oracle = Oracle(EDM(), x.double(), torch.zeros(len(x), dtype=torch.int64), 1)
    name = f"{data.source}, exact scores of {len(x)} images"
    y = torch.zeros(samples, dtype=torch.int64)

    measures = {_SW: distances(x, "the images")[_SW]}
    points: list[Point] = []
    marks: list[Fact] = []
    for seed in seeds:
        first = (seed + 1) * 1_000_000
        afresh = x[torch.randint(len(x), (samples,), generator=keyed_generator(seed))]
        where = f"{name}; close; n = {samples}"
        marks.append(Fact(_SW, "[images drawn afresh]", where, _COMPARED[_SW], measures[_SW](afresh)))
        yield f"seed {seed}: the flow"
        flow = torch.stack([one.x for one in draw_all(oracle, _FLOW, range(first, first + samples), y, data.shape)])
        problem = Problem(name, oracle, y, data.shape, measures, flow)
        for way in ways(plan):
            yield f"seed {seed}: {way.sampler}, {way.label}"
            point = measure(problem, way, seed, first)
            if point is not None:
                points.append(point)
    units = {**_COMPARED, PAIRED: UNITS[PAIRED]}
    return rows_over_seeds(
        [*as_facts(points, units, f"n = {samples}"), *marks, *comparison_facts(points, _COMPARED, BUDGETS)]
    )
