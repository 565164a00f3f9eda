"""Whether a generator still makes different samples of a class, as a reader of the page learns it."""

import numpy as np
import pytest
from PIL import Image

from condgen.errors import UserError
from condgen.report import draw_previews, read_run
from condgen.report.figures import COLOURS, to_svg
from condgen.report.generators import generators_section
from condgen.report.page import Figure

SIDE = 48  # of an enlarged image


def blocks(folder, kind):
    return {block.title: block for block in generators_section(read_run(folder)) if isinstance(block, kind)}


def test_previews_are_drawn_and_the_last_one_counts(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g", spreads=(0.1, 0.1, 0.8, 0.8))
    (panel,) = blocks(folder, Figure)["Variety and class accuracy in the course of training"].panels
    assert "in-class std ratio 0.1 to 0.8" in panel.alt
    assert to_svg(panel, "p")
    assert not read_run(folder).generators["g"].collapsed


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
