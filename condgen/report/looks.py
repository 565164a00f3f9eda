"""Pictures of a generator in training, for people who have no report yet: its newest samples, and how they came about.

A stage's folder gets `grid.png`, the newest look, a row a class, and `looks.png`: the same latents at every look, side
by side, so that one sees samples take shape, and those of a class grow alike where the generator collapses.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from condgen.report.drawing import class_style, printable
from condgen.report.grids import labelled_grid, side_by_side
from condgen.report.plots import Field
from condgen.run.looks import Look, read_looks
from condgen.weights import write_atomically

__all__ = ["EACH", "MOST", "draw_looks", "head_of", "shared_extent"]

MOST = 10  # looks side by side
EACH = 2  # samples of a class: one would not tell whether another latent gives another sample
_IN_A_ROW = 5  # panels of points
_PANEL = 220  # pixels, the longer side of one
_FINER = 3  # they are drawn so much larger first, which makes dots round
_EDGE, _INK, _PAPER = (205, 208, 204), (34, 34, 34), (255, 255, 255)


def draw_looks(folder: Path, until: int | None = None) -> list[Path]:
    """Draws what a stage's folder keeps of its looks.

    Args:
        folder: of the stage.
        until: the last step to show.

    Returns:
        The files: `looks.png` and, for images, `grid.png`; none where there is nothing to draw.

    Raises:
        UserError: a kept look is damaged.
        OSError: the pictures cannot be written.
    """
    looks = read_looks(folder, until, MOST)
    if not looks:
        return []
    last = looks[-1]
    if last.x.ndim == 4:
        drawn = {"looks.png": _strip(looks), "grid.png": labelled_grid(last.x, last.y.tolist(), last.names)}
    elif last.x.ndim == 2 and last.x.shape[1] == 2:
        drawn = {"looks.png": _panels(looks)}
    else:
        return []
    for name, picture in drawn.items():
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_atomically(folder / name, buffer.getvalue())
    return [folder / name for name in drawn]


def head_of(look: Look) -> str:
    """What stands above the samples of one look."""
    return f"step {look.step:,}"


def shared_extent(looks: Sequence[Look]) -> tuple[float, ...]:
    """Axes limits for points of every look: left, right, bottom, top. The outermost hundredth may lie beyond them."""
    points = np.concatenate([look.x.double().numpy() for look in looks])
    low, high = np.quantile(points, (0.01, 0.99), axis=0)
    margin = max(0.12 * float((high - low).max()), 1e-6)
    return tuple(float(v) for v in (low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin))


def _strip(looks: Sequence[Look]) -> Image.Image:
    return side_by_side({head_of(look): (look.x, look.y.tolist()) for look in looks}, looks[-1].names, EACH)


def _panels(looks: Sequence[Look]) -> Image.Image:
    """A panel a look, all with the same axes, in lines of a few, and the classes' colours below."""
    extent = shared_extent(looks)
    panels = [(head_of(look), _scatter(look.x.double().numpy(), look.y.tolist(), extent)) for look in looks]
    lines = [panels[start : start + _IN_A_ROW] for start in range(0, len(panels), _IN_A_ROW)]
    pictures = [side_by_side({head: ([panel], [0]) for head, panel in line}, [""]) for line in lines]
    names = looks[-1].names
    pictures.append(_legend({label: names[label] for label in sorted(set(looks[-1].y.tolist()))}, pictures[0].width))
    canvas = Image.new("RGB", (pictures[0].width, sum(picture.height for picture in pictures)), _PAPER)
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas


def _scatter(points: Field, labels: Sequence[int], extent: tuple[float, ...]) -> Image.Image:
    """Points (n, 2) in the colours of their classes, axes of equal units."""
    left, right, bottom, top = extent
    unit = _FINER * _PANEL / max(right - left, top - bottom)
    width, height = max(1, round(unit * (right - left))), max(1, round(unit * (top - bottom)))
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, width - 1, height - 1), outline=_EDGE, width=_FINER)
    across, down = unit * (points[:, 0] - left), unit * (top - points[:, 1])
    for x, y, label in zip(across.tolist(), down.tolist(), labels, strict=True):
        if np.isfinite(x) and np.isfinite(y):
            draw.circle((x, y), 2.2 * _FINER, fill=class_style(label).colour)
    return canvas.resize((max(1, width // _FINER), max(1, height // _FINER)), Image.Resampling.LANCZOS)


def _legend(names: dict[int, str], width: int) -> Image.Image:
    """A dot and a name a class, on as many lines as it takes."""
    font, places, x, y = ImageFont.load_default(15), [], 26, 4
    for label, name in names.items():
        needed = round(font.getlength(printable(name))) + 40
        if x + needed > width and x > 26:
            x, y = 26, y + 24
        places.append((label, printable(name), x, y))
        x += needed
    canvas = Image.new("RGB", (width, y + 34), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for label, name, x, y in places:
        draw.circle((x + 5, y + 9), 5, fill=class_style(label).colour)
        draw.text((x + 16, y + 9), name, fill=_INK, font=font, anchor="lm")
    return canvas
