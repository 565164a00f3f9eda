"""`condgen bench`: how figures are made."""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from condgen.bench import repeat_recipe, summarise_seeds
from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.recipe import load_recipe
from condgen.run import lock, write_json
from condgen.training import Processes

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make figures: tables, and tidy JSON rows with --json FILE.")


@app.callback()
def _bench() -> None:
    pass


@app.command("recipe")
def recipe_over_seeds(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/moons.yaml.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Where the runs go; by default runs/bench/NAME.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the rows here as well.")] = None,
    overrides: Overrides = None,
) -> None:
    """Run a recipe once a seed, and print mean ± standard deviation of its score errors and metrics."""
    settings = load_recipe(recipe, overrides or ())
    if settings.threads is not None and context.obj is None:
        torch.set_num_threads(settings.threads)
    folder = out or Path("runs/bench") / settings.name
    command = " ".join(["condgen", *sys.argv[1:]])
    with lock(folder):
        follow(repeat_recipe(settings, range(seeds), folder, Processes(), command))
        summary = summarise_seeds(settings, range(seeds), folder, command)
    table = Table("what", "method", "where", "mean ± sd", title=f"{settings.name}, {seeds} seeds")
    for row in summary["rows"]:
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
        table.add_row(row["what"], row["variant"], row["size"], f"{row['value']:.4g}{spread}")
    console.print(table)
    if json is not None:
        write_json(json, summary)
        console.print(f"rows: {json}", markup=False)
