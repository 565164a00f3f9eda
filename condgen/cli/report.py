"""`condgen report`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import console
from condgen.errors import UserError

__all__ = ["report"]

_COMPARISON = Path("runs/comparison")


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run folder, or several to compare.")],
    out: Annotated[Path | None, typer.Option(help="The folder of a comparison; by default runs/comparison.")] = None,
) -> None:
    """Write report.html, report.md and report.json of a run, or one page that compares several.

    condgen report runs/digits

    condgen report runs/digits-0 runs/digits-1 runs/other --out runs/comparison

    A comparison shows the settings that differ, metrics, score errors, samples, cost and training beside each other.
    Runs of one recipe with different seeds stand as mean and standard deviation over the seeds.
    """
    from condgen.report import build_report, compare_runs  # plots take a second to import, which --help spares

    if len(folders) > 1:
        page = compare_runs(folders, out or _COMPARISON)
    elif out is not None:
        raise UserError("--out is for comparisons: the report of one run lies in its own folder")
    else:
        page = build_report(folders[0])
    console.print(f"report: {page.resolve()}", markup=False, soft_wrap=True)
