"""Pictures of a generator in training, for people who have no report yet: its newest samples, and how they came about.

A stage's folder gets `grid.png`, the newest look, a row a class, and `previews.png`: the same latents at every look,
side by side, so that one sees samples take shape, and those of a class grow alike where the generator collapses.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from condgen.files import write_png
from condgen.report.drawing import class_style, drawing, printable
from condgen.report.grids import labelled_grid, side_by_side
from condgen.report.planes import scatter, wide_extent
from condgen.runs.layout import GRID, PREVIEWS_PICTURE
from condgen.runs.previews import Preview, read_previews

__all__ = ["EACH", "MOST", "draw_looks", "head_of", "shared_extent"]

MOST = 10  # looks side by side
EACH = 2  # samples of a class: one would not tell whether another latent gives another sample
_IN_A_ROW = 5  # panels of points


def draw_looks(folder: Path, until: int | None = None) -> list[Path]:
    """Draws what a stage's folder keeps of its looks.

    Args:
        folder: of the stage.
        until: the last step to show.

    Returns:
        The files: `previews.png` and, for images, `grid.png`; none where there is nothing to draw.

    Raises:
        UserError: a kept look is damaged.
        OSError: the pictures cannot be written.
    """
    looks = read_previews(folder, until, MOST)
    if not looks:
        return []
    last = looks[-1]
    if last.x.ndim == 4:
        drawn = {PREVIEWS_PICTURE: _strip(looks), GRID: labelled_grid(last.x, last.y.tolist(), last.names)}
    elif last.x.ndim == 2 and last.x.shape[1] == 2:
        drawn = {PREVIEWS_PICTURE: _panels(looks)}
    else:
        return []
    for name, picture in drawn.items():
        write_png(folder / name, picture)
    return [folder / name for name in drawn]


def head_of(look: Preview) -> str:
    """What stands above the samples of one look."""
    return f"step {look.step:,}"


def shared_extent(looks: Sequence[Preview]) -> tuple[float, ...]:
    """Axes limits for points of every look: left, right, bottom, top. The outermost hundredth may lie beyond them."""
    return wide_extent([look.x.double().numpy() for look in looks])


def _strip(looks: Sequence[Preview]) -> Image.Image:
    return side_by_side({head_of(look): (look.x, look.y.tolist()) for look in looks}, looks[-1].names, EACH)


def _panels(looks: Sequence[Preview]) -> Image.Image:
    """A panel a look, all with the same axes, in lines of a few, and the classes' signs below."""
    extent, last = shared_extent(looks), looks[-1]
    columns, lines = min(len(looks), _IN_A_ROW), -(-len(looks) // _IN_A_ROW)
    shape = (extent[3] - extent[2]) / (extent[1] - extent[0])
    with drawing():
        figure = Figure(figsize=(2.3 * columns, (2.1 * shape + 0.35) * lines + 0.4), layout="constrained")
        for look in looks:
            axes = figure.add_subplot(lines, columns, len(figure.axes) + 1, xticks=[], yticks=[])
            scatter(axes, look.x.double().numpy(), look.y.tolist(), extent, size=6)
            axes.set_title(head_of(look), fontsize=9)
        shown = sorted(set(last.y.tolist()))
        signs = [class_style(label) for label in shown]
        dots = [Line2D([], [], color=sign.colour, marker=sign.marker, linestyle="none") for sign in signs]
        names = [printable(last.names[label]) for label in shown]
        figure.legend(dots, names, loc="outside lower left", ncols=2 * columns, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return Image.open(buffer)
