"""Samples on their way from noise, every method on the same seeds."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from condgen.errors import UserError
from condgen.files import write_png
from condgen.report.estimates import SIGMA
from condgen.report.figures import Array, Panel, save_panels
from condgen.report.images import cut, embedded, sample_grid
from condgen.report.load import Run, open_picture, read_trajectories
from condgen.report.page import Block, Cell, Figure, Prose, Table
from condgen.report.rows import TrajectoryRow
from condgen.report.samples import class_legend, extent_of, path_panel
from condgen.runs.layout import TRAJECTORIES_FOLDER

_OPEN = 2  # classes that are not folded
_KINDS = {"x_t": "Noised states", "denoised": "Denoised estimates"}
_MEANING = (
    f"The noised state x_t is the sample at a noise level {SIGMA} on its way from noise; the denoised estimate is the "
    "mean of the data given x_t, as the model and its guidance estimate it."
)


def trajectories_section(run: Run) -> Iterable[Block]:
    """What a few samples of each method passed through."""
    images = [row for row in run.trajectories if isinstance(row.x_t, str)]
    points = [row for row in run.trajectories if not isinstance(row.x_t, str) and len(row.x_t[0]) == 2]
    if images or points:
        yield Prose(_MEANING)
    for place, label in enumerate(dict.fromkeys(row.label for row in images)):
        of_class = [row for row in images if row.label == label]
        yield _table(of_class, run.folder / TRAJECTORIES_FOLDER, folded=place >= _OPEN)
    if points:
        data = np.array(() if run.fields is None else run.fields.points).reshape(-1, 2)
        caption = "A marker is a sample; methods share their seeds." + (" Grey dots are data." if len(data) else "")
        legend = class_legend({row.label: row.name for row in points})
        for kind, title in _KINDS.items():
            yield Figure(title, tuple(_path_panels(points, kind, data)), caption, legend)


def _strip(row: TrajectoryRow, kind: str, folder: Path) -> list[Image.Image]:
    file = str(getattr(row, kind))
    try:
        return cut(open_picture(folder, file), len(row.noise))
    except ValueError as error:
        raise UserError(f"{folder / file} does not hold the pictures of its row: run the recipe again") from error


def _table(rows: Sequence[TrajectoryRow], folder: Path, *, folded: bool) -> Table:
    """Methods as rows, with a strip of states and one of estimates above their noise levels."""
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        span = f"class {row.name} by {row.method}, from {SIGMA} = {row.noise[0]:.3g} to {row.noise[-1]:.3g}"
        levels = [f"{noise:.2g}" for noise in row.noise]
        strips = [
            embedded(_strip(row, kind, folder), f"{title} of {span}", labels=levels) for kind, title in _KINDS.items()
        ]
        cells.append((row.method if row.seed is None else f"{row.method}, seed {row.seed}", *strips))
    caption = f"Numbers are noise levels {SIGMA} in units of the data. Noised states are shown at unit scale."
    return Table(f"Class {rows[0].name}", ("method", *_KINDS.values()), tuple(cells), caption, folded=folded)


def _path_panels(rows: Sequence[TrajectoryRow], kind: str, data: Array) -> Iterable[Panel]:
    """A panel for each method, on axes that show where the samples end."""
    extent = extent_of([np.array([row.denoised[-1] for row in rows], dtype=np.float64), data])
    for method, group in groupby(rows, key=lambda row: row.method):
        own = list(group)
        first, last = own[0].noise[0], own[0].noise[-1]
        alt = f"{_KINDS[kind]} of {len(own)} samples by {method}, {SIGMA} from {first:.3g} to {last:.3g}."
        paths = [np.array(getattr(row, kind), dtype=np.float64) for row in own]
        yield path_panel(method, paths, [row.label for row in own], data, extent, alt)


def draw_trajectories(folder: Path) -> Path:
    """Draws `trajectories.png` in the folder of a stage that has kept some of one method; returns its path.

    Raises:
        UserError: they are damaged, or there are none.
    """
    rows = read_trajectories(folder)
    if not rows:
        raise UserError(f"{folder} holds no trajectories: set sample.trajectories in its recipe")
    path = folder / "trajectories.png"
    if not isinstance(rows[0].x_t, str):
        panels = [panel for kind in _KINDS for panel in _path_panels(rows, kind, np.zeros((0, 2)))]
        save_panels(panels, path, columns=2)
        return path
    strips = {head: [_strip(row, kind, folder) for row in rows] for kind, head in _KINDS.items()}
    labels = [row.label for row in rows for _ in row.noise]
    blocks = {head: ([image for strip in found for image in strip], labels) for head, found in strips.items()}
    write_png(path, sample_grid(blocks, {row.label: row.name for row in rows}, max(len(row.noise) for row in rows)))
    return path
