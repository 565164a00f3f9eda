"""Numbers as text, and which is best."""

import pytest

from condgen.report.estimates import format_estimate, format_number, winner
from condgen.rows import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.123"), (12345.6, "12,346"), (1e-5, "1.00e-05"), (None, "—"), (float("nan"), "not finite")],
)
def test_numbers_as_text(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.05, 0.0497, 0.0503), "0.0500 ± 0.0003"),
        ((1.23e-6, 1.13e-6, 1.33e-6), "(1.23 ± 0.10)e-06"),
        ((0.0, 0.0, 0.0), "0.000 ± 0.000"),
        ((2.0,), "2"),
        ((36.48035077971328, 36.48035077971327, 36.48035077971329), "36.48 ± 0.00"),
    ],
)
def test_estimates_as_text(ends, text):
    assert format_estimate(Estimate(*ends)) == text


def test_a_winner_clears_all_others_by_its_interval():
    near, far, wide = Estimate(0.98, 0.97, 0.99), Estimate(1.3, 1.2, 1.4), Estimate(0.9, 0.5, 1.3)
    assert winner([far, near], "one") == 1
    assert winner([far, near, wide], "one") is None
    assert winner([far, near], "high") == 0
    assert winner([far, near], "low") == 1
    assert winner([far, None, near], "low") == 2
    assert winner([near], "one") is None
    assert winner([far, Estimate(2.0)], "low") is None  # no interval, no verdict
    assert winner([far, near], None) is None
