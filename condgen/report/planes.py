"""Points of the plane, in a page and in pictures: clouds by class, and the paths that samples took."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from condgen.report.drawing import Plot, class_style, drawing, finish, new_axes, printable
from condgen.report.plots import Field, height_for

__all__ = ["draw_paths", "paths_panel", "points_panel", "round_extent", "scatter", "wide_extent"]


def scatter(axes: Axes, points: Field, labels: Sequence[int], extent: Sequence[float], size: float = 9) -> None:
    """Points (n, 2) with the colour and the marker of their classes, on axes of equal units.

    Args:
        axes: to draw in.
        points: (n, 2).
        labels: one a point.
        extent: left, right, bottom and top of the axes.
        size: of a marker, in square points.
    """
    chosen = np.asarray(labels)
    for index in sorted(set(chosen.tolist())):
        style, inside = class_style(index), points[chosen == index]
        axes.scatter(
            inside[:, 0], inside[:, 1], s=size, color=style.colour, marker=style.marker, alpha=0.7, linewidths=0
        )
    left, right, bottom, top = extent
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")


def points_panel(
    points: Field,
    labels: Sequence[int],
    names: Mapping[int, str] | Sequence[str],
    title: str,
    name: str,
    extent: Sequence[float],
) -> Plot:
    """Points of two dimensions, with a colour and a marker a class.

    Args:
        points: (n, 2).
        labels: one a point.
        names: of the classes, by label.
        title: above the panel.
        name: unique in the page.
        extent: left, right, bottom and top of the axes.
    """
    counts = ", ".join(f"{count} of {printable(names[index])}" for index, count in sorted(Counter(labels).items()))
    with drawing():
        axes = _new_plane(title, extent)
        scatter(axes, points, labels, extent)
        return finish(axes, name, f"Points of {title}: {counts}.")


def paths_panel(
    paths: Sequence[Field], labels: Sequence[int], data: Field, title: str, name: str, extent: Sequence[float], alt: str
) -> Plot:
    """Ways through the plane, a line a sample with a mark at its end, over a ground of data.

    Args:
        paths: (moments, 2) each.
        labels: one a path.
        data: points to show beneath, (n, 2); may be empty.
        title: above the panel.
        name: unique in the page.
        extent: left, right, bottom and top of the axes.
        alt: what the picture shows.
    """
    with drawing():
        axes = _new_plane(title, extent)
        axes.scatter(data[:, 0], data[:, 1], s=2, color="#8a9299", alpha=0.5, linewidths=0, zorder=0)
        draw_paths(axes, paths, labels, extent)
        return finish(axes, name, alt)


def draw_paths(axes: Axes, paths: Sequence[Field], labels: Sequence[int], extent: Sequence[float]) -> None:
    """Paths (moments, 2) in the colours of their classes, with a mark at the end of each."""
    for path, label in zip(paths, labels, strict=True):
        axes.plot(path[:, 0], path[:, 1], color=class_style(label).colour, linewidth=0.8, alpha=0.75)
    scatter(axes, np.array([path[-1] for path in paths]), labels, extent, size=22)


def _new_plane(title: str, extent: Sequence[float]) -> Axes:
    return new_axes(title, width=3.6, height=height_for((extent[3] - extent[2]) / (extent[1] - extent[0])))


def round_extent(arrays: Sequence[Field]) -> tuple[float, ...]:
    """Axes limits that hold all finite points, with a margin: left, right, bottom, top."""
    everything = np.concatenate(arrays)
    everything = everything[np.isfinite(everything).all(axis=1)]
    low, high = everything.min(axis=0), everything.max(axis=0)
    return _limits(low, high, max(0.05 * float((high - low).max()), math.ulp(1.0)))


def wide_extent(arrays: Sequence[Field]) -> tuple[float, ...]:
    """Axes limits around the middle 98% of all points, since a few that run away would leave the rest a dot."""
    low, high = np.quantile(np.concatenate(arrays), (0.01, 0.99), axis=0)
    return _limits(low, high, max(0.12 * float((high - low).max()), 1e-6))


def _limits(low: Field, high: Field, margin: float) -> tuple[float, ...]:
    return tuple(float(v) for v in (low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin))
