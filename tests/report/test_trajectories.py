"""From noise to sample: every noise level in its place, every method in its row."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from report.run_folders import add_trajectories

from condgen.errors import UserError
from condgen.report import draw_trajectories, read_run
from condgen.report.trajectories import trajectories_section

NAMES = ["0", "1", "2"]


def rewrite(folder, **changes):
    """Changes the first row."""
    path = folder / "trajectories" / "trajectories.json"
    rows = json.loads(path.read_text())["rows"]
    path.write_text(json.dumps({"rows": [rows[0] | changes, *rows[1:]]}))


def test_states_and_estimates_stand_in_the_order_of_noise(digits_run):
    assert not list(trajectories_section(read_run(digits_run)))
    add_trajectories(digits_run, NAMES)
    _, first, second = trajectories_section(read_run(digits_run))
    assert (first.title, second.title) == ("Class 0", "Class 1")
    assert [row[0] for row in first.rows] == ["ce, seed 0", "dlsm, seed 0"]
    for kind, picture in enumerate(first.rows[0][1:]):
        assert picture.labels == ("40", "5", "0.7", "0.1", "0.005")
        with Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))) as line:
            pixels = np.asarray(line.convert("RGB"))[0, 4::9, 0]
        assert pixels.tolist() == [20 * i + 128 * kind for i in range(5)]


def test_paths_in_the_plane_have_a_panel_a_method(moons_run, tmp_path):
    add_trajectories(moons_run, ["upper", "lower"], points=True)
    _, states, estimates = trajectories_section(read_run(moons_run))
    assert [panel.title for panel in states.panels] == ["ce", "dlsm"]
    assert states.panels[0].alt == "Noised states of 2 samples by ce, σ from 40 to 0.005."
    assert estimates.title == "Denoised estimates"
    with Image.open(draw_trajectories(moons_run / "trajectories")) as picture:
        assert picture.width > 400


def test_trajectories_of_an_earlier_recipe_are_not_shown(digits_run):
    add_trajectories(digits_run, NAMES)
    about = json.loads((digits_run / "run.json").read_text())
    (digits_run / "run.json").write_text(json.dumps(about | {"stages": about["stages"][:-1]}))
    assert not list(trajectories_section(read_run(digits_run)))


def test_a_picture_has_states_at_the_left_and_estimates_at_the_right(digits_run):
    add_trajectories(digits_run, NAMES)
    with Image.open(draw_trajectories(digits_run / "trajectories")) as picture:
        grey = np.asarray(picture.convert("L"))
    for level in (20, 40, 60, 80, 148, 168, 188, 208):
        hits = np.flatnonzero((grey == level).sum(0) >= 40)
        assert len(hits) >= 48, level
        assert (hits.min() < grey.shape[1] / 2) == (level < 128)
    (digits_run / "trajectories" / "trajectories.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="holds no trajectories"):
        draw_trajectories(digits_run / "trajectories")


@pytest.mark.parametrize("path", [[], "gone.png", [["a"]]])
def test_paths_of_no_points_are_named(path, moons_run):
    add_trajectories(moons_run, ["upper", "lower"], points=True)
    rewrite(moons_run, x_t=path)
    with pytest.raises(UserError, match=r"trajectories\.json, rows, row 0: |gone"):
        list(trajectories_section(read_run(moons_run)))


@pytest.mark.parametrize("file", ["gone.png", "../../../elsewhere.png", "ce/0-x_t.png"])
def test_strips_that_are_not_what_they_should_be_are_named(file, digits_run, tmp_path):
    add_trajectories(digits_run, NAMES)
    shutil.copy(digits_run / "trajectories" / "ce/0-x_t.png", tmp_path / "elsewhere.png")
    rewrite(digits_run, x_t=file, **({"noise": [3.0, 2.0, 1.0]} if file.startswith("ce") else {}))
    with pytest.raises(UserError, match=rf"{re.escape(file.split('/')[-1])}|outside"):
        list(trajectories_section(read_run(digits_run)))
