"""`condgen run`."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import torch
import typer

from condgen.cli.options import Overrides, Size
from condgen.cli.pictures import draw_samples
from condgen.cli.previews import follow_previews, show_generators
from condgen.cli.progress import show_report, work_in
from condgen.cli.terminal import console, say
from condgen.recipes import Recipe, load_recipe
from condgen.runs import estimate, read_json, run_recipe, run_seeds
from condgen.runs.layout import SEEDS
from condgen.training import Processes


def run(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/digits.yaml.")],
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/NAME, or runs/NAME-SIZE.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run nothing; estimate time.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run with so many seeds: mean and sd of figures.")] = None,
    overrides: Overrides = None,
) -> None:
    """Train, sample, evaluate, diagnose and report, as a recipe says.

    --dry-run tries every stage for a few seconds. --seeds writes its figures to seeds.json as well.
    """
    settings = load_recipe(recipe, overrides or (), size)
    folder, processes = out or Path("runs") / settings.name, Processes()
    if settings.threads is not None and context.obj is None:
        torch.set_num_threads(min(settings.threads, torch.get_num_threads()))
    command = " ".join(["condgen", *sys.argv[1:]])
    if dry_run:
        _show_estimate(settings, folder, processes)
    elif seeds is not None:
        work = run_seeds(settings, range(settings.seed, settings.seed + seeds), folder, processes, command)
        if work_in(folder, follow_previews(work), processes):
            _show_seeds(folder / SEEDS)
    elif work_in(folder, follow_previews(run_recipe(settings, folder, processes, command)), processes):
        picture = draw_samples(folder, settings)
        show_generators(folder)
        if picture is not None:
            say(f"samples: {picture.resolve()}")
        show_report(folder)


def _show_estimate(recipe: Recipe, folder: Path, processes: Processes) -> None:
    """Tries a recipe for a while, and prints its stages, what is finished of them, and their time."""
    from condgen.report import Table, to_rich

    with console.status("trying every stage"):
        stages = list(estimate(recipe, folder, processes))
    rows = []
    for stage in stages:
        left = f"{stage.total - stage.done:,} of {stage.total:,} {stage.unit}" if stage.done < stage.total else ""
        rows.append((stage.stage, stage.state, left, "?" if stage.seconds is None else _duration(stage.seconds)))
    total = _duration(sum(stage.seconds or 0.0 for stage in stages))
    table = Table("nothing was run", ("stage", "state", "to do", "time"), (*rows, ("in all", "", "", total)))
    console.print(to_rich(table, console.width))
    if (promise := recipe.promise) is not None:
        basis = "measured" if promise.measured else "meant, not measured"
        say(
            f"the recipe's promise: {_duration(60 * promise.minutes)} and {promise.memory:g} GB on {promise.hardware} "
            f"({basis}); left to do here: {total}"
        )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _show_seeds(file: Path) -> None:
    """Mean and standard deviation of every figure."""
    from condgen.report import Table, to_rich

    rows = []
    for row in read_json(file)["rows"]:
        sd = f" ± {row['sd']:.2g}" if row["sd"] is not None else ""
        rows.append((row["what"], row["variant"], row["size"], f"{row['value']:.4g}{sd}", row["unit"]))
    console.print(to_rich(Table("over seeds", ("figure", "of", "at", "mean ± sd", "unit"), tuple(rows)), console.width))
    say(f"figures: {file.resolve()}")
