"""Pictures that share a page: alike in light and dark, apart in their names."""

import re
from xml.etree import ElementTree

from condgen.report.drawing import COLOURS, INK, class_style, drawing, finish, method_styles, new_axes


def draw(title="a title", name="first", alt="a line"):
    with drawing():
        axes = new_axes(title)
        axes.plot([0, 1], [0, 1], color=COLOURS["blue"], marker="o")
        return finish(axes, name, alt)


def test_ink_and_series_take_the_colours_of_the_page():
    svg = draw().svg
    assert INK not in svg
    assert "currentColor" in svg
    assert re.search(r"stroke: var\(--blue, #0072b2\)", svg)
    assert not re.search(r"(?<!, )#0072b2", svg)


def test_no_identifier_is_shared_and_every_reference_is_met():
    one, two = draw(name="one").svg, draw(name="two").svg
    identifiers = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    for svg, known in zip((one, two), identifiers, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) == known


def test_any_name_can_be_a_title():
    for title in ("$x^", "_hidden", "<b>&\"'", "two\nlines", "bell\x07", "猫", "--> <!--", r"\frac"):
        plot = draw(title=title, alt=title)
        root = ElementTree.fromstring(plot.svg)
        shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        expected = title.replace("\n", " ").replace("\x07", "\ufffd")
        assert expected in shown
        assert root.get("aria-label") == plot.alt == expected


def test_a_title_longer_than_its_figure_is_cut():
    with drawing():
        axes = new_axes("é" * 200, width=3.6)
        axes.plot([0, 1], [0, 1])
        plot = finish(axes, "first", "é" * 200)
    shown = [
        element.text or "" for element in ElementTree.fromstring(plot.svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert "é" * 49 + "…" in shown
    assert plot.alt == "é" * 200
    box = axes.get_position()
    assert box.width > 0.7  # the axes have kept their place


def test_nothing_reaches_beyond_the_picture():
    svg = draw().svg
    assert "<style" not in svg
    assert "metadata" not in svg
    assert set(re.findall(r'https?://[^"]+', svg)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert draw().svg == svg


def test_methods_keep_their_look_whatever_stands_beside_them():
    few, many = method_styles(["dlsm", "ce"]), method_styles(["mine", "ce", "yours", "dlsm", "prior"])
    assert few["dlsm"] == many["dlsm"]
    assert few["ce"] == many["ce"]
    assert len({(style.colour, style.marker) for style in many.values()}) == 5
    assert len({(class_style(i).colour, class_style(i).marker) for i in range(24)}) == 24


def test_any_number_of_methods_look_different_and_variants_keep_the_colour():
    names = ["prior", "zero guidance", "ce", "ce x10", "ce-calibrated", "dlsm, calibrated", "dlsm", "cfg", "per-class"]
    names += [f"mine {n}" for n in range(6)] + [f"other{n}" for n in range(12)]
    styles = method_styles(names)
    assert list(styles) == names
    assert len({(style.colour, style.marker, style.line, style.hollow) for style in styles.values()}) == len(names)
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(names)
    for variant, base in (("ce x10", "ce"), ("ce-calibrated", "ce"), ("dlsm, calibrated", "dlsm")):
        assert styles[variant].colour == styles[base].colour
        assert styles[variant].line != styles[base].line
    assert method_styles(["dlsm, calibrated"])["dlsm, calibrated"].colour == styles["dlsm"].colour
    assert len(method_styles(map(str, range(100)))) == 100  # more than there are looks


def test_a_variant_belongs_to_the_longest_name_that_it_begins_with():
    styles = method_styles(["one-step", "one-step-smm", "ce", "ce-calibrated", "mine-b", "mine"])
    for variant, base in (("one-step-smm", "one-step"), ("ce-calibrated", "ce"), ("mine-b", "mine")):
        assert styles[variant].colour == styles[base].colour
        assert styles[variant] != styles[base]
    assert styles["one-step"].colour != styles["ce"].colour
