"""What all benches share: the runs they are about, the work that yields what it does next, rows shown and saved."""

import json
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import torch
import typer
from rich.table import Table

from condgen.bench import repeat_recipe
from condgen.cli.progress import console, follow
from condgen.files import write_atomically
from condgen.recipes import Recipe, load_recipe
from condgen.runs import lock, write_json
from condgen.training import Processes

__all__ = ["JsonFile", "Out", "RecipeFile", "Seeds", "command_line", "print_rows", "repeat", "save", "with_status"]

JsonFile: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write the rows here as well.")]
RecipeFile: TypeAlias = Annotated[Path, typer.Argument(help="A YAML file, such as recipes/moons.yaml.")]
Seeds: TypeAlias = Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")]
Out: TypeAlias = Annotated[Path | None, typer.Option(help="Where the runs go; by default runs/bench/NAME.")]


def repeat(
    context: typer.Context,
    path: Path,
    seeds: int,
    out: Path | None,
    overrides: list[str] | None,
    check: Callable[[Recipe], None] = lambda recipe: None,
    size: str | None = None,
) -> tuple[Recipe, Path]:
    """Runs a recipe once a seed, or finds that it has been; returns it and the folder of the runs."""
    recipe = load_recipe(path, overrides or (), size)
    check(recipe)
    if recipe.threads is not None and context.obj is None:
        torch.set_num_threads(recipe.threads)
    folder = out or Path("runs/bench") / recipe.name
    with lock(folder):
        processes = Processes()
        follow(repeat_recipe(recipe, range(seeds), folder, processes, command_line()), processes)
    return recipe, folder


Outcome = TypeVar("Outcome")


def with_status(work: Generator[str, None, Outcome]) -> Outcome:
    """Runs work that says what it does next, and returns what it ends in."""
    with console.status("") as status:
        while True:
            try:
                status.update(next(work))
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome


def command_line() -> str:
    """The command as it was given, for the conditions of figures."""
    return " ".join(["condgen", *sys.argv[1:]])


def print_rows(title: str, summary: dict[str, Any]) -> None:
    """A table of rows, mean ± standard deviation."""
    table = Table("what", "method", "where", "mean ± sd", title=title)
    for row in summary["rows"]:
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
        table.add_row(row["what"], row["variant"], row["size"], f"{row['value']:.4g}{spread}")
    console.print(table)


def save(path: Path | None, summary: dict[str, Any], compact: bool = False) -> None:
    """Writes rows and conditions, where a file is named; where there are many rows, a line each."""
    if path is None:
        return
    if compact:
        lines = ",\n".join(json.dumps(row) for row in summary["rows"])
        write_atomically(
            path, f'{{"what": {json.dumps(summary["what"], indent=1)},\n"rows": [\n{lines}\n]}}\n'.encode()
        )
    else:
        write_json(path, summary)
    console.print(f"rows: {path}", markup=False)
