"""Plots, drawn by matplotlib: as SVG that is part of a page, or several in one PNG.

In a page the drawn colours become CSS variables, for light and dark. The same input gives the same bytes. Colours
follow Okabe & Ito (2008), "Color universal design"; lines differ in their markers too.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from condgen.errors import one_line
from condgen.report.estimates import SIGMA
from condgen.rows import Estimate

Array: TypeAlias = NDArray[np.float64]
INK = "#010203"  # stands for the page's text colour
COLOURS: dict[str, str] = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
}
_GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "<": "◀"}
_WIDTH = 3.9  # of a panel, in inches
_LONGEST = 54  # characters of a title
_STRETCHES = 80  # means of a logged curve
_LEAST = 1e-6  # of the largest value; smaller ones have no place on a logarithmic axis
LEVEL = f"noise level {SIGMA}"


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str
    line: str  # solid or none

    @property
    def in_html(self) -> tuple[str, str, str]:
        """For a legend: the colour in CSS, the kind of line, and the marker as a character."""
        return _CSS[self.colour], self.line, _GLYPHS[self.marker]

    @property
    def in_plot(self) -> dict[str, Any]:
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


_CSS = {colour: f"var(--{name}, {colour})" for name, colour in COLOURS.items()} | {INK: "currentColor"}


def method_styles(names: Iterable[str]) -> dict[str, Style]:
    return {name: style_of(place) for place, name in enumerate(dict.fromkeys(names))}


def style_of(place: int, line: str = "solid") -> Style:
    """The style of one of several lines or classes; the first 24 differ in colour and marker."""
    return Style(list(COLOURS.values())[place % len(COLOURS)], list(_GLYPHS)[place % len(_GLYPHS)], line)


def cut(text: str, most: int) -> str:
    """The text on one line of at most so many characters."""
    text = one_line(text[: 10 * most])
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True)
class Panel:
    title: str  # above it, cut where it is too long
    alt: str  # what it shows, as text
    draw: Callable[[Axes], None]  # draws into given axes
    legend: Mapping[str, Style] = field(default_factory=dict)
    height: float = 2.9  # in inches

    def draw_with_title(self, axes: Axes) -> None:
        axes.set_title(cut(self.title, _LONGEST))
        self.draw(axes)


def legend_of(panels: Iterable[Panel]) -> dict[str, Style]:
    return {name: style for panel in panels for name, style in panel.legend.items()}


@contextmanager
def _drawing(salt: str = "condgen") -> Iterator[None]:
    with style.context("condgen.report.plots"), rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        # Glyphs are measured in matplotlib's own font and shown in the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a very long name
        yield


def to_svg(panel: Panel, name: str) -> Markup:
    """The panel as an SVG element whose identifiers are unique where its name is."""
    buffer, no_metadata = io.StringIO(), ("Creator", "Date", "Format", "Type")
    with _drawing(salt=name):
        figure = Figure(figsize=(_WIDTH, panel.height))  # matplotlib's own layouts take half of a report's time
        margins = {"left": 0.72 / _WIDTH, "right": 1 - 0.08 / _WIDTH, "bottom": 0.5 / panel.height}
        figure.subplots_adjust(top=1 - 0.28 / panel.height, **margins)
        axes = figure.add_subplot()
        panel.draw_with_title(axes)
        axes.yaxis.set_label_coords(-0.18, 0.5)
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(no_metadata))
    content = buffer.getvalue().partition("<svg ")[2].partition(">")[2]
    content = re.sub(r"<defs>\s*<style.*?</defs>", "", content, flags=re.DOTALL)
    content = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", content)  # of elements that nothing refers to
    content = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), content)
    colours = re.compile("|".join(_CSS))
    content = re.sub(r' style="[^"]*"', lambda css: colours.sub(lambda one: _CSS[one.group()], css.group()), content)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg viewBox="0 0 {72 * _WIDTH:g} {72 * panel.height:g}" {names} role="img"'
    return Markup(f'{head} aria-label="{escape(one_line(panel.alt))}" stroke-linejoin="round">{content}')


def save_panels(panels: Sequence[Panel], path: Path, columns: int = 3, *, legend: bool = False) -> None:
    """Panels in one PNG, for places that are no report."""
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    with _drawing():
        height = max(panel.height for panel in panels) * lines + 0.3 * legend
        figure = Figure(figsize=(_WIDTH * columns, height), layout="constrained")
        for place, panel in enumerate(panels, start=1):
            panel.draw_with_title(figure.add_subplot(lines, columns, place))
        if legend:
            signs = {name: figure.axes[0].plot([], [], **one.in_plot)[0] for name, one in legend_of(panels).items()}
            figure.legend(signs.values(), map(one_line, signs), loc="outside lower center", ncols=2 * columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")


def _log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low >= 30 else (1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def line_panel(
    title: str,
    lines: Mapping[str, Mapping[float, Estimate]],
    styles: Mapping[str, Style],
    unit: str,
    x: str = "step",
    dashed: float | None = None,
) -> Panel:
    """Lines through estimates at rising x, with bands where all intervals are known, and a dashed line of reference.

    The axis of y is logarithmic, over six decades at most, where values above zero span more than a factor of 20, and
    beyond the median interval where some are below zero.
    """
    places = [place for line in lines.values() for place in line]
    estimates = [one for line in lines.values() for one in line.values()]
    values = [one.value for one in estimates if math.isfinite(one.value)]
    least, largest = min(values, default=0.0), max(values, default=0.0)
    typical = float(np.median([one.half_width or 0.0 for one in estimates]))

    def draw(axes: Axes) -> None:
        if x == LEVEL:
            _log_axis(axes, "x", min(places), max(places))
        for name, line in lines.items():
            at, y = list(line), [one.value for one in line.values()]
            axes.plot(at, y, **styles[name].in_plot, markevery=max(1, len(line) // 20))
            ends = [(one.low, one.high) for one in line.values() if one.low is not None and one.high is not None]
            if len(ends) == len(line):
                low, high = zip(*ends, strict=True)
                axes.fill_between(at, low, high, color=styles[name].colour, alpha=0.15, linewidth=0)
        if least < 0 < 30 * typical < max(-least, largest):
            axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(typical)))
            axes.yaxis.set_major_formatter("{x:g}")
        elif 0 < least < largest / 20:
            _log_axis(axes, "y", least, largest)
            axes.set_ylim(max(least / 1.6, largest * _LEAST), largest * 2)
        if dashed is not None:
            axes.axhline(dashed, color=INK, linewidth=0.8, linestyle="--")
        axes.set(xlabel=x, ylabel=unit)

    ranges = {name: [one.value for one in line.values()] for name, line in lines.items()}
    ends = "; ".join(f"{name} {y[0]:.3g} to {y[-1]:.3g}" for name, y in ranges.items())
    alt = f"{title}{', ' if unit else ''}{unit}, at {x} {min(places):g} to {max(places):g}: {ends}."
    return Panel(title, alt, draw, {name: styles[name] for name in lines})


def curve_panel(
    title: str, curves: Mapping[str, Sequence[tuple[int, float]]], styles: Mapping[str, Style], unit: str = "loss"
) -> Panel:
    """Logged values against the step: means over equal stretches, and of a single curve the band of its extremes."""
    lines: dict[str, dict[float, Estimate]] = {}
    for name, curve in curves.items():
        for part in np.array_split(np.asarray(curve, dtype=np.float64), min(_STRETCHES, len(curve))):
            step, mean = part.mean(axis=0).tolist()
            ends = (float(part[:, 1].min()), float(part[:, 1].max())) if len(curves) == 1 else ()
            lines.setdefault(name, {})[step] = Estimate(mean, *ends)
    return line_panel(title, lines, styles, unit)
