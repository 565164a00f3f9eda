"""Samples with the training data nearest to them."""

from report.run_folders import add_neighbours

from condgen.report import read_run
from condgen.report.neighbours import neighbours_section
from condgen.report.page import Table

NAMES = ["0", "1", "2"]


def tables(folder):
    blocks = neighbours_section(read_run(folder))
    return [block for block in blocks if isinstance(block, Table) and "sample" in block.header]


def test_the_nearest_come_first_with_distances_and_other_classes(digits_run):
    assert tables(digits_run) == []
    add_neighbours(digits_run, NAMES)
    first, further = tables(digits_run)
    assert [row[0] for row in first.rows + further.rows] == [f"ce: 0, seed {place}" for place in range(4)]
    assert first.rows[0][1].labels == ("(2.5)",)
    assert [cell.labels for cell in first.rows[0][2:]] == [("0.5",), ("0.625 (1)",), ("0.75",)]
    assert first.rows[0][3].alt == "Training image 1 of class 1"
    assert (first.folded, further.folded) == (False, True)


def test_points_stand_as_coordinates(moons_run):
    add_neighbours(moons_run, ["upper", "lower"], points=True)
    first, _ = tables(moons_run)
    assert first.rows[0][1:] == ("0.5, 0 (2.5)", "0.5", "0.625 (lower)", "0.75")
