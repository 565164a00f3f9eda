"""Samples by class and method: images in a table, points within their axes."""

import json

import numpy as np
import pytest

from condgen.report import read_run
from condgen.report.figures import class_style, to_svg
from condgen.report.page import Figure
from condgen.report.samples import path_panel, points_figure, samples_section, whole_extent, wide_extent


def test_images_have_a_row_a_class_and_a_column_a_method(digits_run):
    (table,) = samples_section(read_run(digits_run)).blocks
    assert table.header == ("class", "no guidance", "ce", "dlsm", "one-step")
    assert [row[0] for row in table.rows] == [str(label) for label in range(10)]
    assert table.rows[3][2].alt == "6 samples of class 3: ce"
    assert "Images at equal places have the same seed." in table.caption
    manifest = digits_run / "samples" / "ce" / "manifest.jsonl"
    rows = [json.loads(line) | {"seed": 77} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (table,) = samples_section(read_run(digits_run)).blocks
    assert "Seeds differ." in table.caption


def test_points_are_counted_by_class_and_stand_in_a_table(moons_run):
    (figure,) = samples_section(read_run(moons_run)).blocks
    assert isinstance(figure, Figure)
    assert figure.panels[0].alt == "Points of data: 30 of upper, 30 of lower."
    clouds = {"a": (np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 3.0]]), [0, 1, 1])}
    (table,) = points_figure("t", clouds, {0: "x", 1: "y"}).tables
    assert table.rows == (("a", "x", "1", "0", "0", "0", "0"), ("a", "y", "2", "1.5", "2", "0.5", "1"))


def test_every_path_has_a_line_and_an_end_in_its_colour():
    way = np.array([[50.0, 0.0], [1.0, 1.0], [0.5, 0.2]])
    common = (np.zeros((0, 2)), (-1, 2, -1, 2), "paths")
    one, two = (to_svg(path_panel("heun", [way] * n, list(range(n)), *common), "p") for n in (1, 2))
    assert class_style(1).colour not in one
    assert class_style(1).colour in two
    assert "clip-path" in one  # a path from far outside begins at the axes


def test_extents_hold_all_points_or_leave_out_the_farthest():
    cloud = np.random.default_rng(0).normal(size=(1000, 2))
    wild = [cloud, np.full((3, 2), 1e6)]
    assert np.allclose(wide_extent([cloud]), wide_extent(wild), atol=0.5)
    assert whole_extent(wild)[1] > 1e6
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, np.inf]])
    assert whole_extent([points]) == pytest.approx((-0.05, 1.05, -0.05, 1.05))
