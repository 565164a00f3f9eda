"""Samples by class, as tables of images or points of the plane, and the training data nearest to them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from condgen.report.estimates import format_number
from condgen.report.figures import Array, Panel, Style, class_style
from condgen.report.images import embedded
from condgen.report.load import Run, open_picture
from condgen.report.page import Block, Cell, Figure, Prose, Table, facts_table
from condgen.report.rows import FieldRow, NearRow, NeighbourRow, is_real
from condgen.runs.layout import NEIGHBOURS, samples_folder

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


def samples_blocks(
    sources: Mapping[str, tuple[Run, str]], title: str, data: FieldRow | None = None, *, folded: bool = False
) -> Iterable[Block]:
    """A table of images, or panels of points, with a column or panel for each source: a run and a method."""
    samples = {name: run.samples[method] for name, (run, method) in sources.items()}
    names = {row.label: row.name or str(row.label) for rows in samples.values() for row in rows}
    if any(row.file for rows in samples.values() for row in rows):
        each = max(2, min(_IMAGES, (_WIDTH // len(samples) - _BETWEEN) // _CELL))
        images: dict[str, dict[int, list[Image.Image]]] = {}
        seeds = set()
        for name, rows in samples.items():
            run, method = sources[name]
            by_label = {label: [r for r in rows if r.label == label and r.file][:each] for label in _shown(names)}
            folder = samples_folder(run.folder, method)
            images[name] = {
                label: [open_picture(folder, str(row.file)) for row in own] for label, own in by_label.items()
            }
            seeds.add(tuple(row.seed for own in by_label.values() for row in own))
        caption = f"The first {each} samples of each class."
        if len(samples) > 1:
            caption += " Images at equal places have the same seed." if len(seeds) == 1 else " Seeds differ."
        yield image_table(title, images, names, caption, folded=folded)
        return
    clouds: dict[str, tuple[Array, Sequence[int]]] = {}
    if data is not None and max(data.labels, default=len(names)) <= max(names, default=-1):
        clouds["data"] = np.array(data.points).reshape(-1, 2), data.labels
    for name, rows in samples.items():
        placed = [(row.x, row.label) for row in rows if row.x is not None and len(row.x) == 2]
        clouds[name] = np.array([x for x, _ in placed]).reshape(-1, 2), [label for _, label in placed]
    if any(len(points) for points, _ in clouds.values()):
        yield points_figure(title, clouds, names)


def _shown(names: Mapping[int, str]) -> list[int]:
    return sorted(names)[:_CLASSES]


def image_table(
    title: str,
    images: Mapping[str, Mapping[int, Sequence[Image.Image]]],
    names: Mapping[int, str],
    caption: str,
    *,
    folded: bool = False,
) -> Table:
    """The first classes as rows, with the images of each column and class in a cell."""

    def cell(column: str, label: int) -> Cell:
        found = images[column].get(label, ())
        alt = f"{len(found)} sample{'s' if len(found) > 1 else ''} of class {names[label]}: {column}"
        return embedded(found, alt) if found else None

    shown = _shown(names)
    if len(shown) < len(names):
        caption += f" The first {len(shown)} of {len(names)} classes are shown."
    rows = tuple((names[label], *(cell(column, label) for column in images)) for label in shown)
    return Table(title, ("class", *images), rows, caption, folded=folded)


def points_figure(
    title: str, clouds: Mapping[str, tuple[Array, Sequence[int]]], names: Mapping[int, str], caption: str = _CAPTION
) -> Figure:
    """A panel for each cloud of points (n, 2) with labels, on the same axes."""
    labels = sorted({label for _, labels in clouds.values() for label in labels})
    names = {label: names.get(label, str(label)) for label in labels}
    extent = extent_of([points for points, _ in clouds.values()])
    panels = [_points_panel(name, points, labels, names, extent) for name, (points, labels) in clouds.items()]
    return Figure(title, tuple(panels), caption, class_legend(names))


def class_legend(names: Mapping[int, str]) -> dict[str, Style]:
    """The styles of classes by name."""
    return {
        names[label]: Style(class_style(label).colour, class_style(label).marker, "none") for label in sorted(names)
    }


def _points_panel(
    title: str, points: Array, labels: Sequence[int], names: Mapping[int, str], extent: Sequence[float]
) -> Panel:
    """Points (n, 2) in the colours and markers of their classes."""
    counts = ", ".join(f"{count} of {names[label]}" for label, count in sorted(Counter(labels).items()))

    def draw(axes: Axes) -> None:
        _scatter(axes, points[:_POINTS], labels[:_POINTS], extent)

    return Panel(title, f"Points of {title}: {counts}.", draw, _height(extent))


def _scatter(axes: Axes, points: Array, labels: Sequence[int], extent: Sequence[float], size: float = 9) -> None:
    """Points (n, 2) in the colours and markers of their classes, on axes of equal units."""
    for label in sorted(set(labels)):
        style, inside = class_style(label), points[np.asarray(labels) == label]
        look: Any = {"color": style.colour, "marker": style.marker, "alpha": 0.7, "linewidths": 0}
        axes.scatter(inside[:, 0], inside[:, 1], s=size, **look)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")


def _height(extent: Sequence[float]) -> float:
    shape = (extent[3] - extent[2]) / (extent[1] - extent[0])
    return 0.65 + 3.3 * min(max(shape, 0.3), 1.5)


def extent_of(arrays: Sequence[Array]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of axes around the middle 98% of all points, which a few far ones do not blow up."""
    low, high = np.nanquantile(np.concatenate(arrays), (0.01, 0.99), axis=0)
    margin = max(0.12 * float((high - low).max()), 1e-6)
    return float(low[0]) - margin, float(high[0]) + margin, float(low[1]) - margin, float(high[1]) + margin


# ----------------------------------------------------------------------------------------------------
# Nearest neighbours


def neighbours_section(run: Run) -> Iterable[Block]:
    """Samples with their nearest training data, those of real data first."""
    if not run.neighbours:
        return
    yield Prose(_NEAREST)
    yield from facts_table("Conditions of the distances", run.conditions.get(NEIGHBOURS, {}))
    most = max(len(row.neighbours) for row in run.neighbours)
    cells: list[tuple[Cell, ...]] = []
    for row in sorted(run.neighbours, key=lambda row: not is_real(row.method)):
        head = f"{row.method}: {row.name}" + ("" if row.seed is None else f", seed {row.seed}")
        elsewhere = f"({format_number(row.elsewhere)})"
        sample = _cell(run, row, f"Sample of class {row.name} by {row.method}", elsewhere)
        cells.append((head, sample, *(_near(run, near, row.label) for near in row.neighbours)))
    heads = ("method and class", "sample", *(f"neighbour {place + 1}" for place in range(most)))
    yield Table("Samples closest to training data", heads, tuple(cells))


def _near(run: Run, near: NearRow, label: int) -> Cell:
    text = format_number(near.distance) + ("" if near.label == label else f" ({near.name})")
    return _cell(run, near, f"Training image {near.index} of class {near.name}", text)


def _cell(run: Run, row: NeighbourRow | NearRow, alt: str, text: str) -> Cell:
    """A picture above the text, or the text alone where the data are points."""
    if row.file is not None:
        return embedded([open_picture(run.folder, row.file)], alt, _PIXELS, labels=(text,))
    at = ", ".join(f"{value:.3g}" for value in getattr(row, "x", None) or ())
    return f"{at} {text}".strip()
