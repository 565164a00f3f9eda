"""How matplotlib's figures become part of a page: SVG that takes its ink from the text around it.

Matplotlib lays out axes, ticks and markers, here and in the pictures of benches; ours is only what makes its SVG a part
of the page, the fifty lines from `finish` on. The report of recipes/digits.yaml has 23 panels and 17 signs of legends,
which take 3.5 of the 4 s of the report, and 500 kB of its 900.

Figures are drawn with the Agg-free object interface (never pyplot, so nothing global is opened) and written as SVG with
real text. The page's own colours then replace the drawn ones, by CSS: ink becomes `currentColor`, and every series
colour a variable with the drawn colour to fall back on, so one picture reads in light and in dark. Identifiers are made
unique to the picture, because several share a page. The same input gives the same bytes.

Colours follow Okabe & Ito (2008), "Color universal design"; a method has its own marker too, never colour alone.
"""

import io
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "INK",
    "Plot",
    "Style",
    "class_style",
    "drawing",
    "finish",
    "method_styles",
    "new_axes",
    "printable",
]

INK = "#010203"  # stands for the page's text colour; no drawing uses it otherwise
COLOURS: dict[str, str] = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_SVG = "http://www.w3.org/2000/svg"
_PER_INCH = 14  # characters of a title that fit into an inch
_XLINK = "http://www.w3.org/1999/xlink"

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
}


@dataclass(frozen=True)
class Plot:
    """An SVG element to stand in a page, and the same said in words."""

    svg: str
    alt: str


@dataclass(frozen=True)
class Style:
    """How a method or class looks in every plot."""

    colour: str
    marker: str
    line: str = "-"
    hollow: bool = False


_METHODS: dict[str, Style] = {
    "prior": Style(INK, "D"),
    "unguided": Style(INK, "o", "--", hollow=True),
    "no guidance": Style(INK, "o", "--", hollow=True),
    "zero guidance": Style(INK, "o", "--", hollow=True),
    "ce": Style(COLOURS["vermillion"], "s"),
    "dlsm": Style(COLOURS["blue"], "o"),
    "cfg": Style(COLOURS["purple"], "P"),
    "one-step": Style(COLOURS["green"], "^"),
}
_LINES = ("--", "-.", ":")


def method_styles(methods: Iterable[str]) -> dict[str, Style]:
    """A fixed look for the methods that condgen knows; others take what is left, so that no two of them look alike.

    A variant, such as "ce x10" or "ce-calibrated", has the colour of what it is a variant of, with another marker and
    another line.
    """
    names = list(dict.fromkeys(methods))
    out = {name: _METHODS[name.lower()] for name in names if name.lower() in _METHODS}
    taken = {(style.colour, style.marker) for style in _METHODS.values()}
    spare = itertools.cycle(list(COLOURS.values())[::-1])
    for name in sorted(names, key=lambda name: name in out or re.split("[ ,-]", name)[0] != name):  # bases come first
        heads = [name[: found.start()] for found in re.finditer("[ ,-]+", name)][::-1]  # the longest first
        base = next((head for head in heads if head in out or head.lower() in _METHODS), name)
        family = out.get(base) or _METHODS.get(base.lower())
        if name in out:
            continue
        colours = [family.colour] if family and base != name else [next(spare)]
        colours += list(COLOURS.values())  # for families of more variants than there are markers
        markers = [_MARKERS[(len(out) + place) % len(_MARKERS)] for place in range(len(_MARKERS))]
        free = [(colour, marker) for colour in colours for marker in markers if (colour, marker) not in taken]
        colour, marker = free[0] if free else (colours[0], markers[0])
        taken.add((colour, marker))
        out[name] = Style(colour, marker, _LINES[len(out) % len(_LINES)], hollow=bool(family) and base != name)
    return {name: out[name] for name in names}


def class_style(index: int) -> Style:
    """The look of the class of this index in scatter plots; the first 24 differ."""
    colours = list(COLOURS.values())
    return Style(colours[index % len(colours)], _MARKERS[index % len(_MARKERS)])


def printable(text: str) -> str:
    """The text on one line and without the control characters that XML forbids."""
    one_line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in one_line)


@contextmanager
def drawing() -> Iterator[None]:
    """The house style for figures made and finished inside the block."""
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "condgen"}), warnings.catch_warnings():
        # Glyphs are measured with matplotlib's own font but shown by the reader's, which may well have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a name is longer than its figure
        yield


def new_axes(title: str = "", *, width: float = 3.9, height: float = 2.9) -> Axes:
    """Axes alone in a figure of this size in inches."""
    axes = Figure(figsize=(width, height), layout="constrained").add_subplot()
    words, most = printable(title), int(width * _PER_INCH)
    axes.set_title(words if len(words) <= most else words[: most - 1] + "…")  # a longer one takes the axes' place
    return axes


def finish(axes: Axes, name: str, alt: str) -> Plot:
    """The figure of `axes` as a plot.

    Args:
        axes: drawn within `drawing()`.
        name: unique in the page, of letters, digits and hyphens.
        alt: what the picture shows, in words.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None:
            root.remove(child)  # who made it, and a style rule that would reach the whole page
    return Plot(_inline(root, name, printable(alt)), printable(alt))


def _inline(root: ElementTree.Element, name: str, alt: str) -> str:
    variables = {colour: f"var(--{word}, {colour})" for word, colour in COLOURS.items()} | {INK: "currentColor"}
    text = "\n".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"(?:^#|url\(#)([\w.-]+)", text, flags=re.MULTILINE))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key == f"{{{_XLINK}}}href" and not value.startswith("#"):
                value = "".join(value.split())
            else:
                value = re.sub(r"(^#|url\(#)(?=[\w.-]+\)?$)", rf"\g<1>{name}-", value)
            if key in ("d", "x", "y"):  # a hundredth of a point is finer than any screen or printer
                value = re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match.group()):.2f}", value)
            if key == "style":
                value = re.sub(r"font-family: [^;]+;? ?", "", value)
                value = re.sub("|".join(variables), lambda match: variables[match.group()], value)
            element.set(key, value)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    for key, value in (("role", "img"), ("aria-label", alt), ("stroke-linejoin", "round")):
        root.set(key, value)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")
