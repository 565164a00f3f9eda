"""Pictures of a generator in training."""

import shutil

import numpy as np
import pytest
from PIL import Image

from condgen.errors import UserError
from condgen.report import draw_looks
from condgen.report.drawing import COLOURS
from condgen.report.looks import EACH, MOST
from condgen.runs.previews import read_previews

SIDE = 48  # of an enlarged image


def corner(picture, level):
    """Where the image of this grey level begins: (x, y)."""
    hits = np.asarray(picture.convert("L")) == level
    across, down = np.flatnonzero(hits.sum(0) >= SIDE), np.flatnonzero(hits.sum(1) >= SIDE)
    assert len(across) == len(down) == SIDE, level
    return int(across.min()), int(down.min())


def test_looks_stand_in_the_order_of_steps_and_classes_in_rows(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g")
    strip, grid = (Image.open(path) for path in draw_looks(folder))
    assert [path.name for path in draw_looks(folder)] == ["previews.png", "grid.png"]
    places = {(look, label): corner(strip, 60 * look + 20 * label) for look in range(4) for label in range(2)}
    for label in range(2):
        lefts = [places[look, label][0] for look in range(4)]
        assert lefts == sorted(set(lefts))
        assert len({places[look, label][1] for look in range(4)}) == 1
    assert places[0, 0][1] < places[0, 1][1]
    other = [corner(strip, 60 * look + 3) for look in range(4)]  # another latent of the class, beside it
    assert all(there[0] > places[look, 0][0] for look, there in enumerate(other))
    assert (np.asarray(strip.convert("L")) == 60 + 3 * EACH).sum() < SIDE  # no more latents than that
    assert corner(grid, 180)[1] < corner(grid, 200)[1]
    assert (np.asarray(grid.convert("L")) == 60 + 3).sum() < SIDE  # the newest alone; letters have any grey


def test_points_are_drawn_in_the_colours_of_their_classes(tmp_path, make_a_generator):
    paths = draw_looks(make_a_generator(tmp_path / "g", points=True))
    assert [path.name for path in paths] == ["previews.png"]
    picture = np.asarray(Image.open(paths[0]).convert("RGB")).astype(int)
    for colour in ("blue", "vermillion"):
        wanted = [int(COLOURS[colour][place : place + 2], 16) for place in (1, 3, 5)]
        assert (np.abs(picture - wanted).sum(-1) < 12).sum() > 4 * 4


def test_what_cannot_be_drawn_is_left_out_or_named(tmp_path, make_a_generator):
    assert draw_looks(tmp_path) == []
    folder = make_a_generator(tmp_path / "g")
    (folder / "previews" / "00000200.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"00000200\.safetensors"):
        draw_looks(folder)
    assert draw_looks(folder, until=100)


def test_few_of_many_looks_are_read_from_the_first_to_the_last(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g")
    assert [look.step for look in read_previews(folder)] == [100, 200, 300, 400]
    assert [look.step for look in read_previews(folder, until=399)] == [100, 200, 300]
    for most, steps in ((1, [100]), (2, [100, 400]), (3, [100, 300, 400]), (9, [100, 200, 300, 400])):
        assert [look.step for look in read_previews(folder, most=most)] == steps
    for step in range(500, 2500, 100):
        shutil.copy(folder / "previews" / "00000400.safetensors", folder / "previews" / f"{step:08d}.safetensors")
    assert len(read_previews(folder, most=MOST)) == MOST
