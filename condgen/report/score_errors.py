"""Score errors: how far estimated scores lie from exact ones, by noise level and in the plane."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize

from condgen.diagnostics.score_errors import Quantity, Weighting
from condgen.report.estimates import SIGMA, format_number
from condgen.report.figures import LEVEL, Array, Panel, Style, line_panel
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Prose
from condgen.report.rows import FieldRow, by_level
from condgen.report.tables import WEIGHTINGS, errors_table
from condgen.rows import Estimate

QUANTITIES: dict[Quantity, str] = {"D": "unconditional score", "D_P": "posterior score", "D_L": "likelihood score"}
_MEANING: dict[Weighting, str] = {
    "data": "Means over data, noised to each level.",
    "held_out": "Means over test images, noised to each level.",
    "grid": "Means over a grid of points, most of which are far from data.",
}
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
_DARK_MAGMA = ListedColormap(matplotlib.colormaps["magma"](np.linspace(0.0, 0.72, 256)))  # white arrows read on it


def errors_section(run: Run) -> Iterable[Block]:
    if not run.errors:
        return
    yield Prose(_DEFINITIONS)
    if any(row.weighting == "held_out" for row in run.errors):
        yield Prose(_MEMORISED)
    for weighting in WEIGHTINGS:
        yield from _errors(run, weighting)


def _errors(run: Run, weighting: Weighting) -> Iterable[Block]:
    """Plots against the noise level, with their tables; of a single level, a table alone."""
    found = {quantity: by_level(run.errors, weighting=weighting, quantity=quantity) for quantity in QUANTITIES}
    found = {quantity: estimates for quantity, estimates in found.items() if estimates}
    levels = {sigma for estimates in found.values() for levels in estimates.values() for sigma in levels}
    if len(levels) < 2:
        if levels:
            yield errors_table(run.errors, weighting, None)
        return
    tables = tuple(errors_table(run.errors, weighting, quantity) for quantity in found)
    panels = [error_panel(estimates, quantity, run.styles) for quantity, estimates in found.items()]
    legend = {method: run.styles[method] for estimates in found.values() for method in estimates}
    caption = (
        f"{_MEANING[weighting]} Bands are the intervals of the tables. Errors of zero, or below a millionth of the "
        "largest, stand in the table alone."
    )
    yield Figure(WEIGHTINGS[weighting].capitalize(), tuple(filter(None, panels)), caption, legend, tables)


def error_panel(
    estimates: Mapping[str, Mapping[float, Estimate]],
    quantity: Quantity,
    styles: Mapping[str, Style],
) -> Panel | None:
    """One quantity against the noise level, a line for each key of the estimates; None where none is above zero."""
    shown = {name: {s: one for s, one in levels.items() if one.value > 0} for name, levels in estimates.items()}
    lines = {name: levels for name, levels in shown.items() if levels}
    return line_panel(f"{quantity}: {QUANTITIES[quantity]}", lines, styles, "mean error", LEVEL) if lines else None


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
    yield Prose(
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
        yield Figure(f"Class {name}", tuple(panels), "")


def _field_panel(data: FieldRow, field: Array, title: str, label: int, end: float, *, arrows: bool) -> Panel:
    """Length as brightness, and of scores arrows and the data of the class."""
    x, y = data.x, data.y
    points = np.array([at for at, own in zip(data.points, data.labels, strict=True) if own == label]).reshape(-1, 2)

    def draw(axes: Axes) -> None:
        half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
        box = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
        length = np.linalg.norm(field, axis=-1)
        heat = axes.imshow(length, origin="lower", extent=box, cmap=_DARK_MAGMA, norm=Normalize(0, end))
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        if not arrows:
            return
        axes.scatter(points[:, 0], points[:, 1], s=3, color="#9bd7f5", alpha=0.55, linewidths=0)
        step = max(1, round(len(x) / 14))
        at = np.s_[step // 2 :: step, step // 2 :: step]
        shown = (field * np.minimum(1, end / np.maximum(length, 1e-300))[..., None])[at]
        look: Any = {"color": "white", "angles": "xy", "scale_units": "xy", "width": 0.006, "minlength": 0.3}
        grid_x, grid_y = np.meshgrid(x, y)
        scale = end / (2.4 * step * (x[1] - x[0]))
        axes.quiver(grid_x[at], grid_y[at], shown[..., 0], shown[..., 1], scale=scale, **look)
        axes.set(xlim=box[:2], ylim=box[2:])

    name = data.names[label]
    length = format_number(float(np.linalg.norm(field, axis=-1).mean()))
    return Panel(title, f"Likelihood score of class {name}, {title}: mean length {length}.", draw)
