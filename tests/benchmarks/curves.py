"""What classifiers are worth while they train: cross-entropy and the error of the likelihood score, step after step.

The figures are measured on snapshots, the averaged weights of earlier steps that `training.snapshots` keeps.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.seeds import Fact, rows_over_seeds
from condgen.classifier import Classifier
from condgen.data import LabelledSet, load
from condgen.diagnostics.score_errors import data_queries, grid_queries
from condgen.errors import UserError
from condgen.oracle import Oracle
from condgen.recipes import ClassifierRecipe, Recipe
from condgen.rng import keyed_generator
from condgen.runs import describe_environment
from condgen.runs.layout import SNAPSHOTS
from condgen.schedules import perturb

__all__ = ["check_curves", "training_curves"]

_DRAWS = 4000  # noised points on which cross-entropy is measured


def check_curves(recipe: Recipe) -> None:
    """Raises UserError where a recipe keeps no snapshots, or does not say where errors are measured."""
    if not any(c.training.snapshots for c in recipe.classifiers.values()):
        raise UserError(f"recipe {recipe.name!r} keeps no snapshots: list steps in a classifier's training.snapshots")
    if recipe.diagnose is None:
        raise UserError(f"recipe {recipe.name!r} has no diagnose, which says where the errors are measured")


def training_curves(recipe: Recipe, seeds: Sequence[int], folder: Path, command: str) -> dict[str, Any]:
    """Cross-entropy and D_L of every classifier of finished runs at every snapshot, as rows over seeds.

    Cross-entropy is over held-out data at noise levels drawn as in training. D_L is at the levels of `diagnose.grid`
    on its grid, or, for data that are not points in the plane, at `diagnose.levels` on noised data.

    Args:
        recipe: with snapshots in the training of its classifiers.
        seeds: whose runs lie in `folder/seed-N`.
        folder: of the runs.
        command: that is said to make the figures.

    Raises:
        UserError: as `check_curves`.
    """
    check_curves(recipe)
    train, held_out = load(recipe.data, "train"), load(recipe.data, "test")
    oracle = Oracle(recipe.schedule, train.floats(), train.y, train.n_classes)
    facts = [
        fact
        for seed in seeds
        for name, classifier in recipe.classifiers.items()
        for fact in _classifier_facts(recipe, name, classifier, folder / f"seed-{seed}", oracle, held_out)
    ]
    about = {"recipe": recipe.name, "seeds": list(seeds), "command": command, **describe_environment()}
    return {"what": about, "rows": rows_over_seeds(facts)}


def _classifier_facts(
    recipe: Recipe, name: str, settings: ClassifierRecipe, run: Path, oracle: Oracle, held_out: LabelledSet
) -> Iterator[Fact]:
    place, training = run / f"classifier-{name}", settings.training
    folders = {step: place / SNAPSHOTS / str(step) for step in training.snapshots} | {training.steps: place}
    generator = keyed_generator(recipe.seed)
    rows = torch.randint(len(held_out), (_DRAWS,), generator=generator)
    x, y = held_out.floats(rows), held_out.y[rows]
    lattice = (torch.arange(_DRAWS, dtype=torch.float64) + 0.5) / _DRAWS
    t = settings.density.quantile(recipe.schedule, lattice[torch.randperm(_DRAWS, generator=generator)])
    x_t = perturb(recipe.schedule, x, t, torch.randn(x.shape, generator=generator))
    places = _queries(recipe, oracle)
    for step, model in sorted(folders.items()):
        classifier = Classifier.load(model)
        with torch.no_grad():
            cross_entropy = -classifier(x_t, t).gather(1, y[:, None]).mean()
        yield Fact("cross-entropy", name, f"step {step}, held out, noise as in training", "nat", float(cross_entropy))
        for where, (at, query, labels, exact) in places.items():
            error = classifier.score(query.float(), at, labels).double() - exact
            yield Fact("D_L", name, f"step {step}, {where}", "1/data unit", float(error.flatten(1).norm(dim=1).mean()))


def _queries(recipe: Recipe, oracle: Oracle) -> dict[str, tuple[torch.Tensor, ...]]:
    """Where D_L is measured: time, queries, labels, and the exact likelihood score, by a name for the place."""
    settings = recipe.diagnose
    assert settings is not None
    found: dict[str, tuple[torch.Tensor, ...]] = {}
    if settings.grid is not None:
        grid = settings.grid
        for level in grid.levels:
            found[f"grid at noise level {level:g}"] = grid_queries(oracle, grid.x, grid.y, grid.points, level)
    else:
        for level in settings.levels:
            generator = keyed_generator(settings.seed)
            found[f"data at noise level {level:g}"] = data_queries(oracle, settings.queries, level, generator)
    return {where: (t, x_t, y, oracle.scores(x_t, t, y).likelihood) for where, (t, x_t, y) in found.items()}
