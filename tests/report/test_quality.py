"""Plots of sample quality."""

from report.run_folders import METHODS

from condgen.report.load import read_run
from condgen.report.quality import confusions


def test_confusions_have_a_panel_a_method_and_name_the_worst_pairs(digits_run):
    rows = read_run(digits_run).by_class
    (figure,) = confusions(rows)
    assert [panel.title for panel in figure.panels] == list(METHODS)
    assert "ce: 0.875 are of the class asked for" in figure.panels[0].alt
    assert list(figure.tables[0].rows) == [(method, "0", "1", 0.25) for method in METHODS]
    assert not list(confusions([row.model_copy(update={"method": "real (held out)"}) for row in rows]))
