"""`condgen report`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.terminal import say
from condgen.errors import UserError


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder, or several to compare.")],
    out: Annotated[Path | None, typer.Option(help="The folder of a comparison; default: runs/comparison.")] = None,
) -> None:
    """Write report.html, report.md and report.json of a run, or one page that compares several.

    condgen report runs/digits

    condgen report runs/digits-0 runs/digits-1 runs/other --out runs/comparison

    A comparison shows the settings that differ, metrics, score errors, samples, cost and training. Runs of one recipe
    with different seeds are shown as mean and standard deviation over the seeds.
    """
    from condgen.report import build_report, compare_runs

    if len(folders) > 1:
        page = compare_runs(folders, out or Path("runs/comparison"))
    elif out is not None:
        raise UserError("--out is for comparisons: the report of one run lies in its own folder")
    else:
        page = build_report(folders[0])
    say(f"report: {page.resolve()}")
