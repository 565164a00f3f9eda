"""Score errors: how far estimated scores lie from exact ones, by noise level and in the plane."""

from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize

from condgen.diagnostics.score_errors import Quantity, Weighting
from condgen.report.estimates import SIGMA, by_level, format_number
from condgen.report.figures import LEVEL, Array, Panel, line_panel
from condgen.report.load import FieldRow, Run
from condgen.report.page import Block, Figure
from condgen.report.tables import WEIGHTINGS, errors_table

QUANTITIES: dict[Quantity, str] = {"D": "unconditional score", "D_P": "posterior score", "D_L": "likelihood score"}
_DEFINITIONS = (
    "D is the mean distance between the estimated and the exact unconditional score, D_P that of the posterior score, "
    "given the class, and D_L that of the likelihood score, which a classifier contributes: by Bayes' rule the "
    "posterior score is the sum of the other two. A classifier with a larger D_L than that of “zero guidance” is worse "
    "than none."
)
_MEMORISED = (
    "Exact means: of the labelled training set itself, noised. A network with an error of zero would have learnt these "
    "images by heart: this is a distance from that optimum, not from the truth, and the least one is not the best."
)
_CAPTION = (
    "Means over queries at each noise level; bands are the intervals of the tables. Errors of zero, or below a "
    "millionth of the largest, stand in the table alone."
)
_DARK_MAGMA = ListedColormap(matplotlib.colormaps["magma"](np.linspace(0.0, 0.72, 256)))  # white arrows read on it


def errors_section(run: Run) -> Iterable[Block]:
    if run.errors:
        yield _DEFINITIONS
        if any(row.weighting == "held_out" for row in run.errors):
            yield _MEMORISED
        for weighting in WEIGHTINGS:
            yield from _errors(run, weighting)


def _errors(run: Run, weighting: Weighting) -> Iterable[Block]:
    """Plots against the noise level, with their tables; of a single level, a table alone."""
    levels = {row.sigma for row in run.errors if row.weighting == weighting}
    if len(levels) == 1:
        yield errors_table(run.errors, weighting, None)
    if len(levels) < 2:
        return
    panels, tables = [], []
    for quantity, meaning in QUANTITIES.items():
        found = by_level(run.errors, weighting=weighting, quantity=quantity)
        if found:
            tables.append(errors_table(run.errors, weighting, quantity))
        above_zero = {name: {s: one for s, one in levels.items() if one.value > 0} for name, levels in found.items()}
        if lines := {name: levels for name, levels in above_zero.items() if levels}:
            panels.append(line_panel(f"{quantity}: {meaning}", lines, run.styles, "mean error", LEVEL))
    yield Figure(WEIGHTINGS[weighting].capitalize(), panels, _CAPTION, tables)


def fields_section(run: Run) -> Iterable[Block]:
    """Exact and estimated likelihood scores of points in the plane."""
    data = run.fields
    if data is None or "exact" not in data.fields:
        return
    shape = (len(data.names), len(data.y), len(data.x), 2)
    fields = {name: np.asarray(values, dtype=np.float64).reshape(shape) for name, values in data.fields.items()}
    exact = fields["exact"]
    errors = {f"error of {name}": field - exact for name, field in fields.items() if name != "exact"}
    end = float(np.linalg.norm(exact, axis=-1).max()) or 1.0
    yield (
        f"The likelihood score at {SIGMA} = {data.sigma:g} on a grid of {len(data.x)} by {len(data.y)}. Brightness is "
        "its length, or that of its error, on a scale that ends at the longest exact score; arrows are its direction; "
        "dots are data of the class."
    )
    for label, name in enumerate(data.names):
        panels = [
            _field_panel(data, field[label], title, label, end, arrows=kind is fields)
            for kind in (fields, errors)
            for title, field in kind.items()
        ]
        yield Figure(f"Class {name}", panels, "")


def _field_panel(data: FieldRow, field: Array, title: str, label: int, end: float, *, arrows: bool) -> Panel:
    """Length as brightness, and of scores arrows and the data of the class."""
    x, y = data.x, data.y
    points = np.array([at for at, own in zip(data.points, data.labels, strict=True) if own == label]).reshape(-1, 2)

    def draw(axes: Axes) -> None:
        length = np.linalg.norm(field, axis=-1)
        heat = axes.pcolormesh(x, y, length, cmap=_DARK_MAGMA, norm=Normalize(0, end), rasterized=True)
        axes.figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        axes.set(aspect="equal", xlim=axes.get_xlim(), ylim=axes.get_ylim())
        if arrows:
            axes.scatter(points[:, 0], points[:, 1], s=3, color="#9bd7f5", alpha=0.55, linewidths=0)
            step = max(1, round(len(x) / 14))
            at = np.s_[step // 2 :: step, step // 2 :: step]
            shown = (field * np.minimum(1, end / np.maximum(length, 1e-300))[..., None])[at]
            look: Any = {"color": "white", "angles": "xy", "scale_units": "xy", "width": 0.006, "minlength": 0.3}
            grid_x, grid_y = np.meshgrid(x, y)
            scale = end / (2.4 * step * (x[1] - x[0]))
            axes.quiver(grid_x[at], grid_y[at], shown[..., 0], shown[..., 1], scale=scale, **look)

    name = data.names[label]
    length = format_number(float(np.linalg.norm(field, axis=-1).mean()))
    return Panel(title, f"Likelihood score of class {name}, {title}: mean length {length}.", draw)
