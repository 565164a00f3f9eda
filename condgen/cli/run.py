"""`condgen run`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from condgen.cli.dry_run import show_estimate
from condgen.cli.options import Overrides, Size
from condgen.cli.pictures import draw_samples
from condgen.cli.previews import follow_previews, show_generators
from condgen.cli.progress import follow
from condgen.cli.terminal import console, save_json, say
from condgen.errors import UserError
from condgen.recipes import load_recipe
from condgen.runs import lock, read_json, run_recipe, run_seeds
from condgen.runs.layout import REPORT, SEEDS
from condgen.training import Processes

__all__ = ["run"]


def run(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/digits.yaml.")],
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/NAME, or runs/NAME-SIZE.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run nothing; estimate time.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write what --dry-run or --seeds finds here as well.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run with so many seeds: mean and sd of figures.")] = None,
    overrides: Overrides = None,
) -> None:
    """Train, sample, evaluate, diagnose and report, as a recipe says.

    --dry-run tries every stage for a few seconds.
    """
    from condgen.report import build_report, read_run, summary_tables, to_rich

    settings = load_recipe(recipe, overrides or (), size)
    folder = out or Path("runs") / settings.name
    if settings.threads is not None and context.obj is None:
        torch.set_num_threads(min(settings.threads, torch.get_num_threads()))
    if json is not None and not dry_run and seeds is None:
        raise UserError("--json goes with --dry-run or --seeds: the run itself writes its figures into its folder")
    processes = Processes()
    if dry_run:
        if processes.count > 1:
            raise UserError("--dry-run looks at what one process does: leave the launcher out")
        show_estimate(settings, folder, processes, json)
        return
    command = " ".join(["condgen", *sys.argv[1:]])
    if seeds is not None:
        with lock(folder, processes):
            work = run_seeds(settings, range(settings.seed, settings.seed + seeds), folder, processes, command)
            follow(follow_previews(work), processes)
        if processes.is_main:
            found = read_json(folder / SEEDS)
            _show_seeds(found["rows"])
            save_json(json, found)
            say(f"figures: {(folder / SEEDS).resolve()}")
        return
    with lock(folder, processes):
        work = run_recipe(settings, folder, processes, command)
        worked = follow(follow_previews(work), processes)
        if not processes.is_main:
            return
        if worked == 0 and (folder / REPORT).exists():
            say(f"nothing left to do: every stage of {folder} is finished")
        picture = draw_samples(folder, settings)
        page = build_report(folder)
    for table in summary_tables(read_run(folder)):
        console.print(to_rich(table, console.width))
    show_generators(folder)
    if picture is not None:
        say(f"\nsamples: {picture.resolve()}")
    say(f"report: {page.resolve()}")


def _show_seeds(rows: Sequence[Mapping[str, Any]]) -> None:
    """Mean and standard deviation of every figure."""
    table = Table("figure", "of", "at", "mean ± sd", "unit", box=SIMPLE_HEAD)
    for row in rows:
        sd = f" ± {row['sd']:.2g}" if row["sd"] is not None else ""
        table.add_row(row["what"], row["variant"], row["size"], f"{row['value']:.4g}{sd}", row["unit"])
    console.print(table)
