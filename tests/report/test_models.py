"""Whether a classifier is any good and a generator still varied, as a reader of the page learns it."""

import numpy as np
import pytest
from PIL import Image

from condgen.diagnostics.classifier_errors import LevelRow
from condgen.errors import UserError
from condgen.report.figures import COLOURS, method_styles, save_panels, to_svg
from condgen.report.load import read_run
from condgen.report.models import (
    classifier_panels,
    classifier_table,
    classifiers_section,
    draw_previews,
    generators_section,
)
from condgen.report.page import Figure

STYLES = method_styles(["ce", "dlsm"])


def level(sigma, gain=-0.01, scale=0.9, z=10.0, **changes):
    made = {"classifier": "ce", "sigma": sigma, "n": 360, "draws": 4, "accuracy": 0.5, "cross_entropy": 1.0}
    made |= {"ece": 0.02, "norm": 0.3, "gain": gain, "gain_se": 0.001, "scale": scale, "scale_se": 0.05}
    return LevelRow(**made | {"scale_gain": -abs(gain), "z": z} | changes)


ROWS = [level(0.1, 0.0, 7.0, 2.0), level(1, -0.01, 0.9, 9.0), level(2, -0.02, 1.1, 8.0), level(40, 0.008, 0.3, 5.0)]


def test_classifiers_have_intervals_and_the_scale_to_use():
    table = classifier_table(ROWS, "ce")
    assert table.header == ("σ", "accuracy", "CE", "ECE", "|g|", "gain", "best scale", "use")
    assert table.texts[1] == ["1", "0.5", "1", "0.02", "0.3", "-0.0100 ± 0.0020", "0.90 ± 0.10", "0.9"]
    assert [cells[-1] for cells in table.texts] == ["0", "0.9", "1.1", "0.3"]
    assert "use" not in classifier_table([ROWS[0].model_copy(update={"gain": None})], "ce").header


def test_panels_show_every_classifier_and_a_scale_of_zero_where_guidance_is_off():
    panels = classifier_panels({"ce": ROWS, "dlsm": [level(s) for s in (0.1, 1, 40)]}, STYLES)
    by_title = {panel.title: panel for panel in panels}
    gain = by_title["gain over zero guidance"]
    assert "at noise level σ 0.1 to 40: ce 0 to 0.008; dlsm" in gain.alt
    assert all(style.colour in to_svg(gain, "g") for style in STYLES.values())
    assert by_title["scale to use"].alt.endswith("ce 0 to 0.3; dlsm 0.9 to 0.9.")
    bare = [row.model_copy(update={"gain": None, "scale": None}) for row in ROWS]
    assert [panel.title for panel in classifier_panels({"ce": bare}, STYLES)][-1] == "length of the gradient"


@pytest.mark.parametrize("rows", [ROWS[:1], [level(1, norm=0.0, scale=0.0, scale_se=0.0, z=0.0)]], ids=["one", "zero"])
def test_single_levels_and_zeros_can_be_drawn(rows, tmp_path):
    name = "ce <b>$x^"
    save_panels(classifier_panels({name: rows}, method_styles([name])), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 400


def test_measures_in_training_are_a_curve_and_stand_in_for_a_calibration(digits_run):
    (digits_run / "classifiers.json").unlink()
    by_level, training = [one for one in classifiers_section(read_run(digits_run)) if isinstance(one, Figure)]
    assert "Measured at the end of training, with one noise draw a sample." in by_level.caption
    run = read_run(digits_run)
    means = [sum(row.cross_entropy for row in rows) / len(rows) for _, rows in run.checks["dlsm"]]
    alt = f"at step 1000 to 4000: dlsm {means[0]:.3g} to {means[-1]:.3g}."
    assert training.panels[0].alt.endswith(alt)


SIDE = 48  # of an enlarged image


def test_previews_are_drawn_and_the_last_one_counts(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g", spreads=(0.1, 0.1, 0.8, 0.8))
    (figure,) = (block for block in generators_section(read_run(folder)) if isinstance(block, Figure))
    (panel,) = figure.panels
    assert "in-class std ratio 0.1 to 0.8" in panel.alt
    assert to_svg(panel, "p")
    assert not read_run(folder).generators["g"].previews[-1].collapsed


def test_pictures_have_steps_in_columns_and_classes_in_rows(tmp_path, make_a_generator):
    paths = draw_previews(make_a_generator(tmp_path / "g"))
    assert [path.name for path in paths] == ["previews.png", "grid.png"]
    strip, grid = (np.asarray(Image.open(path).convert("L")) for path in paths)
    lefts = [np.flatnonzero((strip == 60 * step).sum(0) >= SIDE).min() for step in range(4)]
    assert lefts == sorted(set(lefts))
    assert (grid == 60 + 3).sum() < SIDE  # the last preview alone


def test_points_are_drawn_in_the_colours_of_their_classes(tmp_path, make_a_generator):
    (path,) = draw_previews(make_a_generator(tmp_path / "g", points=True))
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for colour in ("blue", "vermillion"):
        wanted = [int(COLOURS[colour][place : place + 2], 16) for place in (1, 3, 5)]
        assert (np.abs(picture - wanted).sum(-1) < 12).sum() > 4 * 4


def test_nothing_to_draw_and_damaged_previews(tmp_path, make_a_generator):
    assert draw_previews(tmp_path) == []
    folder = make_a_generator(tmp_path / "g")
    (folder / "previews" / "00000400.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="00000400"):
        draw_previews(folder)
    assert len(draw_previews(folder, until=300)) == 2
