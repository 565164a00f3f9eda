"""Pictures of samples: a grid of each folder, and the methods of a run side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from condgen.files import read_picture, write_png
from condgen.recipes import Recipe
from condgen.runs import each_row
from condgen.runs.layout import GRID, MANIFEST, SAMPLES_PICTURE, samples_folder
from condgen.runs.sample_folder import picture_path

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw_grid", "draw_samples"]

_SHOWN = 40  # pictures of a class in a grid

_ByClass: TypeAlias = "dict[int, list[Image.Image]]"


def draw_grid(folder: Path) -> Path | None:
    """Draws `grid.png`, the first pictures of every class, in a folder of samples; nothing for points."""
    return folder / GRID if _draw(folder) is not None else None


def draw_samples(run: Path, recipe: Recipe) -> Path | None:
    """Draws the grid of every method of a run, and all of them side by side; nothing for points."""
    from condgen.report import sample_grid

    drawn = {name: _draw(samples_folder(run, name)) for name in (recipe.sample.methods if recipe.sample else ())}
    found = {name: first for name, first in drawn.items() if first is not None}
    if not found:
        return None
    names = {label: name for _, of_method in found.values() for label, name in of_method.items()}
    blocks = {name: _flat(images) for name, (images, _) in found.items()}
    write_png(run / SAMPLES_PICTURE, sample_grid(blocks, names, columns=6, lines=1))
    return run / SAMPLES_PICTURE


def _draw(folder: Path) -> tuple[_ByClass, dict[int, str]] | None:
    """Draws the grid; returns its pictures and the names of their classes, both by label."""
    from condgen.report import sample_grid

    images: _ByClass = {}
    names: dict[int, str] = {}
    for row in each_row(folder / MANIFEST):
        if row.get("file") is None:
            return None
        names[row["class"]] = row["name"]
        of_class = images.setdefault(row["class"], [])
        if len(of_class) < _SHOWN:
            of_class.append(read_picture(picture_path(folder, row["file"])))
    if not images:
        return None
    write_png(folder / GRID, sample_grid({"": _flat(images)}, names))
    return images, names


def _flat(images: _ByClass) -> "tuple[list[Image.Image], list[int]]":
    pairs = [(image, label) for label, of_class in images.items() for image in of_class]
    return [image for image, _ in pairs], [label for _, label in pairs]
