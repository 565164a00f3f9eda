"""The section on trajectories: samples on their way from noise, every method on the same seeds."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from condgen.errors import UserError
from condgen.files import write_png
from condgen.report.drawing import drawing
from condgen.report.estimates import SIGMA
from condgen.report.grids import cut, embedded, side_by_side
from condgen.report.inputs import Run, read_mapping
from condgen.report.page import Block, Film, Panels, Prose, Section
from condgen.report.pictures import open_picture
from condgen.report.planes import draw_paths, paths_panel, wide_extent
from condgen.report.rows import TrajectoryRow, parse_rows
from condgen.report.sections import class_legend
from condgen.runs.layout import TRAJECTORIES

__all__ = ["draw_trajectories", "trajectory_section"]

_OPEN = 2  # classes that need no click
_MEANING = (
    "A sample begins as noise and is denoised step by step. The noised state x_t is where it stands at a noise level "
    f"{SIGMA}; the denoised estimate is what the model would answer from there, an average of all that could still "
    "come: blurred while much noise is left, sharp at the end, where it is the sample. At which level the class shows, "
    "and whether an estimate changes its mind later, tells methods apart whose samples look alike."
)


def trajectory_section(run: Run) -> Section | None:
    """What a few samples of each method passed through."""
    rows = parse_rows(TrajectoryRow, run.trajectories, TRAJECTORIES)
    images = [row for row in rows if isinstance(row.x_t, str)]
    planes = [row for row in rows if not isinstance(row.x_t, str) and all(len(point) == 2 for point in row.x_t)]
    blocks = [*_films(images, run.folder / "trajectories"), *(_panels(planes, run) if planes else ())]
    return Section("trajectories", "From noise to sample", (Prose(_MEANING), *blocks)) if blocks else None


# ----------------------------------------------------------------------------------------------------
# Images


def _films(rows: Sequence[TrajectoryRow], folder: Path) -> list[Block]:
    """A film a class; methods whose grids have other noise levels stand in films of their own."""
    films: list[Block] = []
    for place, label in enumerate(dict.fromkeys(row.label for row in rows)):
        of_class = [row for row in rows if row.label == label]
        for noise in dict.fromkeys(tuple(row.noise) for row in of_class):
            films.append(_film([row for row in of_class if tuple(row.noise) == noise], folder, place < _OPEN))
    return films


def _film(rows: Sequence[TrajectoryRow], folder: Path, unfolded: bool) -> Film:
    first = rows[0]
    lines = []
    for row in rows:
        span = f"class {row.name} by {row.method}, from {SIGMA} = {row.noise[0]:.3g} to {row.noise[-1]:.3g}"
        strips = []
        for what, file in (("Noised state", row.x_t), ("Denoised estimate", row.denoised)):
            assert isinstance(file, str)
            try:
                pictures = cut(open_picture(folder, file), len(row.noise))
            except ValueError as error:
                raise UserError(
                    f"{folder / file} does not hold the pictures of its row: run the recipe again"
                ) from error
            strips.append(embedded(pictures, f"{what} of {span}"))
        lines.append((row.method if row.seed == first.seed else f"{row.method} (seed {row.seed})", tuple(strips)))
    seed = f", seed {first.seed}" if first.seed is not None else ""
    methods = "" if len(rows) > 1 else f", {first.method}"
    return Film(
        title=f"Class {first.name}{seed}{methods}",
        parts=("Noised state", "Denoised estimate"),
        heads=tuple(f"{noise:.2g}" for noise in first.noise),
        rows=tuple(lines),
        caption=f"Numbers are noise levels {SIGMA} in units of the data. Noised states are shown at unit scale.",
        folded=not unfolded,
    )


# ----------------------------------------------------------------------------------------------------
# Points


def _panels(rows: Sequence[TrajectoryRow], run: Run) -> list[Block]:
    """Paths of states and of estimates, a panel a method, on axes that show where the samples end."""
    ends = np.array([row.denoised[-1] for row in rows], dtype=np.float64)
    data = np.zeros((0, 2)) if run.field_data is None else run.field_data.points
    extent = wide_extent([ends, data])
    names = {row.label: row.name for row in rows}
    panels: list[Block] = []
    for kind, title, meaning in (
        ("x_t", "Noised states", "Paths of the state, in units of the data. They come from far outside the axes."),
        ("denoised", "Denoised estimates", "Paths of the estimate, which begin at the mean of all that could come."),
    ):
        plots = []
        for index, (method, found) in enumerate(groupby(rows, key=lambda row: row.method)):
            own = list(found)
            paths = [np.array(getattr(row, kind), dtype=np.float64) for row in own]
            alt = f"{title} of {len(own)} samples by {method}, {SIGMA} from {own[0].noise[0]:.3g}"
            alt += f" to {own[0].noise[-1]:.3g}."
            name = f"paths-{kind.replace('_', '')}-{index}"
            plots.append(paths_panel(paths, [row.label for row in own], data, method, name, extent, alt))
        legend = class_legend(names, f"paths-{kind.replace('_', '')}-key")
        ground = " Grey dots are data." if len(data) else ""
        caption = f"{meaning} A mark is a sample; methods share their seeds.{ground}"
        panels.append(Panels(title, tuple(plots), caption, legend))
    return panels


# ----------------------------------------------------------------------------------------------------
# A picture without a page


def draw_trajectories(folder: Path) -> Path:
    """Draws `trajectories.png` in the folder of a stage that has kept some of one method.

    Returns:
        The path of the picture.

    Raises:
        UserError: they are damaged.
    """
    found = read_mapping(folder / TRAJECTORIES)
    rows = parse_rows(TrajectoryRow, found.get("rows", []), str(folder / TRAJECTORIES))
    if not rows:
        raise UserError(f"{folder} holds no trajectories: draw some with condgen sample --trajectories N")
    path = folder / "trajectories.png"
    if isinstance(rows[0].x_t, str):
        blocks: dict[str, tuple[list[Image.Image], list[int]]] = {}
        for kind, head in (("x_t", "noised state"), ("denoised", "denoised estimate")):
            strips = [cut(open_picture(folder, str(getattr(row, kind))), len(row.noise)) for row in rows]
            labels = [row.label for row, pictures in zip(rows, strips, strict=True) for _ in pictures]
            blocks[head] = ([picture for pictures in strips for picture in pictures], labels)
        names = {row.label: row.name for row in rows}
        write_png(path, side_by_side(blocks, names, max(len(row.noise) for row in rows)))
        return path
    extent = wide_extent([np.array([row.denoised[-1] for row in rows], dtype=np.float64)])
    with drawing():
        figure = Figure(figsize=(8, 3.9), layout="constrained")
        for place, (kind, head) in enumerate((("x_t", "noised states"), ("denoised", "denoised estimates")), start=1):
            axes = figure.add_subplot(1, 2, place)
            shown = [np.array(getattr(row, kind), dtype=np.float64)[:, :2] for row in rows]
            draw_paths(axes, shown, [row.label for row in rows], extent)
            axes.set_title(head)
        figure.savefig(path, dpi=110)
    return path
