"""Whether a classifier is any good, as a reader of the page learns it."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from condgen.report import build_report, classifier_rows, classifier_table, draw_calibration
from condgen.report.classifier_plots import history_panel, quantity_panel, scale_panel, spans
from condgen.report.classifier_section import classifier_section
from condgen.report.drawing import method_styles
from condgen.report.inputs import Run, read_run

TITLE = "Is the classifier any good, and at which noise levels?"
STYLES = method_styles(["ce", "dlsm"])


def row(sigma, gain=-0.01, scale=0.9, z=10.0, who="ce", **changes):
    made = {"classifier": who, "sigma": sigma, "n": 360, "draws": 4, "accuracy": 0.5, "cross_entropy": 1.0, "ece": 0.02}
    made |= {
        "norm": 0.3,
        "gain": gain,
        "gain_se": 0.001,
        "scale": scale,
        "scale_se": 0.05,
        "scale_gain": -abs(gain),
        "z": z,
    }
    return made | changes


ROWS = [row(0.1, 0.0, 7.0, 2.0), row(1, -0.01, 0.9, 9.0), row(2, -0.02, 1.1, 8.0), row(40, 0.008, 0.3, 5.0)]


def words(rows):
    section = classifier_section(Run(folder=None, name="r", classifiers=rows), method_styles(["ce", "dlsm"]))
    return [block.text for block in section.blocks if block.kind == "prose"]


def test_where_a_classifier_helps_and_harms_is_said_in_words():
    assert words(ROWS)[1] == (
        "ce: guidance surely helps at σ = 1 to 40, with best scales of 0.3 to 1.1. "
        "At scale 1 it surely harms at σ = 40. Neither is sure, or it hardly matters, at σ = 0.1."
    )
    assert words([row(1, 0.0, 0.1, 1.0), row(2, 0.01, -0.5, -4.0)])[1] == (
        "ce: no guidance surely helps at any noise level. At scale 1 it surely harms at σ = 2. "
        "Neither is sure, or it hardly matters, at σ = 1."
    )
    bare = {key: value for key, value in row(1).items() if key not in ("gain", "gain_se", "scale", "scale_se", "z")}
    assert len(words([bare])) == 1  # without a score model nothing can be said of gains


def test_neighbouring_levels_are_one_span():
    assert spans([1, 2, 3, 4, 5], [True, True, False, True, False]) == "σ = 1 to 2, 4"
    assert spans([1], [False]) == ""


def test_the_table_gives_intervals_and_the_scale_to_use():
    rows = classifier_rows(ROWS[::-1])["ce"]
    assert [one.sigma for one in rows] == [0.1, 1, 2, 40]
    table = classifier_table(rows, "ce")
    assert table.header == ("σ", "accuracy", "CE", "ECE", "|g|", "gain", "best scale", "use")
    assert table.rows[1] == ("1", "0.500", "1.000", "0.020", "0.3", "-10.00 ± 2.00", "0.90 ± 0.10", "0.90")
    assert [cells[-1] for cells in table.rows] == ["0.00", "0.90", "1.10", "0.30"]
    for condition in ("360", "draws of each: 4", "times 1e-03", "3 standard errors"):
        assert condition in table.caption
    bare = classifier_rows(
        [{k: v for k, v in ROWS[0].items() if k not in ("gain", "gain_se", "scale", "scale_se", "z")}]
    )
    assert classifier_table(bare["ce"], "ce").header[-1] == "|g|"


def test_panels_show_every_classifier_and_grey_where_guidance_is_off():
    found = classifier_rows([*ROWS, *(row(s, who="dlsm") for s in (0.1, 1, 40))])
    plot = quantity_panel("gain", found, STYLES, "p")
    assert plot.alt.startswith("gain over zero guidance by noise level: ce 0 at σ = 0.1 to 0.008 at σ = 40; dlsm")
    for style in STYLES.values():
        assert style.colour in plot.svg
    some, none = (scale_panel("ce", rows, STYLES["ce"], "p") for rows in (found["ce"], found["dlsm"]))
    assert "Guidance is off at 1 of 4 levels." in some.alt
    assert "Guidance is off at 0 of 3 levels." in none.alt
    grey = re.compile(r"opacity: 0\.1[;\"]")
    assert len(grey.findall(some.svg)) == 1
    assert not grey.findall(none.svg)
    bare = [one.model_copy(update={"gain": None, "scale": None}) for one in found["ce"]]
    assert quantity_panel("gain", {"ce": bare}, STYLES, "p") is None
    assert scale_panel("ce", bare, STYLES["ce"], "p") is None


@pytest.mark.parametrize("rows", [ROWS[:1], [row(1, norm=0.0, scale=0.0, scale_se=0.0, z=0.0)]], ids=["one", "zero"])
def test_odd_classifiers_can_be_drawn(rows, tmp_path):
    found = classifier_rows(rows)["ce"]
    for quantity in ("accuracy", "norm", "gain"):
        assert quantity_panel(quantity, {"ce": found}, STYLES, "p")
    assert scale_panel("ce", found, STYLES["ce"], "p")
    draw_calibration("ce <b>$x^", found, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_training_is_shown_from_first_to_last():
    rows = classifier_rows(ROWS)["ce"]
    plot = history_panel("cross_entropy", [(step, rows) for step in range(100, 1100, 100)], "ce", "h")
    assert re.findall(r"step ([\d,]+)", plot.alt) == ["100", "400", "700", "1,000"]


def test_a_run_shows_its_calibration_and_without_it_the_last_look(digits_run):
    folder = digits_run()
    html = build_report(folder).read_text()
    assert TITLE in html
    assert "test (held out)" in html
    assert len(re.findall("best scale: ", html)) >= 2
    assert "In the course of training" in html
    assert json.loads((folder / "report.json").read_text())["rows"]["classifiers"]
    (folder / "classifiers.json").unlink()
    html = build_report(folder).read_text()
    assert TITLE in html
    assert "Measured at the end of training, with one noise draw a sample." in html


def test_calibrations_below_single_folders_are_found(digits_run, tmp_path):
    folder, place = digits_run(), tmp_path / "alone" / "classifier-ce"
    text = json.dumps(
        {"what": {"n": 360}, "rows": [{k: v for k, v in one.items() if k != "classifier"} for one in ROWS]}
    )
    (place / "calibration").mkdir(parents=True)
    (place / "calibration" / "calibration.json").write_text(text)
    for where in (place, place / "calibration", place.parent):
        run = read_run(where)
        assert [one["classifier"] for one in run.classifiers] == ["ce"] * 4
        assert run.calibrated == {"n": 360}
    shutil.move(place, place.with_name("classifier-ce.before-0123"))
    assert read_run(tmp_path / "alone").is_empty
    shutil.copy(folder / "classifier-dlsm" / "log.jsonl", tmp_path / "alone")
    assert [step for step, _ in read_run(tmp_path / "alone").checks["alone"]] == [1000, 2000, 4000]
