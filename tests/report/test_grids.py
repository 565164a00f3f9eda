"""Pictures: every image where its class and seed say."""

import time

import numpy as np
import pytest
import torch

from condgen.report import labelled_grid, side_by_side


def shade(value, size=8):
    return np.full((1, size, size), value, np.uint8)


def is_a_square(mask, side):
    """Whether a full square is set; single grey pixels of letters may be set beside it."""
    return (mask.sum(0) >= side).sum() == (mask.sum(1) >= side).sum() == side


def test_each_class_has_its_row_and_images_stay_sharp():
    images = torch.from_numpy(np.stack([shade(v) for v in (50, 100, 150, 200)]))
    grid = np.asarray(labelled_grid(images, [0, 1, 0, 1], ["cat", "dog"]).convert("L"))
    for value in (50, 100, 150, 200):
        assert is_a_square(grid == value, 48)  # enlarged by whole pixels, nothing blended
    rows = {value: np.flatnonzero((grid == value).sum(1) >= 48).min() for value in (50, 100, 150, 200)}
    assert rows[50] == rows[150] < rows[100] == rows[200]
    columns = {value: np.flatnonzero((grid == value).sum(0) >= 48).min() for value in (50, 100, 150, 200)}
    assert columns[50] == columns[100] < columns[150] == columns[200]


def test_methods_stand_side_by_side():
    methods = {name: (torch.from_numpy(shade(value)[None]), [0]) for name, value in (("a", 60), ("b", 120))}
    grid = np.asarray(side_by_side(methods, ["only"]).convert("L"))
    left, right = (np.flatnonzero((grid == value).sum(0) >= 48).min() for value in (60, 120))
    assert left < right


def test_colour_images_and_wrong_input():
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    grid = np.asarray(labelled_grid(red, [0], ["x"]))
    assert ((grid == [255, 0, 0]).all(-1)).sum() == 48 * 48
    with pytest.raises(ValueError, match=r".+"):
        labelled_grid(red, [0, 1], ["x", "y"])


def test_a_name_without_end_is_cut_in_no_time():
    started = time.monotonic()
    picture = labelled_grid(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1], ["ant", "x" * 1_000_000])
    assert picture.width < 500
    assert time.monotonic() - started < 5
