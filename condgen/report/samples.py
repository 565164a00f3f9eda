"""Samples by class: tables of images, and points of the plane."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from condgen.report.estimates import format_number
from condgen.report.figures import Array, Panel, Style, class_style
from condgen.report.images import embedded
from condgen.report.load import Run, open_picture
from condgen.report.page import Block, Cell, Figure, Section, Table
from condgen.report.rows import FieldRow
from condgen.runs.layout import samples_folder

__all__ = [
    "CLASSES",
    "class_legend",
    "image_table",
    "path_panel",
    "points_figure",
    "samples_blocks",
    "samples_section",
    "scatter",
    "whole_extent",
    "wide_extent",
]

CLASSES, _IMAGES, _POINTS = 20, 6, 600  # drawn: classes, images of each, points of a panel
_WIDTH, _BETWEEN, _CELL = 1000, 15, 36  # CSS pixels of the page, between blocks of images, and of a small image


def samples_section(run: Run) -> Section | None:
    """Samples of every class by every method, side by side."""
    sources = {method: (run, method) for method in run.samples}
    blocks = samples_blocks(sources, "Samples by class and method", run.fields)
    return Section("samples", "Samples", tuple(blocks)) if blocks else None


def samples_blocks(
    sources: Mapping[str, tuple[Run, str]], title: str, data: FieldRow | None = None, *, folded: bool = False
) -> list[Block]:
    """A table of images, or panels of points, with a column or panel for each source: a run and a method."""
    samples = {name: run.samples[method] for name, (run, method) in sources.items()}
    names = {row.label: row.name or str(row.label) for rows in samples.values() for row in rows}
    if any(row.file for rows in samples.values() for row in rows):
        each = max(2, min(_IMAGES, (_WIDTH // len(samples) - _BETWEEN) // _CELL))
        first = {
            name: {label: [r for r in rows if r.label == label and r.file][:each] for label in sorted(names)[:CLASSES]}
            for name, rows in samples.items()
        }
        seeds = {str([[row.seed for row in rows] for rows in by_label.values()]) for by_label in first.values()}
        caption = f"The first {each} samples of each class."
        if len(samples) > 1:
            caption += " Images at equal places have the same seed." if len(seeds) == 1 else " Seeds differ."
        images = {
            name: {
                label: [
                    open_picture(samples_folder(sources[name][0].folder, sources[name][1]), str(r.file)) for r in rows
                ]
                for label, rows in by_label.items()
            }
            for name, by_label in first.items()
        }
        return [image_table(title, images, names, caption, folded=folded)]
    clouds: dict[str, tuple[Array, Sequence[int]]] = {}
    if data is not None and max(data.labels, default=len(names)) <= max(names, default=-1):
        clouds["data"] = np.array(data.points).reshape(-1, 2), data.labels
    for name, rows in samples.items():
        placed = [(row.x, row.label) for row in rows if row.x is not None]
        clouds[name] = np.array([x for x, _ in placed]).reshape(-1, 2), [label for _, label in placed]
    return [points_figure(title, clouds, names)] if any(len(points) for points, _ in clouds.values()) else []


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

    shown = sorted(names)[:CLASSES]
    if len(shown) < len(names):
        caption += f" The first {len(shown)} of {len(names)} classes are shown."
    rows = tuple((names[label], *(cell(column, label) for column in images)) for label in shown)
    return Table(title, ("class", *images), rows, caption, folded=folded)


def points_figure(
    title: str,
    clouds: Mapping[str, tuple[Array, Sequence[int]]],
    names: Mapping[int, str],
    caption: str = "",
    extent: Sequence[float] | None = None,
) -> Figure:
    """A panel for each cloud of points (n, 2) with labels, on axes that hold all of them or have the given extent."""
    names = {label: str(label) for _, labels in clouds.values() for label in labels} | dict(names)
    extent = extent or whole_extent([points for points, _ in clouds.values()])
    panels = [points_panel(name, points, labels, names, extent) for name, (points, labels) in clouds.items()]
    rows = [
        (name, names[label], str(len(inside)), *map(format_number, (*inside.mean(axis=0), *inside.std(axis=0))))
        for name, (points, labels) in clouds.items()
        for label in sorted(set(labels))
        for inside in [points[np.asarray(labels) == label]]
    ]
    head = ("points", "class", "number", "mean x", "mean y", "sd x", "sd y")
    table = Table("Means and standard deviations", head, tuple(rows), words=frozenset({1}))
    caption = caption or f"At most {_POINTS} points a panel are drawn; the table counts all."
    return Figure(title, tuple(panels), caption, class_legend(names), (table,))


def class_legend(names: Mapping[int, str]) -> dict[str, Style]:
    """The styles of classes by name."""
    return {
        names[label]: Style(class_style(label).colour, class_style(label).marker, "none") for label in sorted(names)
    }


def points_panel(
    title: str, points: Array, labels: Sequence[int], names: Mapping[int, str], extent: Sequence[float]
) -> Panel:
    """Points (n, 2) in the colours and markers of their classes."""
    counts = ", ".join(f"{count} of {names[label]}" for label, count in sorted(Counter(labels).items()))

    def draw(axes: Axes) -> None:
        scatter(axes, points[:_POINTS], labels[:_POINTS], extent)

    return Panel(title, f"Points of {title}: {counts}.", draw, _height(extent))


def path_panel(
    title: str, paths: Sequence[Array], labels: Sequence[int], data: Array, extent: Sequence[float], alt: str
) -> Panel:
    """Paths (moments, 2) in the colours of their classes, with a marker at the end of each, over a ground of data."""

    def draw(axes: Axes) -> None:
        axes.scatter(data[:, 0], data[:, 1], s=2, color="#8a9299", alpha=0.5, linewidths=0, zorder=0)
        for path, label in zip(paths, labels, strict=True):
            axes.plot(path[:, 0], path[:, 1], color=class_style(label).colour, linewidth=0.8, alpha=0.75)
        scatter(axes, np.array([path[-1] for path in paths]), labels, extent, size=22)

    return Panel(title, alt, draw, _height(extent))


def scatter(axes: Axes, points: Array, labels: Sequence[int], extent: Sequence[float], size: float = 9) -> None:
    """Draws points (n, 2) in the colours and markers of their classes, on axes of equal units."""
    for label in sorted(set(labels)):
        style, inside = class_style(label), points[np.asarray(labels) == label]
        look: Any = {"color": style.colour, "marker": style.marker, "alpha": 0.7, "linewidths": 0}
        axes.scatter(inside[:, 0], inside[:, 1], s=size, **look)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")


def _height(extent: Sequence[float]) -> float:
    """Of a panel, in inches, for axes of equal units."""
    shape = (extent[3] - extent[2]) / (extent[1] - extent[0])
    return 0.65 + 3.3 * min(max(shape, 0.3), 1.5)


def whole_extent(arrays: Sequence[Array]) -> tuple[float, float, float, float]:
    """Limits that hold all finite points: left, right, bottom, top."""
    points = np.concatenate(arrays)
    points = points[np.isfinite(points).all(axis=1)]
    return _limits(points.min(axis=0), points.max(axis=0), 0.05)


def wide_extent(arrays: Sequence[Array]) -> tuple[float, float, float, float]:
    """Limits around the middle 98% of all points, since a few that run away would leave the rest a dot."""
    low, high = np.nanquantile(np.concatenate(arrays), (0.01, 0.99), axis=0)
    return _limits(low, high, 0.12)


def _limits(low: Array, high: Array, margin: float) -> tuple[float, float, float, float]:
    margin = max(margin * float((high - low).max()), 1e-6)
    return float(low[0]) - margin, float(high[0]) + margin, float(low[1]) - margin, float(high[1]) + margin
