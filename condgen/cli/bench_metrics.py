"""`condgen bench metrics`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from condgen.bench.metrics import CASES, metric_rows
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, command_line, save, with_status
from condgen.errors import UserError
from condgen.runs import describe_environment

__all__ = ["metrics"]

_LEAST = 20


def metrics(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="[METRIC]...", help=f"{', '.join(CASES)}; by default all.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=_LEAST, help="Real samples, and as many generated ones.")] = 10_000,
    features: Annotated[
        list[int] | None, typer.Option(min=2, help="Numbers a sample; repeatable; by default 64 and 2048.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each variant is timed once a round; the median counts.")] = 3,
    memory: Annotated[bool, typer.Option(help="Measure the memory too, in a process for each variant.")] = True,
    alone: Annotated[
        bool, typer.Option("--alone", help="Without the other libraries, which take 30 GB at --n 50000.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Time metrics beside scipy, torch-fidelity and prdc: the same figures on the same features, and the memory.

    Variants take turns in one run, so that ratios hold on a noisy machine; ten minutes on two cores. Libraries
    that are not installed are left out (uv sync installs them).
    """
    unknown = [name for name in which or () if name not in CASES]
    if unknown:
        raise UserError(f"there is no metric {unknown[0]!r}: choose among {', '.join(CASES)}")
    rows: list[dict[str, Any]] = []
    for name in which or CASES:
        for width in features or (64, 2048):
            rows += with_status(metric_rows(name, n, width, rounds, memory=memory, alone=alone))
            console.print(_table(rows, rows[-1]["size"]))
    save(json, {"what": {"command": command_line(), "rounds": rounds, **describe_environment()}, "rows": rows})


def _table(rows: Sequence[dict[str, Any]], where: str) -> Table:
    table = Table("variant", "ms", "condgen's times", "MB", "difference", title=where)
    here = [row for row in rows if row["size"] == where]
    for variant in dict.fromkeys(row["variant"] for row in here):
        found = {row["what"]: row["value"] for row in here if row["variant"] == variant}
        table.add_row(
            variant,
            f"{found['time']:,.4g}",
            f"{found['relative time']:.2f}" if "relative time" in found else "1",
            f"{found['memory']:,.0f}" if "memory" in found else "",
            f"{found['difference']:.1e}" if "difference" in found else "",
        )
    return table
