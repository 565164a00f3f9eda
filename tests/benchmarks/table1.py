"""Table 1 of the DLSM paper (Chao et al. 2022) on the moons: score errors, and samples at one noise level.

The errors are those of `diagnose` on the paper's grid. The paper also draws x_t at its noise level for each class, by
Langevin steps whose step size, as published in code, leaves them in another distribution than the model's. Here the
probability flow runs from the highest noise to that level, stops, and its points are compared with noised data of the
class by precision and recall (k = 5). Another row holds fresh noised data: the best that either can be at this n.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.seeds import Fact, rows_over_seeds
from condgen.data import LabelledSet, load
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.metrics import prdc
from condgen.oracle import Oracle
from condgen.recipes import Recipe
from condgen.rng import Streams, keyed_generator
from condgen.runs import Folders, default_methods, describe_environment, open_guided, read_json
from condgen.samplers import Heun, trajectory
from condgen.schedules import perturb
from condgen.score import ScoreModel

__all__ = ["check_table_one", "table_one"]

_NEIGHBOUR, _STEPS = 5, 24


def check_table_one(recipe: Recipe) -> None:
    """Raises UserError where a recipe has no grid, which is for points in the plane."""
    if recipe.diagnose is None or recipe.diagnose.grid is None:
        raise UserError(f"recipe {recipe.name!r} has no diagnose.grid: take recipes/moons.yaml")


def table_one(
    recipe: Recipe, seeds: Sequence[int], folder: Path, command: str, per_class: int = 2000
) -> Generator[str, None, dict[str, Any]]:
    """Score errors on the grid, and precision and recall of samples at its first noise level, over finished runs.

    Args:
        recipe: of points in the plane, with `diagnose.grid`.
        seeds: whose runs lie in `folder/seed-N`.
        folder: of the runs.
        command: that is said to make the figures.
        per_class: samples, and noised data, of each class.

    Yields:
        What comes next.

    Raises:
        UserError: the recipe has no grid.
    """
    check_table_one(recipe)
    assert recipe.diagnose is not None
    assert recipe.diagnose.grid is not None
    level = recipe.diagnose.grid.levels[0]
    train = load(recipe.data, "train")
    oracle = Oracle(recipe.schedule, train.floats(), train.y, train.n_classes)
    facts: list[Fact] = []
    for seed in seeds:
        run = folder / f"seed-{seed}"
        for row in read_json(run / "diagnostics.json")["rows"]:
            if row["weighting"] == "grid" and row["sigma"] == level:
                size = f"noise level {level:g}, grid of {row['n']} queries"
                facts.append(Fact(row["quantity"], row["method"], size, "1/data unit", row["mean"]))
        classifiers = {name: run / f"classifier-{name}" for name in recipe.classifiers}
        scores = {name: run / f"score-{name}" for name in recipe.scores}
        folders = Folders(run / "score", scores, classifiers)
        methods: dict[str, Denoiser] = {"oracle": oracle} if seed == seeds[0] else {}
        methods["zero guidance"] = ScoreModel.load(run / "score")
        for name, guidance in (recipe.diagnose.methods or default_methods(classifiers)).items():
            methods[name] = open_guided(guidance, folders.models(guidance), torch.device("cpu"))[0]
        real = _noised(recipe, train, level, per_class, seed)
        again = _noised(recipe, train, level, per_class, 10_000 + seed)
        samples: dict[str, Tensor | Denoiser] = {"noised data": again, **methods}
        for name, source in samples.items():
            yield f"seed {seed}, {name}"
            drawn = _drawn(source, level, per_class, train.n_classes, seed) if isinstance(source, Denoiser) else source
            for label in range(train.n_classes):
                rows = slice(label * per_class, (label + 1) * per_class)
                found = prdc(real[rows], drawn[rows], _NEIGHBOUR)
                size = f"noise level {level:g}, class {train.names[label]}, n = {per_class}"
                facts.append(Fact("precision", name, size, "", float(found.precision.mean())))
                facts.append(Fact("recall", name, size, "", float(found.recall.mean())))
    about = {"recipe": recipe.name, "seeds": list(seeds), "command": command, **describe_environment()}
    return {"what": about, "rows": rows_over_seeds(facts)}


def _noised(recipe: Recipe, train: LabelledSet, level: float, per_class: int, seed: int) -> Tensor:
    """Noised data, class after class: (K per_class, 2)."""
    generator = keyed_generator(seed)
    t = recipe.schedule.t_of_noise_level(torch.tensor(level))
    parts = []
    for label in range(train.n_classes):
        rows = (train.y == label).nonzero()[:, 0]
        x = train.floats(rows[torch.randint(len(rows), (per_class,), generator=generator)])
        parts.append(perturb(recipe.schedule, x, t, torch.randn(x.shape, generator=generator)))
    return torch.cat(parts)


def _drawn(denoiser: Denoiser, level: float, per_class: int, n_classes: int, seed: int) -> Tensor:
    """Points at one noise level, class after class, from the highest noise by the probability flow."""
    schedule = denoiser.schedule
    high = schedule.noise_range[1]
    roots = torch.linspace(high ** (1 / 7), level ** (1 / 7), _STEPS, dtype=torch.float64)
    grid = schedule.t_of_noise_level(roots**7)
    y = torch.arange(n_classes).repeat_interleave(per_class)
    streams = Streams(range(seed * 1_000_000, seed * 1_000_000 + len(y)))
    for step in trajectory(Heun(denoiser), grid, streams, y, (2,)):
        if step.number == len(grid) - 1:
            return step.x
    raise AssertionError("the trajectory ends with the grid")
