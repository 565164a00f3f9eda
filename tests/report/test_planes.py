"""Points of the plane are counted, marked by class, and kept within the axes."""

import numpy as np
import pytest

from condgen.report.drawing import class_style
from condgen.report.planes import paths_panel, points_panel, round_extent, wide_extent


def test_points_are_counted_by_class():
    points, labels = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]), [0, 1, 1]
    extent = round_extent([points])
    assert extent == pytest.approx((-0.1, 2.1, -0.1, 1.1))
    assert points_panel(points, labels, ["a", "b"], "dlsm", "p", extent).alt == "Points of dlsm: 1 of a, 2 of b."


def test_every_path_has_a_line_and_an_end_in_its_colour():
    way = np.array([[50.0, 0.0], [1.0, 1.0], [0.5, 0.2]])
    common = (np.zeros((0, 2)), "heun", "p", (-1, 2, -1, 2), "two ways")
    one = paths_panel([way], [1], *common)
    two = paths_panel([way, way / 2], [1, 0], *common)
    assert one.alt == "two ways"
    assert class_style(0).colour not in one.svg
    for index in (0, 1):
        assert class_style(index).colour in two.svg
    assert two.svg.count("<path") > one.svg.count("<path")
    assert "clip-path" in one.svg  # a way that comes from far outside ends at the axes


def test_what_runs_away_does_not_set_the_limits():
    cloud = np.random.default_rng(0).normal(size=(1000, 2))
    calm, wild = wide_extent([cloud]), wide_extent([cloud, np.full((3, 2), 1e6)])
    assert np.allclose(calm, wild, atol=0.5)
    assert round_extent([cloud, np.full((3, 2), 1e6)])[1] > 1e6
