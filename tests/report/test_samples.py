"""Samples in their tables and in their axes."""

import json

import numpy as np
from report.run_folders import add_neighbours

from condgen.report import read_run
from condgen.report.page import Figure
from condgen.report.samples import extent_of, neighbours_section, samples_section


def test_images_have_a_row_a_class_and_a_column_a_method(digits_run):
    (table,) = samples_section(read_run(digits_run))
    assert table.header == ("class", "ce", "dlsm", "one-step")
    assert [row[0] for row in table.rows] == ["0", "1", "2"]
    assert table.rows[2][1].alt == "Samples of class 2: ce"
    assert "Images at equal places have the same seed." in table.caption
    manifest = digits_run / "samples" / "ce" / "manifest.jsonl"
    rows = [json.loads(line) | {"seed": 77} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (table,) = samples_section(read_run(digits_run))
    assert "Seeds differ." in table.caption


def test_points_are_counted_by_class(moons_run):
    (figure,) = samples_section(read_run(moons_run))
    assert isinstance(figure, Figure)
    assert [panel.title for panel in figure.panels] == ["data", "ce", "dlsm", "one-step"]
    assert figure.panels[0].alt == "Points of data: 30 of upper, 30 of lower."


def test_axes_leave_out_the_farthest_points():
    cloud = np.random.default_rng(0).normal(size=(1000, 2))
    wild = [cloud, np.full((3, 2), 1e6), np.full((1, 2), np.inf)]
    assert np.allclose(extent_of([cloud]), extent_of(wild), atol=0.5)
    left, right, bottom, top = extent_of([cloud])
    assert left < -2.3 < 2.3 < right
    assert bottom < -2.3 < 2.3 < top


def rows(folder):
    return next(
        block.rows for block in neighbours_section(read_run(folder)) if "sample" in getattr(block, "header", ())
    )


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
