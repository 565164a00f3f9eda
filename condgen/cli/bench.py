"""`condgen bench`: how figures are made."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from condgen.bench import summarise_seeds
from condgen.bench.curves import check_curves, training_curves
from condgen.bench.dlsm import SIZES, bench_dlsm
from condgen.bench.one_step import ONE_STEP_SIZES, one_step_rows
from condgen.bench.oracle import oracle_rows
from condgen.bench.table1 import check_table_one, table_one
from condgen.cli.bench_generators import generators
from condgen.cli.bench_metrics import metrics
from condgen.cli.bench_reliability import reliability
from condgen.cli.bench_samplers import samplers
from condgen.cli.bench_scaling import scaling
from condgen.cli.bench_train import training
from condgen.cli.progress import console
from condgen.cli.rows import JsonFile, Out, RecipeFile, Seeds, command_line, print_rows, repeat, save, with_status
from condgen.cli.run import Overrides, Size
from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.runs import describe_environment
from condgen.training import Processes

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make figures: tables, and tidy JSON rows with --json FILE.")


@app.callback()
def _bench() -> None:
    pass


@app.command("recipe")
def recipe_over_seeds(
    context: typer.Context,
    recipe: RecipeFile,
    size: Size = None,
    seeds: Seeds = 5,
    out: Out = None,
    json: JsonFile = None,
    overrides: Overrides = None,
) -> None:
    """Run a recipe once a seed, and print mean ± standard deviation of its score errors and metrics."""
    settings, folder = repeat(context, recipe, seeds, out, overrides, size=size)
    summary = summarise_seeds(settings, range(seeds), folder, command_line())
    print_rows(f"{settings.name}, {seeds} seeds", summary)
    save(json, summary)


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
    settings, folder = repeat(context, recipe, seeds, out, overrides, check_table_one)
    summary = with_status(table_one(settings, range(seeds), folder, command_line()))
    print_rows(f"{settings.name}, {seeds} seeds", summary)
    save(json, summary)


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

    settings, folder = repeat(context, recipe, seeds, out, overrides, check_curves)
    summary = training_curves(settings, range(seeds), folder, command_line())
    print_rows(f"{settings.name}, {seeds} seeds", summary)
    save(json, summary)
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
        rows += with_status(bench_dlsm(name, device, rounds, compiled))
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
    save(json, {"what": {"command": command_line(), "rounds": rounds, **describe_environment()}, "rows": rows})


@app.command("one-step")
def one_step(
    size: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(ONE_STEP_SIZES)}; repeatable; by default the first two. cifar is for a GPU."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each variant is timed once a round; the median counts.")] = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="Compiled variants too: minutes more on a CPU.")] = False,
    json: JsonFile = None,
) -> None:
    """Time a sample in one step of a generator, beside 1,000 of Euler-Maruyama and 20 of UniPC with the same network.

    By batch and precision. All take turns in one run, so that ratios hold on a noisy machine; three minutes on a CPU.
    """
    sizes = size or list(ONE_STEP_SIZES)[:2]
    unknown = [name for name in sizes if name not in ONE_STEP_SIZES]
    if unknown:
        raise UserError(f"there is no size {unknown[0]!r}: choose among {', '.join(ONE_STEP_SIZES)}")
    device, rows = Processes().device, list[dict[str, Any]]()
    for name in sizes:
        rows += with_status(one_step_rows(name, device, rounds, compiled))
    for where in dict.fromkeys(row["size"] for row in rows):
        table = Table("variant", "us an image", "images/s", "in one steps", title=where)
        here = [row for row in rows if row["size"] == where]
        for variant in dict.fromkeys(row["variant"] for row in here):
            found = {row["what"]: row["value"] for row in here if row["variant"] == variant}
            shown = [found["time"], found["speed"], *([found["relative cost"]] if "relative cost" in found else [])]
            table.add_row(variant, *(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in shown))
        console.print(table)
    save(json, {"what": {"command": command_line(), "rounds": rounds, **describe_environment()}, "rows": rows})


@app.command("oracle")
def exact_scores(
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="digits, cifar10 and others, whose files $CONDGEN_DATA holds; repeatable; by default digits."
        ),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Noised images; no more than fit in memory at once.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Each way is timed once a round; the median counts.")] = 3,
    json: JsonFile = None,
) -> None:
    """Time the exact scores of a training set at twelve noise levels, and compare them with plain float64.

    Memory is what a way needs beyond the data. On digits it takes seconds, on CIFAR-10 and two cores some minutes.
    """
    device, rows = Processes().device, list[dict[str, Any]]()
    for name in data or ["digits"]:
        rows += with_status(oracle_rows(load(parse_data(name), "train"), device, queries, rounds))
    for where in dict.fromkeys(row["size"] for row in rows if "; at " not in row["size"]):
        table = Table(
            "way", "ms a query, level", "1,000 queries, s", "TFLOP/s", "of ceiling", "MB", "error", title=where
        )
        here = [row for row in rows if row["size"].startswith(where)]
        for variant in dict.fromkeys(row["variant"] for row in here if row["what"] == "time"):
            mine = [row for row in here if row["variant"] == variant]
            found = {row["what"]: row["value"] for row in mine}
            errors = [row["value"] for row in mine if row["what"].startswith("error")]
            shown = ("time", "time of 1,000 queries", "speed", "share of the ceiling", "memory")
            table.add_row(variant, *(f"{found[name]:.3g}" for name in shown), f"{max(errors):.1e}" if errors else "")
        console.print(table)
    save(json, {"what": {"command": command_line(), "rounds": rounds, **describe_environment()}, "rows": rows})


app.command("metrics")(metrics)
app.command("samplers")(samplers)
app.command("generators")(generators)
app.command("scaling")(scaling)
app.command("reliability")(reliability)
app.command("train")(training)
