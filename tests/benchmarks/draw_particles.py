"""The picture of `condgen bench generators`: where particles on the plane end, beside the data."""

from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from condgen.report.figures import drawing, printable
from condgen.report.samples import scatter, whole_extent

__all__ = ["draw_particles"]


class Drawn(Protocol):
    """What is drawn: as `benchmarks.particles.Plane` has it."""

    @property
    def data(self) -> tuple[Tensor, Tensor]: ...

    @property
    def found(self) -> dict[tuple[str, str], tuple[Tensor, Tensor]]: ...


def draw_particles(plane: Drawn, path: Path) -> None:
    """Draws the data and the particles of every objective, a row a list of noise levels.

    Args:
        plane: data and particles, each (n, 2) with labels (n,).
        path: of the PNG.
    """
    levels = list(dict.fromkeys(name for name, _ in plane.found))
    variants = list(dict.fromkeys(variant for _, variant in plane.found))
    # What runs away would leave the rest a dot: the data set the picture's limits.
    left, right, bottom, top = whole_extent([np.asarray(plane.data[0], dtype=np.float64)])
    wide, high = right - left, top - bottom
    limits = (left - 0.15 * wide, right + 0.15 * wide, bottom - 0.15 * high, top + 0.15 * high)
    with drawing():
        size = (2.9 * (1 + len(variants)), 0.3 + 2.9 * high / wide * len(levels) + 0.35 * len(levels))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(levels), 1 + len(variants), squeeze=False, sharex=True, sharey=True)
        for panels, name in zip(grid, levels, strict=True):
            _scatter(panels[0], plane.data, "data", limits)
            for axes, variant in zip(panels[1:], variants, strict=True):
                _scatter(axes, plane.found[name, variant], f"{variant}; sigma {name}", limits)
        figure.savefig(path, dpi=130)


def _scatter(axes: Axes, points: tuple[Tensor, Tensor], title: str, limits: tuple[float, ...]) -> None:
    x, y = points[0].numpy(), points[1].numpy()
    scatter(axes, x, y.tolist(), limits, size=7)
    beyond = int(((x < limits[::2]) | (x > limits[1::2])).any(1).sum())
    axes.set_title(printable(title + (f"; {beyond} outside" if beyond else "")), fontsize=9)
