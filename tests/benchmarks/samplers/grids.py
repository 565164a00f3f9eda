"""Which time grid suits which sampler: digits, guided, on two schedules.

A grid of equal ratios of the noise level, and Karras et al.'s, are the same levels on every schedule; one of equal
steps of time is not. So the model is driven on its own schedule and on a variance-preserving one with the same highest
level, which a denoiser of noise levels allows. Samplers without noise are judged by how far each sample lies from where
the flow leads, the others by the sliced Wasserstein distance to the model's SDE.
"""

import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.samplers.quality import SW_SDE, UNITS, distances, open_digits, problem_name, yardsticks
from benchmarks.samplers.work import PAIRED, Point, Problem, Way, as_facts, measure
from benchmarks.seeds import rows_over_seeds
from condgen.data import load
from condgen.guidance import ClassifierGuided
from condgen.recipes import Recipe
from condgen.samplers import FIXED, SamplerName
from condgen.schedules import VP, GridName, Schedule

__all__ = ["grid_rows"]

_GRIDS: tuple[GridName, ...] = ("karras", "geometric", "uniform")
_EVALUATIONS = (10, 20, 50)


def _preserving(schedule: Schedule) -> VP:
    """The linear schedule that ends at the same greatest noise level, from beta = 0.1."""
    log_alpha = -0.5 * math.log1p(schedule.noise_range[1] ** 2)
    return VP(beta_min=0.1, beta_max=-4 * log_alpha - 0.1)


def grid_rows(
    recipe: Recipe,
    folder: Path,
    seeds: Sequence[int],
    scale: float,
    n: int,
    samplers: Sequence[SamplerName] = tuple(FIXED),
    evaluations: Sequence[int] = _EVALUATIONS,
) -> Generator[str, None, list[dict[str, Any]]]:
    """Every fixed sampler on every grid.

    Args:
        recipe: as for `quality_rows`.
        folder: of the runs.
        seeds: of the runs.
        scale: of guidance; 0 is the score model alone.
        n: samples a way and seed.
        samplers: which.
        evaluations: budgets.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them, one a sampler, budget, grid and schedule: the error of the flow where a
        sampler draws no noise, the sliced Wasserstein distance to the model's SDE elsewhere.
    """
    train = load(recipe.data, "train")
    y = torch.arange(n) % train.n_classes
    points: list[Point] = []
    for seed in seeds:
        for preserving in (False, True):
            denoiser = open_digits(folder / f"seed-{seed}", scale)
            if preserving:
                denoiser.schedule = _preserving(recipe.schedule)
                if isinstance(denoiser, ClassifierGuided):
                    denoiser.denoiser.schedule = denoiser.likelihood.schedule = denoiser.schedule
            name, first = f"{problem_name(scale)}, {denoiser.schedule.kind} noise", (seed + 1) * 1_000_000
            yield f"seed {seed}, {name}: the model's SDE and flow"
            truth = yardsticks(denoiser, first, y, train.n_classes, train.shape)
            measures = {SW_SDE: distances(truth.sde, "the model's SDE")[SW_SDE]}
            problem = Problem(name, denoiser, y, train.shape, measures, truth.flow)
            for way in [Way(s, budget, None, grid) for s in samplers for budget in evaluations for grid in _GRIDS]:
                yield f"seed {seed}, {name}: {way.sampler}, {way.label}"
                point = measure(problem, way, seed, first)
                if point is not None:
                    points.append(point)
    facts = as_facts(points, UNITS, f"n = {n}")
    flowing = {fact.variant for fact in facts if fact.what == PAIRED}
    wanted = [fact for fact in facts if fact.what == (PAIRED if fact.variant in flowing else SW_SDE)]
    return rows_over_seeds(wanted)
