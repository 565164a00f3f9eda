"""Samples with the training data nearest to them."""

from report.run_folders import add_neighbours

from condgen.report import read_run
from condgen.report.neighbours import neighbours_section

NAMES = ["0", "1", "2"]


def rows(folder):
    return next(
        block.rows for block in neighbours_section(read_run(folder)) if "sample" in getattr(block, "header", ())
    )


def test_distances_and_other_classes_stand_below_the_pictures(digits_run):
    assert list(neighbours_section(read_run(digits_run))) == []
    add_neighbours(digits_run, NAMES)
    found = rows(digits_run)
    assert [row[0] for row in found] == [f"ce: 0, seed {place}" for place in range(4)]
    assert found[0][1].labels == ("(2.5)",)
    assert [cell.labels for cell in found[0][2:]] == [("0.5",), ("0.625 (1)",), ("0.75",)]
    assert found[0][3].alt == "Training image 1 of class 1"


def test_points_stand_as_coordinates(moons_run):
    add_neighbours(moons_run, ["upper", "lower"], points=True)
    assert rows(moons_run)[0][1:] == ("0.5, 0 (2.5)", "0.5", "0.625 (lower)", "0.75")
