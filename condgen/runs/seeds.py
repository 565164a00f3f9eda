"""A recipe repeated over seeds: every figure of its runs as mean and standard deviation."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from condgen.recipes import Recipe
from condgen.runs.environment import describe_environment
from condgen.runs.folder import read_json, write_json
from condgen.runs.layout import CLASSIFIERS, COST, DIAGNOSTICS, METRICS, RUN_FILE, SEEDS, seed_folder
from condgen.runs.plan import run_recipe
from condgen.runs.stage import Work
from condgen.training import Processes

_OF_CLASSIFIERS = {"accuracy": "", "cross_entropy": "nat", "ece": "", "gain": "", "scale": ""}  # and their units


class Figure(NamedTuple):
    """One number of one seed; those that differ in their value alone become one row."""

    what: str
    variant: str
    size: str
    unit: str
    value: float


def rows_over_seeds(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over seeds, in order of first appearance."""
    values: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for figure in figures:
        values[figure[:4]].append(figure.value)
    return [
        dict(zip(Figure._fields, (*key, statistics.fmean(found)), strict=True))
        | {"sd": statistics.stdev(found) if len(found) > 1 else None, "seeds": len(found)}
        for key, found in values.items()
    ]


def run_seeds(recipe: Recipe, seeds: Sequence[int], folder: Path, processes: Processes, command: str) -> Work:
    """Runs a recipe once a seed, in sub-folders, and writes `seeds.json`; finished stages are reused."""
    for seed in seeds:
        one = recipe.model_copy(update={"seed": seed})
        for event in run_recipe(one, seed_folder(folder, seed), processes, command):
            yield event._replace(stage=f"{seed}: {event.stage}")
    processes.once(lambda: write_json(folder / SEEDS, _summary(recipe.name, seeds, folder, command)))


def _summary(name: str, seeds: Sequence[int], folder: Path, command: str) -> dict[str, Any]:
    """Mean and sample standard deviation of score errors, metrics, calibrations, speed of sampling, and seconds."""
    rows = rows_over_seeds(figure for seed in seeds for figure in _figures(seed_folder(folder, seed)))
    return {"what": {"recipe": name, "seeds": list(seeds), "command": command, **describe_environment()}, "rows": rows}


def _figures(run: Path) -> Iterator[Figure]:
    """Every figure of one run."""
    for row in _rows(run / DIAGNOSTICS):
        size = f"noise level {row['sigma']:g}, {row['weighting']}, {row['n']} queries"
        yield Figure(row["quantity"], row["method"], size, "1/data unit", row["mean"])
    for row in _rows(run / METRICS):
        yield Figure(row["metric"], row["method"], f"n = {row['n']}", row["features"], row["value"])
    for row in _rows(run / CLASSIFIERS):
        size = f"noise level {row['sigma']:g}, held out"
        for what, unit in _OF_CLASSIFIERS.items():
            if row.get(what) is not None:
                yield Figure(what, row["classifier"], size, unit, row[what])
    for row in _rows(run / COST):
        yield Figure("speed", row["method"], f"{row['images']} images", "images/s", row["images_per_second"])
    for row in _rows(run / RUN_FILE, "stages"):
        yield Figure("time", row["stage"], row["what"], "s", row["seconds"])


def _rows(path: Path, key: str = "rows") -> list[dict[str, Any]]:
    return read_json(path)[key] if path.exists() else []
