"""Panels that share a page: alike in light and dark, apart in their identifiers."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from condgen.report.figures import (
    COLOURS,
    INK,
    Panel,
    curve_panel,
    line_panel,
    method_styles,
    save_panels,
    style_of,
    to_svg,
)
from condgen.rows import Estimate

TEXT = "{http://www.w3.org/2000/svg}text"


def panel(title="a title", alt="a line"):
    def draw(axes):
        axes.plot([0, 1], [0, 1], color=COLOURS["blue"], marker="o")

    return Panel(title, alt, draw, method_styles(["ce <b>"]))


def test_ink_and_series_take_the_colours_of_the_page():
    svg = to_svg(panel(), "first")
    assert INK not in svg
    assert "currentColor" in svg
    assert "stroke: var(--blue, #0072b2)" in svg
    assert not re.search(r"(?<!, )#0072b2", svg)


@pytest.mark.parametrize("title", ["$x^", "_hidden", "<b>&\"'", "two\nlines", "bell\x07", "猫", "--> <!--", r"\frac"])
def test_any_name_can_be_a_title(title):
    root = ElementTree.fromstring(to_svg(panel(title, title), "first"))
    expected = title.replace("\n", " ").replace("\x07", "␇")
    assert expected in [element.text for element in root.iter(TEXT)]
    assert root.get("aria-label") == expected


def test_panels_in_one_picture(tmp_path):
    save_panels([panel(), panel(), panel()], tmp_path / "new" / "p.png", columns=2, legend=True)
    with Image.open(tmp_path / "new" / "p.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20


def test_methods_and_classes_look_different():
    styles = method_styles([*map(str, range(24)), "3"])
    assert list(styles) == list(map(str, range(24)))
    assert len({(style.colour, style.marker) for style in styles.values()}) == 24
    assert len(method_styles(map(str, range(100)))) == 100  # more than there are looks
    assert len({(style_of(i).colour, style_of(i).marker) for i in range(24)}) == 24


@pytest.mark.parametrize(
    ("values", "scale"), [((1, 2), "linear"), ((1, 30), "log"), ((0, 30), "linear"), ((-30, 1), "symlog")]
)
def test_values_that_span_decades_have_a_logarithmic_axis(values, scale):
    axes = Figure().add_subplot()
    lines = {"a": {float(x): Estimate.within(value, 0.1) for x, value in enumerate(values)}}
    line_panel("t", lines, method_styles(["a"]), "u").draw(axes)
    assert axes.get_yscale() == scale


@pytest.mark.parametrize("n", [1, 2, 79, 500])
def test_curves_of_any_length(n):
    curve = [(10 * i, 100.0 / (1 + i)) for i in range(n)]
    drawn = curve_panel("score", {"loss": curve}, {"loss": style_of(0)})
    assert drawn.alt.startswith("score, loss, at step ")
    assert to_svg(drawn, "t")
