"""`condgen bench`: how figures are made."""

import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer
from rich.table import Table

from condgen.bench import repeat_recipe, summarise_seeds
from condgen.bench.dlsm import SIZES, bench_dlsm
from condgen.cli.progress import console, follow
from condgen.cli.run import Overrides
from condgen.errors import UserError
from condgen.recipe import load_recipe
from condgen.run import describe_environment, lock, write_json
from condgen.training import Processes

__all__ = ["app"]

JsonFile: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write the rows here as well.")]

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
    json: JsonFile = None,
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
    _save(json, summary)


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
        with console.status(name) as status:
            work = bench_dlsm(name, device, rounds, compiled)
            while True:
                try:
                    status.update(f"{name}: {next(work)}")
                except StopIteration as stop:
                    rows += stop.value
                    break
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
    command = " ".join(["condgen", *sys.argv[1:]])
    _save(json, {"what": {"command": command, "rounds": rounds, **describe_environment()}, "rows": rows})


def _save(path: Path | None, summary: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, summary)
        console.print(f"rows: {path}", markup=False)
