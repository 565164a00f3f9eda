"""`condgen bench`: how figures are made."""

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import torch
import typer
from rich.table import Table

from condgen.bench import repeat_recipe, summarise_seeds
from condgen.bench.curves import check_curves, training_curves
from condgen.bench.dlsm import SIZES, bench_dlsm
from condgen.bench.table1 import check_table_one, table_one
from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.errors import UserError
from condgen.recipe import Recipe, load_recipe
from condgen.run import describe_environment, lock, write_json
from condgen.training import Processes

__all__ = ["app"]

JsonFile: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write the rows here as well.")]

app = typer.Typer(no_args_is_help=True, help="Make figures: tables, and tidy JSON rows with --json FILE.")


@app.callback()
def _bench() -> None:
    pass


RecipeFile: TypeAlias = Annotated[Path, typer.Argument(help="A YAML file, such as recipes/moons.yaml.")]
Seeds: TypeAlias = Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")]
Out: TypeAlias = Annotated[Path | None, typer.Option(help="Where the runs go; by default runs/bench/NAME.")]


def _repeat(
    context: typer.Context,
    path: Path,
    seeds: int,
    out: Path | None,
    overrides: list[str] | None,
    check: Callable[[Recipe], None] = lambda recipe: None,
) -> tuple[Recipe, Path]:
    """Runs a recipe once a seed, or finds that it has been; returns it and the folder of the runs."""
    recipe = load_recipe(path, overrides or ())
    check(recipe)
    if recipe.threads is not None and context.obj is None:
        torch.set_num_threads(recipe.threads)
    folder = out or Path("runs/bench") / recipe.name
    with lock(folder):
        follow(repeat_recipe(recipe, range(seeds), folder, Processes(), _command()))
    return recipe, folder


@app.command("recipe")
def recipe_over_seeds(
    context: typer.Context,
    recipe: RecipeFile,
    seeds: Seeds = 5,
    out: Out = None,
    json: JsonFile = None,
    overrides: Overrides = None,
) -> None:
    """Run a recipe once a seed, and print mean ± standard deviation of its score errors and metrics."""
    settings, folder = _repeat(context, recipe, seeds, out, overrides)
    summary = summarise_seeds(settings, range(seeds), folder, _command())
    _print_rows(f"{settings.name}, {seeds} seeds", summary)
    _save(json, summary)


@app.command("table1")
def moons_table(
    context: typer.Context,
    recipe: RecipeFile = Path("recipes/moons.yaml"),
    seeds: Seeds = 5,
    out: Out = None,
    json: JsonFile = None,
    overrides: Overrides = None,
) -> None:
    """Make Table 1 of the DLSM paper (Chao et al. 2022): score errors on the moons, precision and recall of samples."""
    settings, folder = _repeat(context, recipe, seeds, out, overrides, check_table_one)
    summary = _with_status(table_one(settings, range(seeds), folder, _command()))
    _print_rows(f"{settings.name}, {seeds} seeds", summary)
    _save(json, summary)


@app.command("curves")
def curves(
    context: typer.Context,
    recipe: RecipeFile = Path("recipes/balance.yaml"),
    seeds: Seeds = 5,
    out: Out = None,
    json: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curves here, as PNG.")] = None,
    overrides: Overrides = None,
) -> None:
    """Follow classifiers through their training: cross-entropy and D_L at every snapshot, mean and 95% interval."""
    from condgen.report import draw_curves

    settings, folder = _repeat(context, recipe, seeds, out, overrides, check_curves)
    summary = training_curves(settings, range(seeds), folder, _command())
    _print_rows(f"{settings.name}, {seeds} seeds", summary)
    _save(json, summary)
    if picture is not None:
        draw_curves(summary["rows"], picture)
        console.print(f"picture: {picture}", markup=False)


@app.command("dlsm")
def gradients(
    size: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(SIZES)}; repeatable; by default all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each variant is timed once a round; the median counts.")] = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="Compiled variants too: minutes more on a CPU.")] = False,
    json: JsonFile = None,
) -> None:
    """Time every way to the DLSM gradient, in cross-entropy steps, and measure how exact it is.

    Variants take turns in one run, so that ratios hold on a noisy machine. Beside them: the official formulation, and
    what one evaluation of a frozen U-Net prior costs. It takes about two minutes on two CPU cores.
    """
    unknown = [name for name in size or () if name not in SIZES]
    if unknown:
        raise UserError(f"there is no size {unknown[0]!r}: choose among {', '.join(SIZES)}")
    device = Processes().device
    rows: list[dict[str, Any]] = []
    for name in size or SIZES:
        rows += _with_status(bench_dlsm(name, device, rounds, compiled))
    for where in dict.fromkeys(row["size"] for row in rows):
        table = Table("variant", "ms", "in CE steps", "gradient error", title=where)
        here = [row for row in rows if row["size"] == where]
        for variant in dict.fromkeys(row["variant"] for row in here):
            found = {row["what"]: row["value"] for row in here if row["variant"] == variant}
            relative = found.get("relative step", found.get("relative prior evaluation"))
            ms = found.get("step", found.get("prior evaluation"))
            error = found.get("gradient error", found.get("prior error"))
            table.add_row(variant, f"{ms:.4g}", f"{relative:.2f}", "" if error is None else f"{error:.1e}")
        console.print(table)
    _save(json, {"what": {"command": _command(), "rounds": rounds, **describe_environment()}, "rows": rows})


Outcome = TypeVar("Outcome")


def _with_status(work: Generator[str, None, Outcome]) -> Outcome:
    """Runs work that says what it does next, and returns what it ends in."""
    with console.status("") as status:
        while True:
            try:
                status.update(next(work))
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome


def _command() -> str:
    return " ".join(["condgen", *sys.argv[1:]])


def _print_rows(title: str, summary: dict[str, Any]) -> None:
    table = Table("what", "method", "where", "mean ± sd", title=title)
    for row in summary["rows"]:
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
        table.add_row(row["what"], row["variant"], row["size"], f"{row['value']:.4g}{spread}")
    console.print(table)


def _save(path: Path | None, summary: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, summary)
        console.print(f"rows: {path}", markup=False)
