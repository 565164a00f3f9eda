"""The plots of a report: score errors, likelihood-score fields, training curves.

Each function returns small panels, one picture each, so that a page can lay them out for its width. The numbers behind
every picture stand in a table beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from condgen.report.drawing import Plot, Style, drawing, finish, new_axes, printable
from condgen.report.estimates import SIGMA, Estimate, error_estimates
from condgen.report.rows import Quantity, RawRow, Weighting

__all__ = [
    "LONG_NAMES",
    "Field",
    "above_zero",
    "colour_bar",
    "curves_panel",
    "draw_estimates",
    "error_panel",
    "field_panel",
    "field_scale",
    "height_for",
    "key",
    "level_axis",
    "log_axis",
    "look",
]

Field = NDArray[np.float64]

LONG_NAMES: dict[Quantity, str] = {"D": "unconditional score", "D_P": "posterior score", "D_L": "likelihood score"}
_DARK_MAGMA = ListedColormap(
    matplotlib.colormaps["magma"](np.linspace(0.0, 0.72, 256))
)  # white arrows read on all of it


def key(style: Style, name: str) -> Plot:
    """The sign of a method or class, for a legend in the page's own text."""
    with drawing():
        axes = new_axes(width=0.42, height=0.2)
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **look(style))
        axes.set_xlim(-0.1, 2.1)
        return finish(axes, name, "")


def look(style: Style) -> dict[str, Any]:
    """The arguments of matplotlib's `plot` that draw a line in this style."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "linestyle": style.line,
        "markerfacecolor": "none" if style.hollow else style.colour,
        "linewidth": 1.4,
        "markersize": 5,
    }


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """A logarithmic axis with plain numbers, for values from low to high."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    subs = (1.0,) if high / low >= 30 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=6 if which == "x" else 8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def level_axis(axes: Axes, levels: Sequence[float]) -> None:
    """A horizontal axis of noise levels, logarithmic."""
    log_axis(axes, "x", min(levels), max(levels))
    axes.set_xlabel(f"noise level {SIGMA}")


# ----------------------------------------------------------------------------------------------------
# Score errors


def error_panel(
    rows: Sequence[RawRow],
    weighting: Weighting,
    quantity: Quantity,
    styles: Mapping[str, Style],
    name: str,
    *,
    relative: bool = False,
) -> Plot | None:
    """One quantity against the noise level, a line a method, with bars of one standard error.

    Args:
        rows: the rows of diagnostics.json.
        weighting: which rows to draw.
        quantity: which rows to draw.
        styles: the look of every method.
        name: unique in the page.
        relative: whether to draw errors as a share of the exact score.

    Returns:
        The panel, or None where the rows hold nothing for it.
    """
    title = f"{quantity}: {LONG_NAMES[quantity]}"
    estimates = error_estimates(rows, weighting, quantity, relative=relative)
    return curves_panel(estimates, quantity, title, styles, name, unit="error / exact" if relative else "mean error")


def curves_panel(
    estimates: Mapping[str, Mapping[float, Estimate]],
    quantity: Quantity,
    title: str,
    styles: Mapping[str, Style],
    name: str,
    bars: float = 0.5,
    unit: str = "mean error",
) -> Plot | None:
    """Estimates of one quantity by noise level, a line each.

    Args:
        estimates: by what a line stands for, and by noise level.
        quantity: what they are of.
        title: above the panel.
        styles: the look of every line.
        name: unique in the page.
        bars: their length to either side, as a share of an estimate's half width: 0.5 is one standard error of two.
        unit: what they are given in.

    Returns:
        The panel, or None where no estimate is above zero.
    """
    estimates = above_zero(estimates)
    if not estimates:
        return None
    sigmas = sorted({sigma for found in estimates.values() for sigma in found})
    methods = ", ".join(f"{method} ({_extent(found)})" for method, found in estimates.items())
    span = f"{SIGMA} = {sigmas[0]:g}" + (f" to {sigmas[-1]:g}" if len(sigmas) > 1 else "")
    share = "" if unit == "mean error" else " over the exact one"
    alt = f"{quantity}, the error of the {LONG_NAMES[quantity]}{share}, at {span}: {methods}."
    height = {"height": 1.0 + 0.28 * len(estimates)} if len(sigmas) == 1 else {}
    with drawing():
        axes = new_axes(title, **height)
        draw_estimates(axes, estimates, styles, bars, unit)
        return finish(axes, name, alt)


def draw_estimates(
    axes: Axes,
    estimates: Mapping[str, Mapping[float, Estimate]],
    styles: Mapping[str, Style],
    bars: float = 0.5,
    unit: str = "mean error",
) -> None:
    """Draws what `curves_panel` shows: positive estimates by method and noise level; of a single level, a row each."""
    sigmas = sorted({sigma for found in estimates.values() for sigma in found})
    if len(sigmas) == 1:
        _draw_one_level(axes, estimates, sigmas[0], styles, bars)
        return
    values = [estimate.value for found in estimates.values() for estimate in found.values()]
    for method, found in estimates.items():
        x = sorted(found)
        y = [found[sigma].value for sigma in x]
        ends = [bars * (found[sigma].half_width or 0.0) for sigma in x]
        axes.errorbar(x, y, yerr=ends, capsize=2, elinewidth=1, label=printable(method), **look(styles[method]))
    level_axis(axes, sigmas)
    log_axis(axes, "y", min(values), max(values))
    axes.set_ylim(bottom=max(min(values) / 1.6, max(values) * 1e-5))
    axes.set_ylabel(unit)


def _draw_one_level(
    axes: Axes,
    estimates: Mapping[str, Mapping[float, Estimate]],
    sigma: float,
    styles: Mapping[str, Style],
    bars: float,
) -> None:
    """A line of its own for every method, from zero."""
    for place, (method, found) in enumerate(estimates.items()):
        end = bars * (found[sigma].half_width or 0.0)
        axes.errorbar([found[sigma].value], [place], xerr=[end], capsize=2, elinewidth=1, **look(styles[method]))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.set_yticks(range(len(estimates)), [printable(method) for method in estimates])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"mean error at {SIGMA} = {sigma:g}")


def above_zero(estimates: Mapping[str, Mapping[float, Estimate]]) -> dict[str, dict[float, Estimate]]:
    """Those that have a place on a logarithmic axis."""
    kept = {
        method: {sigma: estimate for sigma, estimate in found.items() if estimate.value > 0}
        for method, found in estimates.items()
    }
    return {method: found for method, found in kept.items() if found}


def _extent(found: Mapping[float, Estimate]) -> str:
    values = [estimate.value for estimate in found.values()]
    return f"{values[0]:.3g}" if len(values) == 1 else f"{min(values):.3g} to {max(values):.3g}"


# ----------------------------------------------------------------------------------------------------
# Fields on the grid


def field_scale(fields: Sequence[Field], exact: Field) -> float:
    """The top of a shared colour scale: the largest length, or twice the largest exact one where that is less."""
    largest = max(float(np.linalg.norm(field, axis=-1).max()) for field in fields)
    return min(largest, 2 * float(np.linalg.norm(exact, axis=-1).max())) or 1.0


def field_panel(
    field: Field,
    x: Sequence[float],
    y: Sequence[float],
    *,
    top: float,
    title: str,
    name: str,
    alt: str,
    points: Field | None = None,
    arrows: bool = True,
) -> Plot:
    """Length as heat, direction as arrows.

    Args:
        field: vectors on the grid, (len(y), len(x), 2).
        x: abscissae of the grid, equally spaced.
        y: ordinates of the grid, equally spaced.
        top: the length at the top of the colour scale.
        title: above the panel.
        name: unique in the page.
        alt: what the picture shows.
        points: data to show as dots, (n, 2).
        arrows: whether to draw the arrows.
    """
    length = np.linalg.norm(field, axis=-1)
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    with drawing():
        shape = (y[-1] - y[0]) / (x[-1] - x[0])
        axes = new_axes(title, width=3.6, height=height_for(shape))
        axes.grid(visible=False)
        axes.imshow(
            length,
            origin="lower",
            extent=(x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y),
            cmap=_DARK_MAGMA,
            norm=Normalize(0, top),
            interpolation="nearest",
        )
        if points is not None:
            axes.scatter(points[:, 0], points[:, 1], s=3, color="#9bd7f5", alpha=0.55, linewidths=0)
        if arrows:
            step = max(1, round(len(x) / 14))
            offset = (len(x) - 1) % step // 2
            chosen = np.s_[offset::step, offset::step]
            vectors = (field * np.minimum(1, top / np.maximum(length, 1e-300))[..., None])[chosen]
            grid_x, grid_y = np.meshgrid(np.asarray(x)[offset::step], np.asarray(y)[offset::step])
            axes.quiver(
                grid_x,
                grid_y,
                vectors[..., 0],
                vectors[..., 1],
                color="white",
                angles="xy",
                scale_units="xy",
                scale=top / (2.4 * step * (x[1] - x[0])),
                width=0.006,
                minlength=0.3,
            )
            axes.set_xlim(x[0] - half_x, x[-1] + half_x)
            axes.set_ylim(y[0] - half_y, y[-1] + half_y)
        return finish(axes, name, alt)


def height_for(shape: float) -> float:
    """Of a figure 3.6 inches wide around axes of equal units, for the ratio of their sides."""
    return 0.65 + 3.1 * min(max(shape, 0.3), 1.5)


def colour_bar(top: float, label: str, name: str) -> Plot:
    """The scale of a row of field panels."""
    with drawing():
        axes = new_axes(width=3.6, height=0.62)
        axes.grid(visible=False)
        axes.imshow(np.linspace(0, 1, 256)[None], extent=(0, top, 0, 1), aspect="auto", cmap=_DARK_MAGMA)
        axes.set_yticks([])
        axes.set_xlabel(label)
        return finish(axes, name, f"Colour scale from 0, dark, to {top:.3g}, bright: {label}.")
