"""The output of `condgen run --dry-run`."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from condgen.cli.terminal import console, save_json
from condgen.recipes import Recipe
from condgen.runs import Estimate, describe_environment, estimate
from condgen.training import Processes

__all__ = ["duration", "show_estimate"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def show_estimate(recipe: Recipe, folder: Path, processes: Processes, json: Path | None) -> None:
    """Tries a recipe for a while, and prints its stages, what is finished of them, and their time."""
    found = []
    with console.status("trying every stage"):
        for stage in estimate(recipe, folder, processes):
            found.append(stage)
    seconds = sum(stage.seconds or 0.0 for stage in found)
    console.print(_table(recipe.name, found, seconds))
    promise = recipe.promise
    if promise is not None:
        basis = "measured" if promise.measured else "meant, not measured"
        console.print(
            f"the recipe's promise: {duration(_MINUTE * promise.minutes)} and {promise.memory:g} GB on "
            f"{promise.hardware} ({basis}); left to do here: {duration(seconds)}",
            markup=False,
            soft_wrap=True,
        )
    about = {"promise": promise.model_dump(mode="json") if promise is not None else None, "seconds": seconds}
    save_json(json, {"what": describe_environment(), **about, "stages": [stage._asdict() for stage in found]})


def _table(name: str, stages: Sequence[Estimate], seconds: float) -> Table:
    table = Table(title=f"{name}; nothing of it was run", title_justify="left", show_footer=True, box=SIMPLE_HEAD)
    table.add_column("stage", "in all", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("to do", no_wrap=True)
    table.add_column("time", duration(seconds), justify="right", no_wrap=True)
    for stage in stages:
        of = f" of {stage.total:,}" if stage.done else ""
        left = f"{stage.total - stage.done:,}{of} {stage.unit}" if stage.done < stage.total else ""
        table.add_row(stage.stage, stage.state, left, "?" if stage.seconds is None else duration(stage.seconds))
    return table


def duration(seconds: float) -> str:
    """A time in words, to two figures or so."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 100 * unit else f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.2g} s"
