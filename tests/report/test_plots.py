"""Panels say in words what they show, and show what is there."""

import re

import numpy as np
import pytest

from condgen.report.drawing import method_styles
from condgen.report.plots import error_panel, field_panel, field_scale
from condgen.report.training_plots import training_panel


def error(method, sigma, mean, quantity="D_L"):
    row = {"method": method, "sigma": sigma, "weighting": "data", "quantity": quantity}
    return row | {"mean": mean, "sd": 0.1 * mean, "n": 100}


STYLES = method_styles(["ce", "dlsm"])


def test_errors_are_drawn_a_line_a_method_and_told_in_words():
    rows = [error(m, s, v) for m, s, v in (("ce", 1, 0.5), ("ce", 2, 0.25), ("dlsm", 1, 0.4), ("dlsm", 2, 0.1))]
    plot = error_panel(rows, "data", "D_L", STYLES, "p")
    assert plot.alt == "D_L, the error of the likelihood score, at σ = 1 to 2: ce (0.25 to 0.5), dlsm (0.1 to 0.4)."
    for style in STYLES.values():
        assert style.colour in plot.svg
    assert error_panel(rows, "data", "D", STYLES, "p") is None
    assert error_panel(rows, "grid", "D_L", STYLES, "p") is None


def test_relative_errors_are_drawn_over_the_exact_score():
    rows = [error("ce", sigma, value) | {"exact": 2.0} for sigma, value in ((1, 0.5), (2, 0.25))]
    plot = error_panel(rows, "data", "D_L", STYLES, "p", relative=True)
    assert "likelihood score over the exact one, at σ = 1 to 2: ce (0.125 to 0.25)" in plot.alt
    assert "error / exact" in plot.svg
    assert error_panel([error("ce", 1, 0.5)], "data", "D_L", STYLES, "p", relative=True) is None


def test_zero_errors_do_not_break_the_logarithmic_axis():
    rows = [error("ce", 1, 0.0), error("ce", 2, 0.25), error("ce", 4, 0.5)]
    assert "(0.25 to 0.5)" in error_panel(rows, "data", "D_L", STYLES, "p").alt
    assert error_panel(rows[:1], "data", "D_L", STYLES, "p") is None


def test_a_single_level_names_the_methods_on_its_axis():
    plot = error_panel([error("ce", 7.5, 0.2), error("dlsm", 7.5, 0.1)], "data", "D_L", STYLES, "p")
    assert "at σ = 7.5: ce (0.2), dlsm (0.1)" in plot.alt
    assert re.search(r">dlsm</text>", plot.svg)


def test_the_colour_scale_is_shared_but_not_drowned():
    exact = np.zeros((1, 2, 2, 2))
    exact[0, 0, 0] = [3, 4]
    assert field_scale([exact, 0.5 * exact], exact) == pytest.approx(5)
    assert field_scale([exact, 1.5 * exact], exact) == pytest.approx(7.5)
    assert field_scale([exact, 100 * exact], exact) == pytest.approx(10)  # twice the longest exact one
    assert field_scale([0 * exact], 0 * exact) > 0


def test_fields_draw_heat_and_arrows():
    x, y = np.linspace(-4, 4, 9), np.linspace(-2, 2, 5)
    field = np.ones((5, 9, 2))
    common = {"top": 2.0, "title": "exact", "name": "f", "alt": "a field"}
    with_arrows = field_panel(field, x, y, **common).svg
    assert "data:image/png;base64," in with_arrows
    assert len(with_arrows) > len(field_panel(field, x, y, arrows=False, **common).svg)
    assert field_panel(0 * field, x, y, **common).svg  # no direction, no arrow, no warning


@pytest.mark.parametrize("n", [1, 2, 79, 500])
def test_training_curves_of_any_length(n):
    losses = np.geomspace(100, 0.1, n).tolist()
    plot = training_panel(list(range(0, 10 * n, 10)), losses, "score", "t")
    assert f"from step 0 to {10 * (n - 1)}" in plot.alt
