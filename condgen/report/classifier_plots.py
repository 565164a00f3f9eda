"""The plots of noisy classifiers: what each is worth at each noise level, and the scale that suits it there."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from condgen.diagnostics.classifier_errors import worthwhile
from condgen.report.drawing import INK, Plot, Style, drawing, finish, method_styles, new_axes, printable
from condgen.report.estimates import SIGMA, format_number
from condgen.report.plots import level_axis, log_axis, look
from condgen.report.rows import ClassifierRow

__all__ = [
    "QUANTITIES",
    "Rows",
    "draw_calibration",
    "history_panel",
    "quantity_panel",
    "scale_panel",
    "spans",
]

Rows = Sequence[ClassifierRow]
"""One classifier's rows, noise levels rising."""


class _Quantity(NamedTuple):
    title: str
    said: str
    error: str = ""  # the field that holds the standard error


QUANTITIES: dict[str, _Quantity] = {
    "accuracy": _Quantity("accuracy", "fraction correct"),
    "cross_entropy": _Quantity("cross-entropy", "nats"),
    "ece": _Quantity("calibration error (ECE)", "probability"),
    "norm": _Quantity("length of the gradient", "mean |g|"),
    "gain": _Quantity("gain over zero guidance", "change of loss; below 0 helps", "gain_se"),
}


def quantity_panel(quantity: str, found: Mapping[str, Rows], styles: Mapping[str, Style], name: str) -> Plot | None:
    """One quantity against the noise level, a line a classifier, with a band of two standard errors where known.

    Args:
        quantity: a key of `QUANTITIES`.
        found: rows by classifier.
        styles: the look of every classifier.
        name: unique in the page.

    Returns:
        The panel, or None where nothing of this kind was measured.
    """
    known = {who: [row for row in rows if getattr(row, quantity) is not None] for who, rows in found.items()}
    known = {who: rows for who, rows in known.items() if rows}
    if not known:
        return None
    about = QUANTITIES[quantity]
    said = "; ".join(f"{who} {_course(rows, quantity)}" for who, rows in known.items())
    with drawing():
        axes = new_axes(about.title)
        _draw_quantity(axes, quantity, known, styles)
        return finish(axes, name, f"{about.title} by noise level: {said}.")


def _draw_quantity(axes: Axes, quantity: str, found: Mapping[str, Rows], styles: Mapping[str, Style]) -> None:
    about = QUANTITIES[quantity]
    for who, rows in found.items():
        levels, values = [row.sigma for row in rows], np.array([getattr(row, quantity) for row in rows])
        if about.error:
            axes.axhline(0, color=INK, linewidth=0.8)
            error = np.array([getattr(row, about.error) or 0.0 for row in rows])
            axes.fill_between(
                levels, values - 2 * error, values + 2 * error, color=styles[who].colour, alpha=0.2, linewidth=0
            )
        axes.plot(levels, values, **(look(styles[who]) | {"markersize": 4}))
    level_axis(axes, [row.sigma for rows in found.values() for row in rows])
    positive = [value for rows in found.values() for row in rows if (value := getattr(row, quantity)) > 0]
    if quantity == "norm" and positive:
        least = max(min(positive) / 2, max(positive) * 1e-6)
        log_axis(axes, "y", least, max(positive))
        axes.set_ylim(bottom=least)
    elif quantity == "accuracy":
        axes.set_ylim(0, 1.04)
    elif not about.error:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(about.said)


def scale_panel(who: str, rows: Rows, style: Style, name: str) -> Plot | None:
    """The scale of least loss with a band of two standard errors, and in grey where it is too unsure to be used."""
    rows = [row for row in rows if row.scale is not None]
    if not rows:
        return None
    with drawing():
        axes = new_axes(f"best scale: {who}")
        _draw_scale(axes, rows, style)
        used = [row for row, on in zip(rows, worthwhile(rows), strict=True) if on]
        alt = f"Best guidance scale of {who} by noise level: {_course(used, 'scale')}." if used else f"None for {who}."
        return finish(axes, name, f"{alt} Guidance is off at {len(rows) - len(used)} of {len(rows)} levels.")


def _draw_scale(axes: Axes, rows: Rows, style: Style) -> None:
    levels = [row.sigma for row in rows]
    values, errors = (np.array([value or 0.0 for value in column]) for column in zip(*_scales(rows), strict=True))
    on = np.array(worthwhile(rows))
    edges = np.sqrt(np.array([levels[0], *levels]) * np.array([*levels, levels[-1]]))
    for off, group in groupby(range(len(rows)), key=lambda index: not on[index]):
        if off:
            places = list(group)
            axes.axvspan(edges[places[0]], edges[places[-1] + 1], color=INK, alpha=0.1, linewidth=0)
    axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
    axes.axhline(0, color=INK, linewidth=0.8)
    known = np.where(on, values, np.nan)
    axes.fill_between(levels, known - 2 * errors, known + 2 * errors, color=style.colour, alpha=0.2, linewidth=0)
    axes.plot(levels, known, **(look(style) | {"markersize": 4}))
    unsure = look(style) | {"markersize": 4, "linestyle": "none", "markerfacecolor": "none"}
    axes.errorbar(levels, np.where(on, np.nan, values), yerr=2 * errors, elinewidth=0.7, alpha=0.6, **unsure)
    # What is not sure may lie anywhere, so the sure values alone set the height of the picture.
    top = max([1.3, *(1.1 * (values + errors)[on])])
    axes.set_ylim(-0.35 * top, 1.1 * top)
    level_axis(axes, levels)
    axes.set_ylabel("scale of least loss")


def _scales(rows: Rows) -> list[tuple[float | None, float | None]]:
    return [(row.scale, row.scale_se) for row in rows]


def history_panel(
    quantity: str, history: Sequence[tuple[int, Rows]], title: str, name: str, most: int = 4
) -> Plot | None:
    """How a quantity came about in training: against the noise level, the later the darker.

    Args:
        quantity: a key of `QUANTITIES`.
        history: steps and rows of one classifier, steps rising.
        title: above the panel.
        name: unique in the page.
        most: the lines to draw, from the first to the last.
    """
    known = [(step, rows) for step, rows in history if all(getattr(row, quantity) is not None for row in rows)]
    if not known:
        return None
    places = sorted({round(place) for place in np.linspace(0, len(known) - 1, min(most, len(known))).tolist()})
    shown = [known[place] for place in places]
    about = QUANTITIES[quantity]
    with drawing():
        axes = new_axes(f"{title}: {about.title}")
        for place, (step, rows) in enumerate(shown, start=1):
            values = [getattr(row, quantity) for row in rows]
            dark, levels = place / len(shown), [row.sigma for row in rows]
            (line,) = axes.plot(levels, values, color=INK, marker="o", markersize=3, label=f"step {step:,}")
            line.set(alpha=0.2 + 0.8 * dark, linewidth=0.7 + 0.9 * dark)
        if about.error:
            axes.axhline(0, color=INK, linewidth=0.8)
        level_axis(axes, [row.sigma for row in shown[-1][1]])
        axes.set_ylabel(about.said)
        axes.legend(frameon=False, fontsize=8)
        said = "; ".join(f"step {step:,} {_course(rows, quantity)}" for step, rows in shown)
        return finish(axes, name, f"{about.title} of {title} in training, by noise level: {said}.")


def draw_calibration(who: str, rows: Rows, path: Path) -> None:
    """All plots of one classifier as a PNG, for people who have no report yet.

    Args:
        who: the classifier's name.
        rows: of the classifier, noise levels rising.
        path: of the picture.
    """
    style = method_styles([who])[who]
    shown = [quantity for quantity in QUANTITIES if all(getattr(row, quantity) is not None for row in rows)]
    with drawing():
        figure = Figure(figsize=(11.5, 6.2), layout="constrained")
        figure.suptitle(printable(f"{who} on {rows[0].n:,} held-out samples, {rows[0].draws} noise draws each"))
        panels = figure.subplots(2, 3).ravel()
        for axes, quantity in zip(panels, shown, strict=False):
            axes.set_title(QUANTITIES[quantity].title)
            _draw_quantity(axes, quantity, {who: rows}, {who: style})
        for axes in panels[len(shown) :]:
            axes.set_title("best guidance scale; grey: off")
            _draw_scale(axes, rows, style)
        figure.savefig(path, dpi=110, facecolor="white")


def spans(levels: Sequence[float], chosen: Sequence[bool]) -> str:
    """Noise levels in words: neighbouring chosen ones as a span, such as "0.1 to 2, 8"."""
    parts = []
    for taken, group in groupby(zip(levels, chosen, strict=True), key=lambda pair: pair[1]):
        if taken:
            ends = [f"{level:g}" for level, _ in group]
            parts.append(ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}")
    return f"{SIGMA} = {', '.join(parts)}" if parts else ""


def _course(rows: Rows, quantity: str) -> str:
    first, last = (f"{format_number(getattr(row, quantity))} at {SIGMA} = {row.sigma:g}" for row in (rows[0], rows[-1]))
    return first if len(rows) == 1 else f"{first} to {last}"
