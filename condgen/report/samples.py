"""Samples by class: tables of images, and points of the plane."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from condgen.report.estimates import format_number
from condgen.report.figures import Panel, Style, class_style, printable
from condgen.report.images import embedded
from condgen.report.load import Array, FieldData, Run, open_picture
from condgen.report.page import Block, Cell, Figure, Section, Table
from condgen.report.rows import SampleRow
from condgen.runs.layout import samples_folder

__all__ = [
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

_IMAGES, _CLASSES, _POINTS = 6, 20, 600  # drawn: images of a class, classes, points of a panel
_WIDTH, _BETWEEN, _CELL = 1000, 15, 36  # CSS pixels of the page, between blocks of images, and of a small image


def samples_section(run: Run) -> Section | None:
    """Samples of every class by every method, side by side."""
    sources = {method: (run, method) for method in run.samples}
    blocks = samples_blocks(sources, "Samples by class and method", run.field_data)
    return Section("samples", "Samples", tuple(blocks)) if blocks else None


def samples_blocks(
    sources: Mapping[str, tuple[Run, str]], title: str, data: FieldData | None = None, *, folded: bool = False
) -> list[Block]:
    """A table of images, or panels of points, with a column or panel for each source.

    Args:
        sources: a run and the method of its samples, by what a column is called.
        title: of the block.
        data: points to show first.
        folded: whether a table shows its title alone until it is opened.
    """
    samples = {name: run.samples[method] for name, (run, method) in sources.items()}
    names = {row.label: row.name or str(row.label) for rows in samples.values() for row in rows}
    images = {name: [row for row in rows if row.file is not None] for name, rows in samples.items()}
    if any(images.values()):
        each = max(2, min(_IMAGES, (_WIDTH // len(images) - _BETWEEN) // _CELL))
        labels = sorted(names)[:_CLASSES]

        def pictures(name: str, label: int) -> list[Image.Image]:
            run, method = sources[name]
            files = [row.file for row in images[name] if row.label == label and row.file is not None][:each]
            return [open_picture(samples_folder(run.folder, method), file) for file in files]

        seeds = {
            name: [[r.seed for r in rows if r.label == one][:each] for one in labels] for name, rows in images.items()
        }
        caption = f"The first {each} samples of each class."
        if len(seeds) > 1:
            same = all(own == next(iter(seeds.values())) for own in seeds.values())
            caption += " Images at equal places have the same seed." if same else " Seeds differ between columns."
        return [
            image_table(
                title, list(images), {k: names[k] for k in labels}, pictures, caption, len(names), folded=folded
            )
        ]
    clouds: dict[str, tuple[Array, Sequence[int]]]
    clouds = {name: _cloud(rows) for name, rows in samples.items() if any(row.x for row in rows)}
    if data is not None and max(data.labels, default=len(names)) <= max(names, default=-1):
        clouds = {"data": (data.points, data.labels), **clouds}
    return [points_figure(title, clouds, names)] if clouds else []


def _cloud(rows: Sequence[SampleRow]) -> tuple[Array, list[int]]:
    rows = [row for row in rows if row.x is not None]
    return np.array([row.x for row in rows], dtype=np.float64).reshape(-1, 2), [row.label for row in rows]


def image_table(
    title: str,
    columns: Sequence[str],
    names: Mapping[int, str],
    pictures: Callable[[str, int], Sequence[Image.Image]],
    caption: str,
    classes: int,
    *,
    folded: bool = False,
) -> Table:
    """Classes as rows; a cell holds what `pictures(column, label)` returns.

    Args:
        title: of the table.
        columns: their heads.
        names: of the classes shown, by label.
        pictures: the images of a cell.
        caption: under the table.
        classes: how many there are.
        folded: whether HTML shows the title alone until it is opened.
    """

    def cell(column: str, label: int) -> Cell:
        found = pictures(column, label)
        alt = f"{len(found)} sample{'s' if len(found) > 1 else ''} of class {names[label]}: {column}"
        return embedded(found, alt) if found else None

    rows = tuple((name, *(cell(column, label) for column in columns)) for label, name in names.items())
    if classes > len(names):
        caption += f" The first {len(names)} of {classes} classes are shown."
    return Table(title, ("class", *columns), rows, caption, folded=folded)


# ----------------------------------------------------------------------------------------------------
# Points of the plane


def points_figure(
    title: str,
    clouds: Mapping[str, tuple[Array, Sequence[int]]],
    names: Mapping[int, str],
    caption: str = "",
    extent: Sequence[float] | None = None,
) -> Figure:
    """A panel for each cloud, on the same axes, with means and standard deviations in a table.

    Args:
        title: of the figure.
        clouds: points (n, 2) and their labels, by what a panel is called.
        names: of the classes, by label.
        caption: under the figure.
        extent: of the axes: left, right, bottom, top. By default they hold all points.
    """
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
    counts = ", ".join(f"{count} of {printable(names[label])}" for label, count in sorted(Counter(labels).items()))

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
