"""`condgen run`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from condgen.cli.dry_run import show_estimate
from condgen.cli.looks import draw_as_it_goes, show_generators
from condgen.cli.progress import console, follow
from condgen.errors import UserError, shown
from condgen.files import read_picture, write_png
from condgen.recipes import Recipe, load_recipe
from condgen.runs import each_row, lock, read_json, run_recipe, run_seeds
from condgen.runs.layout import GRID, MANIFEST, REPORT, SAMPLES_PICTURE, SEEDS, samples_folder
from condgen.runs.sample_folder import picture_path
from condgen.training import Processes

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Overrides", "Size", "draw_grid", "run"]

_SHOWN = 40  # pictures of a class in a grid: of 50,000 nobody would see anything

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as score.training.steps=500. Repeatable."),
]

Size: TypeAlias = Annotated[
    str | None, typer.Option(help="Of a recipe that comes in sizes, such as smoke; an error names them.")
]


def run(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/digits.yaml.")],
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/NAME, or runs/NAME-SIZE.")] = None,
    overrides: Overrides = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Run it for so many seeds, from the recipe's on: mean and sd of figures."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing: say what it takes, and what is there already.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write what --dry-run finds here as well.")] = None,
) -> None:
    """Train, sample, evaluate, diagnose and report, as a recipe says.

    --dry-run tries every stage for a few seconds and tells what is finished, and the time of the rest.
    """
    from condgen.report import build_report  # here and below: plots take a second to import, which most commands spare

    settings = load_recipe(recipe, overrides or (), size)
    folder = out or Path("runs") / settings.name
    if settings.threads is not None and context.obj is None:  # --threads wins
        # Of many processes on a machine, each has its share already.
        torch.set_num_threads(min(settings.threads, torch.get_num_threads()))
    if json is not None and not dry_run:
        raise UserError("--json goes with --dry-run: the run itself writes its figures into its folder")
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
            follow(draw_as_it_goes(work), processes)
        if processes.is_main:
            show_seeds(read_json(folder / SEEDS)["rows"])
            console.print(f"figures: {(folder / SEEDS).resolve()}", markup=False, soft_wrap=True)
        return
    with lock(folder, processes):
        work = run_recipe(settings, folder, processes, command)
        worked = follow(draw_as_it_goes(work), processes)
        if not processes.is_main:
            return
        if worked == 0 and (folder / REPORT).exists():
            console.print(f"nothing left to do: every stage of {folder} is finished", markup=False)
        picture = _draw_samples(folder, settings)
        page = build_report(folder)
    show_tables(folder)
    show_generators(folder)
    if picture is not None:
        console.print(f"\nsamples: {picture.resolve()}", markup=False, soft_wrap=True)
    console.print(f"report: {page.resolve()}", markup=False, soft_wrap=True)


def show_seeds(rows: Sequence[Mapping[str, Any]]) -> None:
    """Mean and standard deviation of every figure, in the terminal."""
    table = Table("figure", "of", "at", "mean ± sd", "unit", box=SIMPLE_HEAD)
    for row in rows:
        sd = f" ± {row['sd']:.2g}" if row["sd"] is not None else ""
        table.add_row(*(shown(row[key]) for key in ("what", "variant", "size")), f"{row['value']:.4g}{sd}", row["unit"])
    console.print(table)


def show_tables(folder: Path) -> None:
    """The figures of a run, in the terminal."""
    from condgen.report import read_run, summary_tables, to_rich

    for table in summary_tables(read_run(folder)):
        console.print(to_rich(table, console.width))


def _draw_samples(folder: Path, recipe: Recipe) -> Path | None:
    """Draws every method's `grid.png`, and all methods side by side in `samples.png`; nothing for points."""
    from condgen.report import sample_grid

    places = {name: samples_folder(folder, name) for name in (recipe.sample.methods if recipe.sample else ())}
    drawn = {name: first for name, place in places.items() if (first := _draw_first(place)) is not None}
    if not drawn:
        return None
    names = _in_order({label: name for first in drawn.values() for label, name in first.names.items()})
    pictures = {name: (first.pictures, first.labels) for name, first in drawn.items()}
    write_png(folder / SAMPLES_PICTURE, sample_grid(pictures, names, columns=6, lines=1))
    return folder / SAMPLES_PICTURE


def draw_grid(folder: Path) -> Path | None:
    """Draws `grid.png`, the first pictures of every class, beside those of a sampling folder; nothing for points."""
    return None if _draw_first(folder) is None else folder / GRID


class _First(NamedTuple):
    """The first samples of every class.

    Attributes:
        pictures: class by class.
        labels: one a picture.
        names: of the classes, by label.
    """

    pictures: list["Image.Image"]
    labels: list[int]
    names: dict[int, str]


def _draw_first(folder: Path) -> _First | None:
    from condgen.report import sample_grid

    first = _first_of(folder)
    if first is not None:
        write_png(folder / GRID, sample_grid({"": (first.pictures, first.labels)}, _in_order(first.names)))
    return first


def _first_of(folder: Path) -> _First | None:
    """Read in one go, since there may be any number of samples; None where they are points, or none."""
    pictures: dict[int, list[Image.Image]] = {}
    names: dict[int, str] = {}
    for row in each_row(folder / MANIFEST):
        if row.get("file") is None:
            return None
        names[row["class"]] = row["name"]
        of_class = pictures.setdefault(row["class"], [])
        if len(of_class) < _SHOWN:
            of_class.append(read_picture(picture_path(folder, row["file"])))
    labels = [label for label, found in pictures.items() for _ in found]
    return _First([picture for found in pictures.values() for picture in found], labels, names) if pictures else None


def _in_order(names: Mapping[int, str]) -> list[str]:
    return [names.get(label, "") for label in range(max(names) + 1)]
