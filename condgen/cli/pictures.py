"""Pictures of samples, and of a generator while it trains."""

from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from condgen.cli.terminal import console, say
from condgen.files import read_picture, within, write_png
from condgen.recipes.schema import Recipe
from condgen.runs.folder import each_row
from condgen.runs.layout import GRID, MANIFEST, SAMPLES_PICTURE, samples_folder
from condgen.runs.stage import Work

_SHOWN, _COLUMNS = 40, 6  # pictures of a class in a grid, and in a column of several methods

_Pictures: TypeAlias = tuple[list[Image.Image], list[int]]  # and their labels


def draw_grid(folder: Path) -> Path | None:
    """Draws the first pictures of every class in a folder of samples; nothing for points."""
    from condgen.report.samples import sample_grid

    pictures, names = _first(folder, _SHOWN)
    if not names:
        return None
    write_png(folder / GRID, sample_grid({"": pictures}, names))
    return folder / GRID


def draw_samples(run: Path, recipe: Recipe) -> Path | None:
    from condgen.report.samples import sample_grid

    blocks: dict[str, _Pictures] = {}
    names: dict[int, str] = {}
    for method in recipe.sample.methods if recipe.sample else ():
        folder = samples_folder(run, method)
        if draw_grid(folder) is not None:
            blocks[method], of_method = _first(folder, _COLUMNS)
            names |= of_method
    if not blocks:
        return None
    write_png(run / SAMPLES_PICTURE, sample_grid(blocks, names, columns=_COLUMNS, lines=1))
    return run / SAMPLES_PICTURE


def _first(folder: Path, most: int) -> tuple[_Pictures, dict[int, str]]:
    """The first pictures of every class, and the names of these by label."""
    images: dict[int, list[Image.Image]] = {}
    names: dict[int, str] = {}
    for row in each_row(folder / MANIFEST):
        of_class = images.setdefault(row["class"], [])
        if row.get("file") is not None and len(of_class) < most:
            of_class.append(read_picture(within(folder, row["file"])))
            names[row["class"]] = row["name"]
    labels = [label for label, of_class in images.items() for _ in of_class]
    return ([image for of_class in images.values() for image in of_class], labels), names


def follow_previews(work: Work) -> Work:
    """The work itself; a generator's previews, and the samples of a method, are drawn as soon as they are there."""
    with closing(work):
        for event in work:
            news = ""
            if (folder := event.preview) is not None:
                from condgen.report.models import draw_previews

                try:
                    if not (folder / MANIFEST).exists():
                        draw_previews(folder, until=event.done)
                    elif (picture := draw_grid(folder)) is not None:
                        news = f"\n{event.stage}: {picture.resolve()}"
                except Exception as error:
                    news = f"\n{folder}: pictures cannot be drawn ({type(error).__name__}: {error})"
            yield event._replace(message=(event.message + news).strip())


def show_generators(folder: Path) -> None:
    """Prints the last preview of every generator: figures, warnings, where the pictures are."""
    from condgen.report.load import read_run
    from condgen.report.models import draw_previews
    from condgen.report.page import to_rich
    from condgen.report.tables import generator_table

    if not (found := read_run(folder).generators):
        return
    console.print(to_rich(generator_table(found), console.width))
    for name, log in found.items():
        last = log.previews[-1]
        if last.collapsed:
            say(f"warning: {name}: {last.warning()}")
        for picture in draw_previews(log.folder, last.step):
            say(f"{name}: {picture.resolve()}")
