"""Samples by class, as tables of images or points of the plane, and the training data nearest to them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from condgen.files import as_rgb, blamed_on, read_picture, within
from condgen.report.estimates import format_number, is_real
from condgen.report.figures import Array, Panel, class_style
from condgen.report.images import embedded
from condgen.report.load import FieldRow, NearRow, NeighbourRow, Run
from condgen.report.page import Block, Cell, Figure, Table
from condgen.runs.layout import samples_folder

_CLASSES, _IMAGES, _POINTS = 20, 6, 600  # drawn: classes, images of each, points of a panel
_WIDTH, _BETWEEN, _CELL = 1000, 15, 36  # CSS pixels of the page, between blocks of images, and of a small image
_CAPTION = f"At most {_POINTS} points a panel are drawn, on axes around the middle 98% of all."
_PIXELS = 64  # CSS, of a sample and its neighbours
_NEAREST = (
    "A sample and the training data nearest to it, with distances; in brackets the distance of the nearest one to its "
    "own nearest other. A copy has a distance near zero; held-out real data show how close is normal. Authenticity, "
    "among the metrics, is the share of samples that are not closer than the distance in brackets."
)


def samples_section(run: Run) -> Iterable[Block]:
    """Samples of every class by every method, side by side."""
    return samples_blocks({method: (run, method) for method in run.samples}, "Samples by class and method", run.fields)


def samples_blocks(sources: Mapping[str, tuple[Run, str]], title: str, data: FieldRow | None = None) -> Iterable[Block]:
    """A table of images, or panels of points, with a column or panel for each source: a run and a method."""
    samples = {name: run.samples[method] for name, (run, method) in sources.items()}
    names = {row.label: row.name or str(row.label) for rows in samples.values() for row in rows}
    if any(row.file for rows in samples.values() for row in rows):
        yield _image_table(title, sources, names)
        return
    clouds: dict[str, tuple[Array, Sequence[int]]] = {}
    if data is not None and max(data.labels, default=len(names)) <= max(names, default=-1):
        clouds["data"] = np.array(data.points).reshape(-1, 2), data.labels
    for name, rows in samples.items():
        placed = [(row.x, row.label) for row in rows if row.x is not None and len(row.x) == 2]
        clouds[name] = np.array([x for x, _ in placed]).reshape(-1, 2), [label for _, label in placed]
    if any(len(points) for points, _ in clouds.values()):
        yield points_figure(title, clouds, names)


def _image_table(title: str, sources: Mapping[str, tuple[Run, str]], names: Mapping[int, str]) -> Table:
    """The first classes as rows, with the first images of each source and class in a cell."""
    each = max(2, min(_IMAGES, (_WIDTH // len(sources) - _BETWEEN) // _CELL))
    lines: dict[int, list[Cell]] = {label: [names[label]] for label in sorted(names)[:_CLASSES]}
    seeds = set()
    for source, (run, method) in sources.items():
        folder = samples_folder(run.folder, method)
        for label, cells in lines.items():
            rows = [row for row in run.samples[method] if row.label == label and row.file is not None][:each]
            images = [_open(folder, str(row.file)) for row in rows]
            cells.append(embedded(images, f"Samples of class {names[label]}: {source}") if images else None)
            seeds.add((label, *(row.seed for row in rows)))
    caption = f"The first {each} samples of each class."
    if len(sources) > 1:
        caption += " Images at equal places have the same seed." if len(seeds) == len(lines) else " Seeds differ."
    if len(lines) < len(names):
        caption += f" The first {len(lines)} of {len(names)} classes are shown."
    return Table(title, ("class", *sources), list(lines.values()), caption)


def _open(folder: Path, name: str) -> Image.Image:
    """A picture that a file in a folder names, in RGB; a UserError where it is gone, none, or outside the folder."""
    path = within(folder, name)
    with blamed_on(path, OSError):
        return as_rgb(read_picture(path))


def points_figure(title: str, clouds: Mapping[str, tuple[Array, Sequence[int]]], names: Mapping[int, str]) -> Figure:
    """A panel for each cloud of points (n, 2) with labels, on the same axes."""
    labels = sorted({label for _, labels in clouds.values() for label in labels})
    styles = {label: class_style(label, "none") for label in labels}
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
    """Samples with their nearest training data, those of real data first."""
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
    """A picture above the text, or the text alone where the data are points."""
    return text if row.file is None else embedded([_open(run.folder, row.file)], alt, _PIXELS, labels=(text,))
