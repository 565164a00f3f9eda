"""Recipes repeated over seeds: every figure of their runs as mean and standard deviation."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.seeds import Fact, rows_over_seeds
from condgen.recipes import Recipe
from condgen.runs import Work, describe_environment, read_json, run_recipe
from condgen.training import Processes

__all__ = ["repeat_recipe", "summarise_seeds"]


def repeat_recipe(recipe: Recipe, seeds: Sequence[int], folder: Path, processes: Processes, command: str) -> Work:
    """Runs a recipe once a seed, in sub-folders; finished ones are reused."""
    for seed in seeds:
        place = folder / f"seed-{seed}"
        for event in run_recipe(recipe.model_copy(update={"seed": seed}), place, processes, command):
            yield event._replace(stage=f"{seed}: {event.stage}")


def summarise_seeds(recipe: Recipe, seeds: Sequence[int], folder: Path, command: str) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every figure of the runs.

    Returns:
        `{"what": ..., "rows": [{"what", "variant", "size", "value", "sd", "seeds", "unit"}]}`: score errors, metrics,
        speed of sampling, and seconds per stage.
    """
    found: list[Fact] = []
    for seed in seeds:
        place = folder / f"seed-{seed}"
        for file, facts in FACTS.items():
            if (place / file).exists():
                found += facts(read_json(place / file))
    about = {"recipe": recipe.name, "seeds": list(seeds), "command": command, **describe_environment()}
    return {"what": about, "rows": rows_over_seeds(found)}


Facts: TypeAlias = Iterator[Fact]


def _errors(file: dict[str, Any]) -> Facts:
    for row in file["rows"]:
        size = f"noise level {row['sigma']:g}, {row['weighting']}, {row['n']} queries"
        yield Fact(row["quantity"], row["method"], size, "1/data unit", row["mean"])


def _metrics(file: dict[str, Any]) -> Facts:
    for row in file["rows"]:
        yield Fact(row["metric"], row["method"], f"n = {row['n']}", row["features"], row["value"])


def _costs(file: dict[str, Any]) -> Facts:
    for row in file["rows"]:
        size = f"{row['images']} images, {row['evaluations_per_image']} evaluations each"
        yield Fact("speed", row["method"], size, "images/s", row["images_per_second"])


def _classifiers(file: dict[str, Any]) -> Facts:
    for row in file["rows"]:
        for what, unit in CLASSIFIER_FIGURES.items():
            if row.get(what) is not None:
                yield Fact(what, row["classifier"], f"noise level {row['sigma']:g}, held out", unit, row[what])


def _seconds(file: dict[str, Any]) -> Facts:
    for row in file["stages"]:
        yield Fact("time", row["stage"], row["what"], "s", row["seconds"])


CLASSIFIER_FIGURES = {"accuracy": "", "cross_entropy": "nat", "ece": "", "gain": "", "scale": ""}

FACTS: dict[str, Callable[[dict[str, Any]], Facts]] = {
    "diagnostics.json": _errors,
    "metrics.json": _metrics,
    "classifiers.json": _classifiers,
    "cost.json": _costs,
    "run.json": _seconds,
}
