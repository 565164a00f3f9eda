"""Images: every one where its class and method say, sharp."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from condgen.report import sample_grid
from condgen.report.samples import embedded


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
