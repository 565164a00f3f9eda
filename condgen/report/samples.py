"""Samples by class, as tables or PNGs of images or as points of the plane, and the training data nearest to them."""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from condgen.files import as_rgb, blamed_on, read_picture, to_png, within
from condgen.report.estimates import format_number, is_real
from condgen.report.figures import Array, Panel, cut, style_of
from condgen.report.load import FieldRow, NearRow, NeighbourRow, Run
from condgen.report.page import Block, Cell, Figure, Picture, Table
from condgen.runs.sample_folder import Sampled

_Sources: TypeAlias = Mapping[str, tuple[Path, Sequence[Sampled]]]  # a folder and its rows, by method or run
_CLASSES, _IMAGES, _POINTS = 20, 6, 600  # drawn: classes, images of each, points of a panel
_ACROSS = 27  # small images across the page
_CAPTION = f"At most {_POINTS} points a panel are drawn, on axes around the middle 98% of all."
_PIXELS = 64  # CSS, of a sample and its neighbours
_GAP, _MARGIN, _FONT_SIZE = 4, 14, 15  # pixels
_LONGEST = 24  # characters of a name
_SIDE = 48  # pixels of an enlarged image, about
_INK = (34, 34, 34)
_NEAREST = (
    "A sample and the training data nearest to it, with distances; in brackets that of the nearest one to its own "
    "nearest other. Copies have a distance near zero; held-out real data show what is normal. Authenticity is the "
    "share of samples that are not closer than the distance in brackets."
)


def samples_blocks(sources: _Sources, title: str, data: FieldRow | None = None) -> Iterable[Block]:
    names = {row.label: row.name or str(row.label) for _, rows in sources.values() for row in rows}
    if any(row.file for _, rows in sources.values() for row in rows):
        yield _image_table(title, sources, names)
        return
    clouds: dict[str, tuple[Array, Sequence[int]]] = {}
    if data is not None and max(data.labels, default=len(names)) <= max(names, default=-1):
        clouds["data"] = np.array(data.points).reshape(-1, 2), data.labels
    for name, (_, rows) in sources.items():
        placed = [(row.x, row.label) for row in rows if row.x is not None and len(row.x) == 2]
        clouds[name] = np.array([x for x, _ in placed]).reshape(-1, 2), [label for _, label in placed]
    if any(len(points) for points, _ in clouds.values()):
        yield points_figure(title, clouds, names)


def _image_table(title: str, sources: _Sources, names: Mapping[int, str]) -> Table:
    each = max(2, min(_IMAGES, _ACROSS // len(sources)))
    lines: dict[int, list[Cell]] = {label: [names[label]] for label in sorted(names)[:_CLASSES]}
    seeds = set()
    for source, (folder, rows) in sources.items():
        for label, cells in lines.items():
            shown = [row for row in rows if row.label == label and row.file is not None][:each]
            images = [_open(folder, str(row.file)) for row in shown]
            cells.append(embedded(images, f"Samples of class {names[label]}: {source}") if images else None)
            seeds.add((label, *(row.seed for row in shown)))
    caption = f"The first {each} samples of each class."
    if len(sources) > 1:
        caption += " Images at equal places have the same seed." if len(seeds) == len(lines) else " Seeds differ."
    if len(lines) < len(names):
        caption += f" The first {len(lines)} of {len(names)} classes are shown."
    return Table(title, ("class", *sources), list(lines.values()), caption)


def _open(folder: Path, name: str) -> Image.Image:
    """In RGB; a UserError where it is gone, no picture, or outside the folder."""
    path = within(folder, name)
    with blamed_on(path, OSError):
        return as_rgb(read_picture(path))


def points_figure(title: str, clouds: Mapping[str, tuple[Array, Sequence[int]]], names: Mapping[int, str]) -> Figure:
    labels = sorted({label for _, labels in clouds.values() for label in labels})
    styles = {label: style_of(label, "none") for label in labels}
    left, right, bottom, top = extent_of([points for points, _ in clouds.values()])
    height = 0.65 + 3.3 * min(max((top - bottom) / (right - left), 0.3), 1.5)

    def panel(cloud: str) -> Panel:
        points, own = clouds[cloud]
        counts = ", ".join(f"{count} of {names[label]}" for label, count in sorted(Counter(own).items()))

        def draw(axes: Axes) -> None:
            for label in sorted(set(own)):
                x, y = points[:_POINTS][np.asarray(own[:_POINTS]) == label].T
                axes.plot(x, y, **styles[label].in_plot, markersize=3, alpha=0.7, markeredgewidth=0)
            axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")

        legend = {names[label]: style for label, style in styles.items()}
        return Panel(cloud, f"Points of {cloud}: {counts}.", draw, legend, height)

    return Figure(title, list(map(panel, clouds)), _CAPTION)


def extent_of(arrays: Sequence[Array]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of axes around the middle 98% of all points, which a few far ones do not blow up."""
    low, high = np.nanquantile(np.concatenate(arrays), (0.01, 0.99), axis=0)
    margin = max(0.12 * float((high - low).max()), 1e-6)
    return float(low[0]) - margin, float(high[0]) + margin, float(low[1]) - margin, float(high[1]) + margin


def neighbours_section(run: Run) -> Iterable[Block]:
    if not run.neighbours:
        return
    yield _NEAREST
    rows: list[list[Cell]] = []
    for row in sorted(run.neighbours, key=lambda row: not is_real(row.method)):
        head = f"{row.method}: {row.name}" + ("" if row.seed is None else f", seed {row.seed}")
        at = ", ".join(f"{value:.3g}" for value in row.x or ())
        text = f"{at} ({format_number(row.elsewhere)})".strip()
        cells = [head, _cell(run, row, f"Sample of class {row.name} by {row.method}", text)]
        for near in row.neighbours:
            text = format_number(near.distance) + ("" if near.label == row.label else f" ({near.name})")
            cells.append(_cell(run, near, f"Training image {near.index} of class {near.name}", text))
        rows.append(cells)
    heads = ("method and class", "sample", *(f"neighbour {place}" for place in range(1, max(map(len, rows)) - 1)))
    yield Table("Samples closest to training data", heads, rows)


def _cell(run: Run, row: NeighbourRow | NearRow, alt: str, text: str) -> Cell:
    return text if row.file is None else embedded([_open(run.folder, row.file)], alt, _PIXELS, labels=(text,))


def embedded(pictures: Sequence[Image.Image], alt: str, about: int = 32, labels: Sequence[str] = ()) -> Picture:
    """Images of one size in a line, one pixel apart, each enlarged on the page to about so many pixels."""
    width, height = pictures[0].size
    line = Image.new("RGBA", (len(pictures) * (width + 1) - 1, height), (0, 0, 0, 0))
    for place, picture in enumerate(pictures):
        line.paste(picture.convert("RGBA"), (place * (width + 1), 0))
    factor = max(1, round(about / max(width, height)))
    address = f"data:image/png;base64,{base64.b64encode(to_png(line, optimize=True)).decode()}"
    return Picture(address, alt, line.width * factor, line.height * factor, tuple(labels))


def sample_grid(
    blocks: Mapping[str, tuple[Tensor | Sequence[Image.Image], Sequence[int]]],
    names: Mapping[int, str] | Sequence[str],
    columns: int = 8,
    lines: int | None = None,
) -> Image.Image:
    """Classes as rows, at most so many `lines` of each, and methods as blocks of so many columns.

    Blocks are images, pictures or uint8 (C, H, W), with their labels, by method. ValueError: none, or sizes differ.
    """
    of_class: dict[int, dict[str, list[Image.Image]]] = {}
    for method, (images, labels) in blocks.items():
        for image, label in zip(images, labels, strict=True):
            if isinstance(image, Tensor):
                image = Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())
            of_class.setdefault(int(label), {}).setdefault(method, []).append(as_rgb(image))
    found = [pictures for by_method in of_class.values() for pictures in by_method.values()]
    sizes = {picture.size for pictures in found for picture in pictures}
    if len(sizes) != 1:
        raise ValueError("a grid takes one image or more, of one size")
    columns = min(columns, max(map(len, found)))
    (size,) = sizes
    width, height = (side * max(1, round(_SIDE / max(size))) for side in size)
    rows: list[tuple[str, dict[str, list[Image.Image]]]] = []  # of each its title, and the pictures of each block
    for label, by_method in sorted(of_class.items()):
        for first in range(0, max(map(len, by_method.values())), columns)[:lines]:
            parts = {method: pictures[first : first + columns] for method, pictures in by_method.items()}
            rows.append(("" if first else cut(names[label], _LONGEST), parts))
    font = ImageFont.load_default(_FONT_SIZE)
    left = 2 * _MARGIN + max(round(font.getlength(title)) for title, _ in rows)
    top = _MARGIN + (_FONT_SIZE + _MARGIN if any(blocks) else 0)
    block = columns * (width + _GAP) + 2 * _MARGIN
    canvas = Image.new("RGB", (left + len(blocks) * block, top + len(rows) * (height + _GAP) + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for x, method in zip(range(left, canvas.width, block), blocks, strict=True):
        draw.text((x, _MARGIN), cut(method, _LONGEST), fill=_INK, font=font)
        for place, (_, parts) in enumerate(rows):
            for column, picture in enumerate(parts.get(method, ())):
                at = (x + column * (width + _GAP), top + place * (height + _GAP))
                canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), at)
    for place, (title, _) in enumerate(rows):
        y = top + place * (height + _GAP) + height / 2
        draw.text((_MARGIN, y), title, fill=_INK, font=font, anchor="lm")
    return canvas
