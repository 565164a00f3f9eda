"""`condgen bench reliability`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from condgen.bench.parts import Rows, Work, choose, combine
from condgen.bench.reliability.work import JOBS
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, command_line, save, with_status
from condgen.errors import UserError
from condgen.runs import describe_environment, read_json

__all__ = ["FILES", "PARTS", "reliability"]

PARTS = ("kills", "stops", "disk", "numbers", "files", "studio", "flat")
FILES = (
    *("recipes", "includes", "requests", "samples", "runs", "models", "states", "features", "diffusers", "images"),
    *("archives", "commands"),
)


def reliability(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"{', '.join(PARTS)}: see above; by default all.")
    ] = None,
    times: Annotated[
        int, typer.Option(min=1, help="kills, stops, disk: how often it happens to each kind of work.")
    ] = 100,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Not all kinds. Of kills, stops, disk: {', '.join(JOBS)}. Of files: {', '.join(FILES)}. Repeatable."
        ),
    ] = None,
    replay: Annotated[
        str | None, typer.Option(metavar="KIND/SEED/NUMBER", help="files: make this one case again, and keep it.")
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="files: hostile cases of each kind.")] = 10_000,
    requests: Annotated[int, typer.Option(min=1, help="studio: that are sent.")] = 1000,
    at_once: Annotated[int, typer.Option(min=1, help="studio: of them at once.")] = 20,
    steps: Annotated[int, typer.Option(min=500, help="flat: of training.")] = 30_000,
    samples: Annotated[int, typer.Option(min=2000, help="flat: that are drawn.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random: moments, places, damages.")] = 0,
    out: Annotated[Path, typer.Option(help="A folder to work in; its sub-folders of these parts are emptied.")] = Path(
        "runs/bench/reliability"
    ),
    json: JsonFile = None,
) -> None:
    """Make things go wrong, many times, and count what is lost.

    kills: training, sampling, evaluation and a whole recipe are killed at any moment, also in the middle of a file, and
    started again: do they end in the same bits as when nothing disturbs them?

    stops: the same with Ctrl-C and polite kills: how soon does it end, and with a word?

    disk: a disk that is full, may not be written, or fails, and is mended. Linux only.

    numbers: NaN and infinities in data, losses, guidance, exact scores, checkpoints: found, named, never drawn?

    files: broken and hostile recipes, manifests, models, pictures, data: an error in one line, or something worse?

    studio: many requests at once, and hostile ones.

    flat: long training and sampling: does memory grow?

    Rows of parts and kinds that are not run stay in the file. With the defaults all of it takes hours; --times 10
    --cases 500 is a short look at everything.
    """
    # Only when they run: what they try imports most of condgen, and extras.
    from condgen.bench.reliability.disk import disk_rows
    from condgen.bench.reliability.files import file_rows
    from condgen.bench.reliability.files import replay as replay_case
    from condgen.bench.reliability.flat import flat_rows
    from condgen.bench.reliability.kills import kill_rows
    from condgen.bench.reliability.numbers import number_rows
    from condgen.bench.reliability.service import studio_rows
    from condgen.bench.reliability.stops import stop_rows

    if replay is not None:
        console.print(replay_case(replay, out.resolve()), markup=False)
        return
    chosen = choose(parts or PARTS, PARTS)
    unknown = [name for name in only or () if name not in (*JOBS, *FILES)]
    if unknown:
        raise UserError(f"there is no kind {unknown[0]!r}: choose among {', '.join((*JOBS, *FILES))}")
    do: dict[str, Callable[[Path, list[str]], Work]] = {
        "kills": lambda place, kinds: kill_rows(place, times, seed, kinds),
        "stops": lambda place, kinds: stop_rows(place, times, seed, kinds),
        "disk": lambda place, kinds: disk_rows(place, max(1, times // 10), seed, kinds),
        "numbers": lambda place, _: number_rows(place, seed),
        "files": lambda place, kinds: file_rows(place, cases, seed, kinds),
        "studio": lambda place, _: studio_rows(place, requests, at_once, seed),
        "flat": lambda place, _: flat_rows(place, steps, samples),
    }
    summary = read_json(json) if json is not None and json.exists() else None
    for part in chosen:
        known = {"files": FILES}.get(part, tuple(JOBS) if part in ("kills", "stops", "disk") else ())
        for kind in [kind for kind in known if kind in (only or known)] or [""]:  # each saved when it is done
            name, started = f"{part}: {kind}" if kind else part, time.perf_counter()
            rows = with_status(do[part]((out / part).resolve(), [kind] if kind else []))
            took = round(time.perf_counter() - started)
            summary = combine(
                summary, name, {"command": command_line(), "seconds": took, **describe_environment()}, rows
            )
            save(json, summary, compact=True)  # before anything else can go wrong
            console.print(_table(name, rows))


def _table(part: str, rows: Rows) -> Table:
    """What was counted, down, of each kind, across; or the other way round where there are many kinds."""
    kinds, counted = (list(dict.fromkeys(row[name] or "" for row in rows)) for name in ("variant", "what"))
    values = {(row["variant"] or "", row["what"]): _shown(row["value"], row["unit"]) for row in rows}
    table = Table("", *kinds, title=part) if len(kinds) <= len(JOBS) else Table(part, "", "")
    for what in counted:
        found = [values.get((kind, what), "") for kind in kinds]
        if len(kinds) <= len(JOBS):
            table.add_row(what, *found)
        else:
            for kind, value in zip(kinds, found, strict=True):
                if value:
                    table.add_row(kind, what, value)
    return table


def _shown(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 1000 else f"{value:.4g} {unit}".strip()
