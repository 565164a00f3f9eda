"""Plots, drawn by matplotlib: as SVG that is part of a page, or several in one PNG.

In a page the drawn colours are replaced by its CSS variables, so that one plot reads in light and in dark. The same
input gives the same bytes. Colours follow Okabe & Ito (2008), "Color universal design"; lines differ in marker or dash
too, never in colour alone.
"""

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from condgen.report.estimates import SIGMA

__all__ = [
    "COLOURS",
    "INK",
    "Array",
    "Panel",
    "Style",
    "class_style",
    "curve_panel",
    "drawing",
    "in_stretches",
    "level_axis",
    "line_style",
    "log_axis",
    "method_styles",
    "printable",
    "save_panels",
    "to_svg",
]

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
_KNOWN = {"ce": "vermillion", "dlsm": "blue", "cfg": "purple", "one": "green"}  # families, by their first word
_WITHOUT = ("prior", "unguided", "no", "zero")
_PER_INCH = 14  # characters of a title
_STRETCHES = 80
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@dataclass(frozen=True)
class Style:
    """How a method or class looks in every plot."""

    colour: str
    marker: str
    line: str = "-"

    @property
    def in_html(self) -> tuple[str, str, str]:
        """For a legend: the colour and the kind of line in CSS, and the marker as a character."""
        return _CSS[self.colour], _LINES[self.line], _GLYPHS[self.marker]


_CSS = {colour: f"var(--{name}, {colour})" for name, colour in COLOURS.items()} | {INK: "currentColor"}


def method_styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style for each method: variants, such as "ce x10" of "ce", share a colour and differ in marker and line.

    No two are alike until there are more than looks.
    """
    names = list(dict.fromkeys(methods))
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=len):
        families.setdefault(re.split("[ ,-]", name.lower())[0], []).append(name)
    own = {family: COLOURS[_KNOWN[family]] for family in families if family in _KNOWN}
    spare = itertools.cycle([colour for colour in COLOURS.values() if colour not in own.values()] or COLOURS.values())
    out: dict[str, Style] = {}
    taken: set[tuple[str, str]] = set()
    for family, members in sorted(families.items()):
        colour = INK if family in _WITHOUT else own.get(family) or next(spare)
        for place, name in enumerate(members):
            looks = [(c, marker) for c in (colour, *COLOURS.values()) for marker in _MARKERS]
            look = next((one for one in looks if one not in taken), looks[0])
            out[name] = Style(*look, "--" if family in _WITHOUT[1:] else list(_LINES)[place % 4])
            taken.add(look)
    return {name: out[name] for name in names}


def class_style(index: int) -> Style:
    """The style of a class, or of one of several runs; the first 24 differ."""
    return Style(list(COLOURS.values())[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)])


def line_style(style: Style) -> dict[str, Any]:
    """The style as arguments of matplotlib's `plot`."""
    return {"color": style.colour, "marker": style.marker, "linestyle": style.line}


def printable(text: str) -> str:
    """The text on one line and without the control characters that XML forbids."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split()))


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: above it.
        alt: what it shows, in words.
        draw: draws into given axes.
        height: in inches; the width is 3.9.
    """

    title: str
    alt: str
    draw: Callable[[Axes], None]
    height: float = 2.9

    def draw_with_title(self, axes: Axes) -> None:
        """Draws; a title too long for the panel is cut."""
        words, most = printable(self.title), int(_WIDTH * _PER_INCH)
        axes.set_title(words if len(words) <= most else words[: most - 1] + "…")
        self.draw(axes)


_WIDTH = 3.9


@contextmanager
def drawing(salt: str = "condgen") -> Iterator[None]:
    """The style of all plots; identifiers in SVG depend on the salt."""
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": salt}), warnings.catch_warnings():
        # Glyphs are measured in matplotlib's own font and shown in the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a very long name
        yield


def to_svg(panel: Panel, name: str) -> str:
    """The panel as an SVG element whose identifiers are unique where its name is."""
    buffer = io.StringIO()
    with drawing(salt=name):
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
    return f'{head} aria-label="{escape(printable(panel.alt))}" stroke-linejoin="round">' + svg.partition(">")[2]


def save_panels(
    panels: Sequence[Panel], path: Path, columns: int = 3, title: str = "", legend: Mapping[str, Style] | None = None
) -> None:
    """Panels in one PNG, for places that are no report."""
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    with drawing():
        height = max(panel.height for panel in panels) * lines + 0.3 * (bool(title) + bool(legend))
        figure = Figure(figsize=(_WIDTH * columns, height), layout="constrained")
        for place, panel in enumerate(panels, start=1):
            panel.draw_with_title(figure.add_subplot(lines, columns, place))
        if title:
            figure.suptitle(printable(title))
        if legend:
            signs = [figure.axes[0].plot([], [], **line_style(style))[0] for style in legend.values()]
            figure.legend(signs, map(printable, legend), loc="outside lower center", ncols=max(1, 2 * columns))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """A logarithmic axis with plain numbers, for values from low to high."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low >= 30 else (1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_locator(NullLocator())


def _tick(value: float, _: int) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"1e{math.log10(value):.0f}"


def level_axis(axes: Axes, levels: Iterable[float]) -> None:
    """A horizontal axis of noise levels, logarithmic."""
    levels = list(levels)
    log_axis(axes, "x", min(levels), max(levels))
    axes.set_xlabel(f"noise level {SIGMA}")


def in_stretches(curve: Sequence[tuple[int, float]]) -> tuple[list[float], ...]:
    """A log in at most 80 equal stretches: the mean step, and the mean, least and greatest value of each."""
    stretches = np.array_split(np.asarray(curve, dtype=np.float64), min(_STRETCHES, len(curve)))
    at, mean = zip(*(stretch.mean(axis=0).tolist() for stretch in stretches), strict=True)
    low, high = ([float(end(stretch[:, 1])) for stretch in stretches] for end in (np.min, np.max))
    return list(at), list(mean), low, high


def curve_panel(
    title: str, curves: Mapping[str, Sequence[tuple[int, float]]], styles: Mapping[str, Style], unit: str = "loss"
) -> Panel:
    """Curves against the training step: means over equal stretches, and of a single curve the band of its extremes."""
    drawn = {name: in_stretches(curve) for name, curve in curves.items()}

    def draw(axes: Axes) -> None:
        for name, (at, mean, low, high) in drawn.items():
            axes.plot(at, mean, **line_style(styles[name]), markevery=max(1, len(at) // 8))
            if len(drawn) == 1:
                axes.fill_between(at, low, high, color=styles[name].colour, alpha=0.15, linewidth=0)
        values = [value for _, mean, _, _ in drawn.values() for value in mean]
        if min(values) > 0 and max(values) > 20 * min(values):
            log_axis(axes, "y", min(values), max(values))
        axes.set(xlabel="step", ylabel=unit)

    ends = [f"{name} {mean[0]:.3g} to {mean[-1]:.3g}" for name, (_, mean, _, _) in drawn.items()]
    return Panel(title, f"{unit} of {title} against the step: {'; '.join(ends)}.", draw)
