"""A recipe repeated over seeds: every figure of its runs as mean and standard deviation."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from condgen.recipes import Recipe
from condgen.runs.environment import describe_environment
from condgen.runs.folder import read_json, write_json
from condgen.runs.layout import CLASSIFIERS, COST, DIAGNOSTICS, METRICS, RUN_FILE, SEEDS, seed_folder
from condgen.runs.plan import run_recipe
from condgen.runs.stage import Work
from condgen.training import Processes


class _Figure(NamedTuple):
    what: str
    variant: str
    size: str
    unit: str


_Figures: TypeAlias = Iterator[tuple[_Figure, float]]


def run_seeds(recipe: Recipe, seeds: Sequence[int], folder: Path, processes: Processes, command: str) -> Work:
    """Runs a recipe once a seed, in sub-folders, and writes `seeds.json`; finished stages are reused."""
    for seed in seeds:
        for event in run_recipe(
            recipe.model_copy(update={"seed": seed}), seed_folder(folder, seed), processes, command
        ):
            yield event._replace(stage=f"{seed}: {event.stage}")
    processes.once(lambda: write_json(folder / SEEDS, summarise_seeds(recipe.name, seeds, folder, command)))


def summarise_seeds(name: str, seeds: Sequence[int], folder: Path, command: str) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds of every figure of the runs.

    Returns:
        `{"what": ..., "rows": [{"what", "variant", "size", "value", "sd", "seeds", "unit"}]}`: score errors, metrics,
        calibrations, speed of sampling, and seconds per stage.
    """
    values: dict[_Figure, list[float]] = defaultdict(list)
    for seed in seeds:
        for file, figures in _FILES.items():
            path = seed_folder(folder, seed) / file
            for figure, value in figures(read_json(path)) if path.exists() else ():
                values[figure].append(value)
    rows = [
        {
            **figure._asdict(),
            "value": statistics.fmean(found),
            "sd": statistics.stdev(found) if len(found) > 1 else None,
            "seeds": len(found),
        }
        for figure, found in values.items()
    ]
    return {"what": {"recipe": name, "seeds": list(seeds), "command": command, **describe_environment()}, "rows": rows}


def _errors(file: dict[str, Any]) -> _Figures:
    for row in file["rows"]:
        size = f"noise level {row['sigma']:g}, {row['weighting']}, {row['n']} queries"
        yield _Figure(row["quantity"], row["method"], size, "1/data unit"), row["mean"]


def _metrics(file: dict[str, Any]) -> _Figures:
    for row in file["rows"]:
        yield _Figure(row["metric"], row["method"], f"n = {row['n']}", row["features"]), row["value"]


def _costs(file: dict[str, Any]) -> _Figures:
    for row in file["rows"]:
        yield _Figure("speed", row["method"], f"{row['images']} images", "images/s"), row["images_per_second"]


def _classifiers(file: dict[str, Any]) -> _Figures:
    units = {"accuracy": "", "cross_entropy": "nat", "ece": "", "gain": "", "scale": ""}
    for row in file["rows"]:
        for what in (what for what in units if what in row):
            if row[what] is not None:
                yield (
                    _Figure(what, row["classifier"], f"noise level {row['sigma']:g}, held out", units[what]),
                    row[what],
                )


def _seconds(file: dict[str, Any]) -> _Figures:
    for row in file["stages"]:
        yield _Figure("time", row["stage"], row["what"], "s"), row["seconds"]


_FILES: dict[str, Callable[[dict[str, Any]], _Figures]] = {
    DIAGNOSTICS: _errors,
    METRICS: _metrics,
    CLASSIFIERS: _classifiers,
    COST: _costs,
    RUN_FILE: _seconds,
}
