"""Plots of sample quality."""

from report.run_folders import METHODS, metric

from condgen.report.load import Run, read_run
from condgen.report.quality import against_scale, confusions


def test_confusions_have_a_panel_a_method_and_name_the_worst_pairs(digits_run):
    rows = read_run(digits_run).by_class
    (figure,) = confusions(rows)
    assert [panel.title for panel in figure.panels] == list(METHODS)
    assert "ce: 0.875 are of the class asked for" in figure.panels[0].alt
    assert list(figure.tables[0].rows) == [(method, "0", "1", 0.25) for method in METHODS]
    assert not list(confusions([row.model_copy(update={"method": "real (held out)"}) for row in rows]))


def test_methods_that_differ_in_their_scale_alone_are_a_line():
    methods = {f"dlsm-{scale}": {"classifier": "dlsm", "scale": scale, "sampler": "unipc"} for scale in (3, 1, 2)}
    others = {"free": {"scale": 1}, "calibrated": {"classifier": "dlsm", "scale": "calibrated", "sampler": "unipc"}}
    rows = [metric(name, "recall", 0.1 * place, 0.01) for place, name in enumerate([*methods, *others])]
    run = Run(None, "r", metrics=rows, settings={"sample": {"methods": methods | others}})
    (figure,) = against_scale(run)
    (panel,) = figure.panels
    assert panel.alt == "recall, at guidance scale 1 to 3: dlsm 0.1 to 0."
    methods["dlsm-3"]["sampler"] = "heun"  # then two are left
    assert not list(against_scale(run))
