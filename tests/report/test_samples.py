"""Samples in their tables, axes and grids: every one where its class and method say."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure as Canvas
from PIL import Image
from report.run_folders import add_neighbours

from condgen.report.load import read_run
from condgen.report.page import Figure
from condgen.report.samples import embedded, extent_of, neighbours_section, sample_grid, samples_blocks


def test_images_have_a_row_a_class_and_a_column_a_method(digits_run):
    (table,) = samples_blocks(read_run(digits_run).samples, "t")
    assert table.header == ("class", "ce", "dlsm", "one-step")
    assert [row[0] for row in table.rows] == ["0", "1", "2"]
    assert table.rows[2][1].alt == "Samples of class 2: ce"
    assert table.rows[2][1].width == 4 * (6 * 9 - 1)  # the first six of eight, enlarged four times, a pixel apart
    assert "Images at equal places have the same seed." in table.caption
    manifest = digits_run / "samples" / "ce" / "manifest.jsonl"
    rows = [json.loads(line) | {"seed": 77} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (table,) = samples_blocks(read_run(digits_run).samples, "t")
    assert "Seeds differ." in table.caption


def test_points_are_counted_by_class(moons_run):
    run = read_run(moons_run)
    (figure,) = samples_blocks(run.samples, "t", run.fields)
    assert isinstance(figure, Figure)
    assert [panel.title for panel in figure.panels] == ["data", "ce", "dlsm", "one-step"]
    assert figure.panels[0].alt == "Points of data: 30 of upper, 30 of lower."
    axes = Canvas().add_subplot()
    figure.panels[0].draw(axes)
    assert [line.get_xdata().mean() > 0 for line in axes.lines] == [True, False]


def test_axes_leave_out_the_farthest_points():
    cloud = np.random.default_rng(0).normal(size=(1000, 2))
    wild = [cloud, np.full((3, 2), 1e6), np.full((1, 2), np.inf)]
    assert np.allclose(extent_of([cloud]), extent_of(wild), atol=0.5)
    left, right, bottom, top = extent_of([cloud])
    assert left < -2.3 < 2.3 < right
    assert bottom < -2.3 < 2.3 < top


def rows(folder):
    return next(part.rows for part in neighbours_section(read_run(folder)) if "sample" in getattr(part, "header", ()))


def test_distances_and_other_classes_stand_below_the_pictures(digits_run):
    assert list(neighbours_section(read_run(digits_run))) == []
    add_neighbours(digits_run, ["0", "1", "2"])
    found = rows(digits_run)
    assert [row[0] for row in found] == [f"ce: 0, seed {place}" for place in range(4)]
    assert found[0][1].labels == ("(2.5)",)
    assert [cell.labels for cell in found[0][2:]] == [("0.5",), ("0.625 (1)",), ("0.75",)]
    assert found[0][3].alt == "Training image 1 of class 1"


def test_points_stand_as_coordinates(moons_run):
    add_neighbours(moons_run, ["upper", "lower"], points=True)
    assert rows(moons_run)[0][1:] == ["0.5, 0 (2.5)", "0.5", "0.625 (lower)", "0.75"]


def shades(*values, size=8):
    return torch.from_numpy(np.stack([np.full((1, size, size), value, np.uint8) for value in values]))


def corner(grid, value, side=48):
    """Where the image of this grey level begins, which is enlarged by whole pixels and not blended: (x, y)."""
    hits = np.asarray(grid.convert("L")) == value
    across, down = np.flatnonzero(hits.sum(0) >= side), np.flatnonzero(hits.sum(1) >= side)
    assert len(across) == len(down) == side
    return int(across.min()), int(down.min())


def test_classes_are_rows_and_methods_blocks():
    grid = sample_grid({"a": (shades(50, 100, 150, 200), [0, 1, 0, 1]), "b": (shades(70), [1])}, ["cat", "dog"])
    at = {value: corner(grid, value) for value in (50, 70, 100, 150, 200)}
    assert at[50][1] == at[150][1] < at[100][1] == at[200][1] == at[70][1]
    assert at[50][0] == at[100][0] < at[150][0] == at[200][0] < at[70][0]


def test_rows_wrap_and_may_be_cut():
    images, labels = shades(50, 100, 150), [0, 0, 0]
    grid = sample_grid({"": (images, labels)}, ["x"], columns=2)
    assert corner(grid, 150)[1] > corner(grid, 50)[1]
    cut_grid = sample_grid({"": (images, labels)}, ["x"], columns=2, lines=1)
    assert not (np.asarray(cut_grid.convert("L")) == 150).sum() > 1000


def test_colours_long_names_and_wrong_input():
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    grid = np.asarray(sample_grid({"": (red, [0])}, ["x" * 1_000_000]))
    assert grid.shape[1] < 500
    assert ((grid == [255, 0, 0]).all(-1)).sum() == 48 * 48
    for blocks in ({"": (red, [0, 1])}, {"": (red, [0]), "b": (shades(1, size=4), [0])}, {}):
        with pytest.raises(ValueError, match=r".+"):
            sample_grid(blocks, ["x", "y"])


def test_embedded_pictures_keep_their_pixels():
    pictures = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20)]
    found = embedded(pictures, "two", labels=("a", "b"))
    with Image.open(io.BytesIO(base64.b64decode(found.address.split(",")[1]))) as line:
        assert np.asarray(line.convert("RGB"))[0, 4::9, 0].tolist() == [10, 20]
    assert (found.width, found.height) == (17 * 4, 8 * 4)
