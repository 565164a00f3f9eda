"""What all benchmarks share: timings that take turns, rows over seeds, one table and one JSON file."""

import ctypes
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
import typer
from rich.console import Console
from rich.table import Table

from condgen.runs.environment import describe_environment
from condgen.runs.folder import write_json

Full: TypeAlias = Annotated[bool, typer.Option("--full", help="The published figures' size: minutes, not seconds.")]
JsonFile: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write the rows here as well.")]
Picture: TypeAlias = Annotated[Path | None, typer.Option("--picture", help="Draw the result here, as PNG.")]
Rounds: TypeAlias = Annotated[int, typer.Option(min=1, help="Every variant is timed once a round; the median counts.")]
Seeds: TypeAlias = Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")]

console = Console(width=None if sys.stdout.isatty() else 140)


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


def finish(figures: Sequence[Figure], json: Path | None = None, **conditions: object) -> None:
    """Prints a table a size, variants down and quantities across, and writes rows and conditions."""
    rows = rows_over_seeds(figures)
    for size in dict.fromkeys(row["size"] for row in rows):
        here = [row for row in rows if row["size"] == size]
        heads = {row["what"]: row["unit"] for row in here}
        cells = {(row["variant"], row["what"]): _shown(row["value"], row["sd"]) for row in here}
        table = Table("", *(f"{what}, {unit}" if unit else what for what, unit in heads.items()), title=size)
        for variant in dict.fromkeys(row["variant"] for row in here):
            table.add_row(variant, *(cells.get((variant, what), "") for what in heads))
        console.print(table)
    if json is not None:
        command = " ".join(["uv run", *sys.argv])
        write_json(json, {"what": {"command": command, **conditions, **describe_environment()}, "rows": rows})


def _shown(value: float, sd: float | None) -> str:
    return f"{value:.4g}" + ("" if sd is None else f" ± {sd:.1g}")


def device() -> torch.device:
    """The accelerator, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronise(where: torch.device) -> None:
    """Returns once the device has done what it was asked for."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int, where: torch.device, least_seconds: float = 0.2
) -> dict[str, float]:
    """Times every variant once a round, so that what else the machine does falls on all of them alike.

    A first round, not counted, warms up and finds how many calls fill `least_seconds`. Returns the median over rounds
    of the milliseconds a call.
    """
    calls, times = {}, defaultdict(list)
    for turn in range(rounds + 1):
        for name, function in variants.items():
            if turn == 0:
                function()
            synchronise(where)
            started = time.perf_counter()
            for _ in range(calls.get(name, 1)):
                function()
            synchronise(where)
            took = time.perf_counter() - started
            if turn == 0:
                calls[name] = max(1, round(least_seconds / took))
            else:
                times[name].append(1e3 * took / calls[name])
    return {name: statistics.median(found) for name, found in times.items()}


def peak_memory(work: Callable[[], object], where: torch.device) -> float:
    """Megabytes that work needs above what is held when it begins; on a CPU, on Linux alone."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
        work()
        return (torch.cuda.max_memory_allocated(where) - before) / 2**20
    with suppress(AttributeError, OSError):  # freed memory goes back to the system, or work would find room unseen
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = _high_water()
    work()
    return max(_high_water() - before, 0.0)


def _high_water() -> float:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def run(main: Callable[..., None]) -> None:
    """Runs a script's function with options from its arguments and help from the script's docstring."""
    main.__doc__ = sys.modules["__main__"].__doc__
    typer.run(main)
