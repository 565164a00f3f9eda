"""Plots of score errors and of likelihood-score fields show what the rows say."""

from report.run_folders import error

from condgen.report import read_run
from condgen.report.figures import to_svg
from condgen.report.load import Run
from condgen.report.score_errors import errors_section, fields_section


def drawn(*rows):
    """The figure and the tables of errors of the likelihood score."""
    blocks = list(errors_section(Run(None, "r", errors=[error(*row) for row in rows])))
    return blocks[-1]


def test_errors_have_a_line_a_method_and_words():
    (panel,) = drawn(("ce", 1, 0.5), ("ce", 2, 0.25), ("dlsm", 1, 0.4), ("dlsm", 2, 0.1)).panels
    assert panel.alt == ("D_L: likelihood score, mean error, at noise level σ 1 to 2: ce 0.5 to 0.25; dlsm 0.4 to 0.1.")
    svg = to_svg(panel, "p")
    assert all(style.colour in svg for style in panel.legend.values())


def test_zero_errors_have_no_place_on_a_logarithmic_axis():
    assert "0.25 to 0.5" in drawn(("ce", 1, 0.0), ("ce", 2, 0.25), ("ce", 4, 0.5)).panels[0].alt
    assert not drawn(("ce", 1, 0.0), ("ce", 2, 0.0)).panels


def test_fields_have_a_panel_a_class_and_method(moons_run):
    _, upper, lower = fields_section(read_run(moons_run))
    assert (upper.title, lower.title) == ("Class upper", "Class lower")
    assert [panel.title for panel in upper.panels] == ["exact", "dlsm", "error of dlsm"]
    assert lower.panels[0].alt.startswith("Likelihood score of class lower, exact: mean length")
    assert "opacity: 0.55" in to_svg(upper.panels[0], "p")  # data
    assert "opacity: 0.55" not in to_svg(upper.panels[2], "p")
