"""What `condgen run --dry-run` shows."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from condgen.cli.progress import console
from condgen.cli.rows import save, with_status
from condgen.recipes import Promise, Recipe
from condgen.runs import Estimate, describe_environment, estimate, gigabytes
from condgen.runs.dry_run import StageEstimate
from condgen.training import Processes

__all__ = ["duration", "show_estimate"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def show_estimate(recipe: Recipe, folder: Path, processes: Processes, json: Path | None) -> None:
    """Looks at a recipe for a while, and prints what it would take."""
    found = with_status(estimate(recipe, folder, processes))
    if not processes.is_main:
        return
    console.print(_table(found))
    by_note: dict[str, list[str]] = {}
    for stage in found.stages:
        by_note.setdefault(stage.note, []).append(stage.stage)
    for note, names in by_note.items():
        if note:
            console.print(f"{', '.join(names)}: {note}", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print(
        f"free: {gigabytes(found.free_memory)} of memory, {gigabytes(found.free_disk)} of disk for {folder}",
        markup=False,
        soft_wrap=True,
    )
    if recipe.promise is not None:
        console.print(_promised(recipe.promise, found), markup=False, soft_wrap=True)
    for warning in found.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True, style="yellow")
    promise = recipe.promise.model_dump(mode="json") if recipe.promise is not None else None
    save(json, {"what": describe_environment(), "promise": promise, **found.as_dict()})


def _table(found: Estimate) -> Table:
    title = f"{found.recipe} on {found.device}; nothing of it was run"
    table = Table(
        title=title, title_justify="left", show_footer=True, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("stage", "in all", no_wrap=True)
    table.add_column("to do", no_wrap=True)
    table.add_column("param.", justify="right", no_wrap=True)
    table.add_column("GFLOP", justify="right", no_wrap=True)
    table.add_column("time", duration(found.seconds), justify="right", no_wrap=True)
    table.add_column("memory", gigabytes(found.memory), justify="right", no_wrap=True)
    table.add_column("disk", gigabytes(found.disk), justify="right", no_wrap=True)
    for stage in found.stages:
        table.add_row(
            stage.stage,
            _left(stage),
            _count(stage.parameters) if stage.parameters is not None else "",
            f"{stage.flops / 1e9:,.3g}" if stage.flops is not None else "",
            duration(stage.seconds) if stage.reuse != "finished" else "",
            gigabytes(stage.memory) if stage.memory else "",
            gigabytes(stage.disk) if stage.disk else "",
        )
    return table


def _promised(promise: Promise, found: Estimate) -> str:
    basis = "measured" if promise.measured else "meant, not measured"
    return (
        f"the recipe's promise: {duration(_MINUTE * promise.minutes)} and {promise.memory:g} GB on {promise.hardware} "
        f"({basis}); what is to do here: {duration(found.seconds)} and {gigabytes(found.memory)}"
    )


def _left(stage: StageEstimate) -> str:
    if stage.reuse == "finished":
        return "nothing"
    of = f" of {stage.total:,}" if stage.done else ""
    return f"{stage.total - stage.done:,}{of} {stage.unit}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.3g} M" if parameters >= 1e6 else f"{parameters / 1e3:.3g} k"


def duration(seconds: float) -> str:
    """A time in words, to two figures or so."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 100 * unit else f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.2g} s"
