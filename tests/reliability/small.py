"""A run on digits that takes seconds: a score model, a classifier and a generator, to be asked in every way."""

from pathlib import Path

from condgen.errors import UserError
from condgen.recipes import Recipe, to_yaml
from reliability.command import Command, complaint

__all__ = ["small_recipe", "small_run"]

_NETWORK = {"kind": "mlp", "width": 32, "depth": 2, "embedding": 16}


def small_recipe(steps: int, seed: int) -> Recipe:
    """All kinds of models, each trained for so many steps, and nothing drawn or measured."""
    training = {"steps": steps, "batch": 32, "lr": 1e-3, "log_every": 10, "save_every": 1000}
    return Recipe.model_validate(
        {
            "name": "small",
            "data": {"kind": "digits"},
            "schedule": {"kind": "edm", "sigma_min": 0.02, "sigma_max": 20},
            "seed": seed,
            "threads": 1,
            "score": {"network": _NETWORK, "training": training},
            "classifiers": {"ce": {"network": _NETWORK, "objective": {"loss": "ce"}, "training": training}},
            "generators": {
                "sid": {"network": _NETWORK, "objective": {"loss": "sid", "network": _NETWORK}, "training": training}
            },
            "calibrate": None,
            "sample": {"per_class": 2, "methods": {"one-step": {"generator": "sid"}, "ce": {"classifier": "ce"}}},
            "evaluate": False,
        }
    )


def small_run(folder: Path, steps: int = 100, seed: int = 0) -> Path:
    """Makes the run with `condgen run`, or takes the one that is there, and returns its folder.

    Raises:
        UserError: the command did not do its work.
    """
    run, recipe = folder / "run", folder / "small.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write_text(to_yaml(small_recipe(steps, seed)))
    if (run / "run.json").is_file():
        return run
    ended = Command("run", recipe, "--out", run).wait(300)
    if ended.code != 0:
        raise UserError(f"the small run in {run} was not made: {complaint(ended) or ended.err.strip()}")
    return run
