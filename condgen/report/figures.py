"""Plots, drawn by matplotlib: as SVG that is part of a page, or several in one PNG.

In a page the drawn colours are replaced by its CSS variables, so that one plot reads in light and in dark. The same
input gives the same bytes. Colours follow Okabe & Ito (2008), "Color universal design"; lines differ in marker or dash
too, never in colour alone.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from markupsafe import escape
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

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
_MARKERS = tuple(_GLYPHS)
_LINES = {"-": "solid", "--": "dashed", "-.": "dashed", ":": "dotted", "none": "none"}
_DASHES = ("-", "--", "-.", ":")
_PER_INCH = 14  # characters of a title
_STRETCHES = 80
_LEAST = 1e-6  # of the largest value; smaller ones have no place on a logarithmic axis
LEVEL = f"noise level {SIGMA}"


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str
    line: str = "-"

    @property
    def in_html(self) -> tuple[str, str, str]:
        """For a legend: the colour and the kind of line in CSS, and the marker as a character."""
        return _CSS[self.colour], _LINES[self.line], _GLYPHS[self.marker]


_CSS = {colour: f"var(--{name}, {colour})" for name, colour in COLOURS.items()} | {INK: "currentColor"}


def method_styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each method, in their order: the first 24 differ in colour and marker, and neighbours in line."""
    known = list(dict.fromkeys(names))
    return {name: replace(class_style(place), line=_DASHES[place % len(_DASHES)]) for place, name in enumerate(known)}


def class_style(index: int) -> Style:
    """The style of a class, or of one of several runs; the first 24 differ."""
    return Style(list(COLOURS.values())[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)])


def _line_style(style: Style) -> dict[str, Any]:
    return {"color": style.colour, "marker": style.marker, "linestyle": style.line}


def _printable(text: str) -> str:
    """The text on one line and without the control characters that XML forbids."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split()))


@dataclass(frozen=True)
class Panel:
    title: str  # above it
    alt: str  # what it shows, as text
    draw: Callable[[Axes], None]  # draws into given axes
    height: float = 2.9  # in inches; the width is 3.9

    def draw_with_title(self, axes: Axes) -> None:
        """Draws; a title too long for the panel is cut."""
        words, most = _printable(self.title), int(_WIDTH * _PER_INCH)
        axes.set_title(words if len(words) <= most else words[: most - 1] + "…")
        self.draw(axes)


_WIDTH = 3.9


@contextmanager
def _drawing(salt: str = "condgen") -> Iterator[None]:
    """The style of all plots; identifiers in SVG depend on the salt."""
    with style.context("condgen.report.plots"), rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        # Glyphs are measured in matplotlib's own font and shown in the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a very long name
        yield


def to_svg(panel: Panel, name: str) -> str:
    """The panel as an SVG element whose identifiers are unique where its name is."""
    buffer = io.StringIO()
    with _drawing(salt=name):
        figure = Figure(figsize=(_WIDTH, panel.height))  # matplotlib's own layouts take half of a report's time
        margins = {"left": 0.72 / _WIDTH, "right": 1 - 0.08 / _WIDTH, "bottom": 0.5 / panel.height}
        figure.subplots_adjust(top=1 - 0.28 / panel.height, **margins)
        axes = figure.add_subplot()
        panel.draw_with_title(axes)
        axes.yaxis.set_label_coords(-0.18, 0.5)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # of elements that nothing refers to
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), svg)
    colours = re.compile("|".join(_CSS))
    svg = re.sub(r' style="[^"]*"', lambda style: colours.sub(lambda colour: _CSS[colour.group()], style.group()), svg)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size is not None
    head = (
        f'<svg {size.group()} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img"'
    )
    return f'{head} aria-label="{escape(_printable(panel.alt))}" stroke-linejoin="round">' + svg.partition(">")[2]


def save_panels(
    panels: Sequence[Panel], path: Path, columns: int = 3, legend: Mapping[str, Style] | None = None
) -> None:
    """Panels in one PNG, for places that are no report."""
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    with _drawing():
        height = max(panel.height for panel in panels) * lines + 0.3 * bool(legend)
        figure = Figure(figsize=(_WIDTH * columns, height), layout="constrained")
        for place, panel in enumerate(panels, start=1):
            panel.draw_with_title(figure.add_subplot(lines, columns, place))
        if legend:
            signs = [figure.axes[0].plot([], [], **_line_style(style))[0] for style in legend.values()]
            figure.legend(signs, map(_printable, legend), loc="outside lower center", ncols=max(1, 2 * columns))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")


def _log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """A logarithmic axis with plain numbers, for values from low to high."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low >= 30 else (1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_locator(NullLocator())


def _tick(value: float, _: int) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"1e{math.log10(value):.0f}"


# ----------------------------------------------------------------------------------------------------
# Lines


Lines: TypeAlias = Mapping[str, Mapping[float, Estimate]]
"""Estimates at rising x, by name."""


def line_panel(
    title: str,
    lines: Lines,
    styles: Mapping[str, Style],
    unit: str,
    x: str = "step",
    *,
    limits: tuple[float, float] | None = None,
    dashed: float | None = None,
    grey: Sequence[bool] = (),
    signed: bool = False,
) -> Panel:
    """Lines over x, with bands where all intervals of a line are known; `LEVEL` has a logarithmic axis.

    The axis of y is logarithmic, over six decades at most, where all values are above zero and span more than a factor
    of 20, and there are no limits. A dashed line serves as a reference; the ground is grey behind such x of the first
    line. Signed values have bars as intervals, and an axis that is logarithmic beyond the median interval.
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
            axes.plot(at, y, **_line_style(styles[name]), markevery=max(1, len(line) // 20))
            ends = [(one.low, one.high) for one in line.values() if one.low is not None and one.high is not None]
            if len(ends) < len(line):
                continue
            low, high = zip(*ends, strict=True)
            if signed:
                axes.vlines(at, low, high, color=styles[name].colour, linewidth=1)
            else:
                axes.fill_between(at, low, high, color=styles[name].colour, alpha=0.15, linewidth=0)
        if limits is not None:
            axes.set_ylim(limits)
        elif signed and 0 < 30 * typical < max(map(abs, values), default=0.0):
            axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(typical)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        elif 0 < least < largest / 20:
            _log_axis(axes, "y", least, largest)
            axes.set_ylim(max(least / 1.6, largest * _LEAST), largest * 2)
        if dashed is not None:
            axes.axhline(dashed, color=INK, linewidth=0.8, linestyle="--")
        first = np.array(list(next(iter(lines.values()))))
        edges = np.concatenate([first[:1], (first[1:] + first[:-1]) / 2, first[-1:]])
        for place in np.flatnonzero(grey):
            axes.axvspan(edges[place], edges[place + 1], color=INK, alpha=0.1, linewidth=0)
        axes.set(xlabel=x, ylabel=unit)

    ranges = {name: [one.value for one in line.values()] for name, line in lines.items()}
    ends = [f"{name} {y[0]:.3g} to {y[-1]:.3g}" for name, y in ranges.items()]
    alt = f"{title}, {unit}, at {x} {min(places):g} to {max(places):g}: {'; '.join(ends)}."
    return Panel(title, alt, draw)


def curve_panel(
    title: str, curves: Mapping[str, Sequence[tuple[int, float]]], styles: Mapping[str, Style], unit: str = "loss"
) -> Panel:
    """Logged values against the step: means over equal stretches, and of a single curve the band of its extremes."""
    lines = {}
    for name, curve in curves.items():
        stretches = np.array_split(np.asarray(curve, dtype=np.float64), min(_STRETCHES, len(curve)))
        means = [stretch.mean(axis=0).tolist() for stretch in stretches]
        ends = [(float(part[:, 1].min()), float(part[:, 1].max())) if len(curves) == 1 else () for part in stretches]
        lines[name] = {step: Estimate(mean, *end) for (step, mean), end in zip(means, ends, strict=True)}
    return line_panel(title, lines, styles, unit)
