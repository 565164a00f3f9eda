"""Whether a classifier is any good, as a reader of the page learns it."""

import re

import pytest
from PIL import Image

from condgen.report import build_report, draw_calibration
from condgen.report.classifiers import _panels, classifiers_section
from condgen.report.figures import method_styles, to_svg
from condgen.report.load import Run
from condgen.report.page import Prose
from condgen.report.rows import ClassifierRow

STYLES = method_styles(["ce", "dlsm"])


def level(sigma, gain=-0.01, scale=0.9, z=10.0, **changes):
    made = {"classifier": "ce", "sigma": sigma, "n": 360, "draws": 4, "accuracy": 0.5, "cross_entropy": 1.0}
    made |= {"ece": 0.02, "norm": 0.3, "gain": gain, "gain_se": 0.001, "scale": scale, "scale_se": 0.05}
    return ClassifierRow(**made | {"scale_gain": -abs(gain), "z": z} | changes)


ROWS = [level(0.1, 0.0, 7.0, 2.0), level(1, -0.01, 0.9, 9.0), level(2, -0.02, 1.1, 8.0), level(40, 0.008, 0.3, 5.0)]


def words(rows):
    section = classifiers_section(Run(folder=None, name="r", classifiers={"ce": rows}), STYLES)
    return [block.text for block in section.blocks if isinstance(block, Prose)][1:]


def test_where_a_classifier_helps_and_harms_is_said():
    assert words(ROWS) == [
        "ce: guidance surely helps at σ = 1 to 40, with best scales of 0.3 to 1.1. "
        "At scale 1 it surely harms at σ = 40. Neither is sure, or it hardly matters, at σ = 0.1."
    ]
    assert words([level(1, 0.0, 0.1, 1.0), level(2, 0.01, -0.5, -4.0)]) == [
        "ce: no guidance surely helps at any noise level. At scale 1 it surely harms at σ = 2. "
        "Neither is sure, or it hardly matters, at σ = 1."
    ]
    assert words([ROWS[0].model_copy(update={"gain": None})]) == []  # no score model, no gains


def test_panels_show_every_classifier_and_grey_where_guidance_is_off():
    panels = _panels({"ce": ROWS, "dlsm": [level(s) for s in (0.1, 1, 40)]}, STYLES)
    by_title = {panel.title: panel for panel in panels}
    gain = by_title["gain over zero guidance"]
    assert "ce 0 at σ = 0.1 to 0.008 at σ = 40; dlsm" in gain.alt
    assert all(style.colour in to_svg(gain, "g") for style in STYLES.values())
    grey = re.compile(r"opacity: 0\.1[;\"]")
    assert len(grey.findall(to_svg(by_title["best scale: ce"], "c"))) == 1
    assert not grey.findall(to_svg(by_title["best scale: dlsm"], "d"))
    bare = [row.model_copy(update={"gain": None, "scale": None}) for row in ROWS]
    assert [panel.title for panel in _panels({"ce": bare}, STYLES)][-1] == "length of the gradient"


@pytest.mark.parametrize("rows", [ROWS[:1], [level(1, norm=0.0, scale=0.0, scale_se=0.0, z=0.0)]], ids=["one", "zero"])
def test_single_levels_and_zeros_can_be_drawn(rows, tmp_path):
    draw_calibration("ce <b>$x^", rows, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 400


def test_without_a_calibration_the_last_measures_in_training_are_shown(digits_run):
    (digits_run / "classifiers.json").unlink()
    html = build_report(digits_run).read_text()
    assert "Measured at the end of training, with one noise draw a sample." in html
    course = re.search(r'aria-label="cross-entropy of dlsm in training, by noise level: ([^"]*)"', html).group(1)
    assert re.findall(r"step ([\d,]+)", course) == ["1,000", "2,000", "4,000"]
