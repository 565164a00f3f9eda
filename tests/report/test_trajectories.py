"""From noise to sample: every moment in its column, every method in its row."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from condgen.errors import UserError
from condgen.report import build_report, draw_trajectories
from condgen.report.grids import cut


def section(html, key):
    return re.search(rf'<section id="{key}".*?</section>', html, re.DOTALL)


def test_strips_are_cut_where_the_pictures_meet():
    line = Image.fromarray(np.repeat(np.arange(3, dtype=np.uint8), 4)[None].repeat(4, 0))
    assert [np.asarray(piece).mean() for piece in cut(line, 3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="not 5 pictures"):
        cut(line, 5)


def test_films_show_both_methods_of_a_class_in_the_order_of_noise(digits_run, and_ways):
    folder = digits_run()
    assert section(build_report(folder).read_text(), "trajectories") is None
    and_ways(folder, [str(i) for i in range(10)])
    found = section(build_report(folder).read_text(), "trajectories").group()
    assert re.findall(r"<caption>(.*?)</caption>", found) == ["Class 0, seed 0", "Class 1, seed 1"]
    first = found.split("</table>")[0]
    assert re.findall(r'class="moment">(.*?)<', first) == ["40", "5", "0.7", "0.1", "0.005"] * 2
    assert re.findall(r'<th scope="row">(.*?)<', first) == ["ce", "dlsm"]
    images = re.findall(r'base64,([^"]+)" alt="([^"]+)"', first)
    assert [alt.split(" by ")[0] for _, alt in images] == [
        "Noised state of class 0",
        "Denoised estimate of class 0",
    ] * 2
    for data, alt in images:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))[0, 4::9, 0]
        assert pixels.tolist() == [20 * i + (128 if "estimate" in alt else 0) for i in range(5)]
    assert "From noise to sample" in (folder / "report.md").read_text()


def test_methods_with_other_levels_or_seeds_are_told_apart(digits_run, and_ways):
    folder = digits_run()
    and_ways(folder, [str(i) for i in range(10)])
    path = folder / "trajectories" / "trajectories.json"
    rows = json.loads(path.read_text())["rows"]
    rows[2]["noise"][1] = 6.0  # class 0 by dlsm
    rows[3]["seed"] = 77  # class 1 by dlsm
    path.write_text(json.dumps({"rows": rows}))
    found = section(build_report(folder).read_text(), "trajectories").group()
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", found)
    assert captions == ["Class 0, seed 0, ce", "Class 0, seed 0, dlsm", "Class 1, seed 1"]
    assert "dlsm (seed 77)" in found


def test_paths_in_the_plane_have_a_panel_a_method(moons_run, and_ways):
    folder = moons_run()
    and_ways(folder, ["upper", "lower"], points=True)
    found = section(build_report(folder).read_text(), "trajectories").group()
    assert len(re.findall(r'aria-label="Noised states of 2 samples by (?:ce|dlsm), σ from 40 to 0.005', found)) == 2
    assert found.count("Denoised estimates of 2 samples by") == 2


@pytest.mark.parametrize("way", [[], [[1, 2, 3]], [[1]], [[1e200, 0]]])
def test_ways_that_do_not_lie_in_the_plane_are_named(way, moons_run, and_ways):
    folder = moons_run()
    and_ways(folder, ["upper", "lower"], points=True)
    path = folder / "trajectories" / "trajectories.json"
    rows = json.loads(path.read_text())["rows"]
    path.write_text(json.dumps({"rows": [rows[0] | {"x_t": way}, *rows[1:]]}))
    with pytest.raises(UserError, match=r"trajectories\.json, row 0: "):
        draw_trajectories(folder / "trajectories")


def test_trajectories_of_an_earlier_recipe_are_not_shown(digits_run, and_ways):
    folder = digits_run()
    and_ways(folder, [str(i) for i in range(10)])
    about = json.loads((folder / "run.json").read_text())
    about["stages"] = about["stages"][:-1]
    (folder / "run.json").write_text(json.dumps(about))
    assert section(build_report(folder).read_text(), "trajectories") is None


def test_a_picture_without_a_page(digits_run, moons_run, and_ways, tmp_path):
    folder = digits_run()
    and_ways(folder, [str(i) for i in range(10)])
    with Image.open(draw_trajectories(folder / "trajectories")) as picture:
        grey = np.asarray(picture.convert("L"))
    for level in (20, 40, 60, 80, 148, 168, 188, 208):  # states at the left, estimates at the right
        hits = np.flatnonzero((grey == level).sum(0) >= 40)
        assert len(hits) >= 48, level
        assert (hits.min() < grey.shape[1] / 2) == (level < 128)
    (folder / "trajectories" / "trajectories.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="holds no trajectories"):
        draw_trajectories(folder / "trajectories")
    shutil.rmtree(folder)
    and_ways(moons_run(), ["upper", "lower"], points=True)
    with Image.open(draw_trajectories(folder / "trajectories")) as picture:
        assert picture.width > 400


@pytest.mark.parametrize("file", ["gone.png", "../../../elsewhere.png", "ce/0-x_t.png"])
def test_strips_that_are_not_what_they_should_be_are_named(file, digits_run, and_ways, tmp_path):
    folder = digits_run()
    and_ways(folder, [str(i) for i in range(10)])
    path = folder / "trajectories" / "trajectories.json"
    rows = json.loads(path.read_text())["rows"]
    shutil.copy(folder / "trajectories" / "ce/0-x_t.png", tmp_path / "elsewhere.png")
    rows[0] |= {"x_t": file, "noise": [3.0, 2.0, 1.0] if file.startswith("ce") else rows[0]["noise"]}
    path.write_text(json.dumps({"rows": rows}))
    with pytest.raises(UserError, match=rf"{file.split('/')[-1]}|outside"):
        build_report(folder)
