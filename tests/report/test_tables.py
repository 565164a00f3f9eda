"""Tables against rows made by hand."""

import io

import pytest
from rich.console import Console

from condgen.errors import UserError
from condgen.metrics import REAL
from condgen.report import cost_table, errors_table, metrics_table, to_markdown, to_rich
from condgen.report.estimates import Estimate, format_estimate, format_number, winner


def metric(method, name, value, half, floor=None):
    return {"method": method, "metric": name, "value": value, "low": value - half, "high": value + half} | {
        "n": 360,
        "features": "pixels",
        "reference": "digits train (1437)",
        "floor": floor,
        "floor_n": 360,
        "seed": 0,
    }


ROWS = [
    metric("a", "FD@360", 2.0, 0.1, 0.4),
    metric("b", "FD@360", 3.0, 0.5, 0.4),
    metric("a", "recall", 0.5, 0.1, 0.9),
    metric("b", "recall", 0.55, 0.1, 0.9),
    metric(REAL, "FD@360", 0.4, 0.01, 0.4),
    metric(REAL, "recall", 0.9, 0.02, 0.9),
]


def test_metrics_table_marks_the_clear_winner_among_methods_alone():
    table = metrics_table(ROWS)
    assert table.header == ("method", "FD@360 ↓", "recall ↑")
    assert table.rows == (
        ("a", "2.00 ± 0.10", "0.50 ± 0.10"),
        ("b", "3.00 ± 0.50", "0.55 ± 0.10"),
        (REAL, "0.400 ± 0.010", "0.900 ± 0.020"),
    )
    assert table.best == {
        (0, 1)
    }  # b's recall is higher, but not by more than the intervals; real images do not compete
    for condition in ("360", "pixels", "digits train (1437)", "Seed: 0"):
        assert condition in table.caption
    assert metrics_table(ROWS, intervals=False).rows[0] == ("a", "2", "0.5")


def test_without_real_rows_the_floor_stands_in():
    assert metrics_table(ROWS[:4]).rows[-1] == (REAL, "0.4", "0.9")


def error(method, sigma, quantity, mean, sd=1.0, n=100):
    row = {"method": method, "sigma": sigma, "weighting": "data", "quantity": quantity}
    return row | {"mean": mean, "sd": sd, "n": n}


def test_errors_table_uses_two_standard_errors():
    rows = [error(m, s, "D_L", v) for m, s, v in (("ce", 1, 3), ("ce", 2, 1), ("dlsm", 1, 2), ("dlsm", 2, 1.3))]
    table = errors_table([*rows, error("prior", 1, "D", 5)], "data", "D_L")
    assert table.header == ("method", "σ = 1", "σ = 2")
    assert table.rows == (("ce", "3.00 ± 0.20", "1.00 ± 0.20"), ("dlsm", "2.00 ± 0.20", "1.30 ± 0.20"))
    assert table.best == {(1, 1)}
    with pytest.raises(UserError, match="two rows for D_L of ce"):
        errors_table([*rows, rows[0]], "data", "D_L")


def test_relative_errors_are_shares_of_the_exact_score_and_left_out_where_that_is_nothing():
    rows = [
        error("prior", 1, "D", 5.0) | {"exact": 10.0},
        error("prior", 2, "D", 1.0) | {"exact": 4.0},
        error("ce", 1, "D_L", 3.0) | {"exact": 1e-7},
        error("ce", 2, "D_L", 3.0, sd=2.0) | {"exact": 2.0},
        error("ce", 4, "D_L", 3.0),  # of before lengths were written
    ]
    table = errors_table(rows, "data", "D_L", relative=True)
    assert (table.header, table.rows) == (("method", "σ = 2"), (("ce", "1.50 ± 0.20"),))
    assert errors_table(rows, "data", "D", relative=True).rows == (("prior", "0.500 ± 0.020", "0.250 ± 0.050"),)
    assert table.title == "D_L, weighted by the data, over the exact score"


def test_cost_table_says_what_sampling_took():
    row = {"method": "ce", "images": 360, "seconds": 0.656, "images_per_second": 549.1, "evaluations_per_image": 35}
    table = cost_table([row | {"sampler": "heun", "steps": 18, "scale": None}])
    assert table.rows == (("ce", "heun", "18", "—", "35", "549", "360", "0.656"),)


def test_other_dresses_keep_numbers_and_stars():
    table = metrics_table([metric("a|b*", "FD@360", 2.0, 0.1), metric("c", "FD@360", 3.0, 0.1)])
    markdown = to_markdown(table)
    assert r"| a\|b\* | **2.00 ± 0.10** \* |" in markdown
    out = io.StringIO()
    Console(file=out, width=100).print(to_rich(table))
    lines = out.getvalue().splitlines()
    assert next(line.split() for line in lines if "FD@360" in line) == [
        "FD@360", "↓", "2.00", "±", "0.10", "*", "3.00", "±", "0.10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.123"), (12345.6, "12,346"), (1e-5, "1.00e-05"), (None, "—"), (float("nan"), "not finite")],
)
def test_numbers_as_text(value, text):
    assert format_number(value) == text


def test_intervals_as_text_and_winners():
    assert format_estimate(Estimate(0.05, 0.0497, 0.0503)) == "0.0500 ± 0.0003"
    assert format_estimate(Estimate(1.23e-6, 1.13e-6, 1.33e-6)) == "(1.23 ± 0.10)e-06"
    near, far, wide = Estimate(0.98, 0.97, 0.99), Estimate(1.3, 1.2, 1.4), Estimate(0.9, 0.5, 1.3)
    assert winner([far, near], "one") == 1
    assert winner([far, near, wide], "one") is None
    assert winner([near], "one") is None
    assert winner([far, Estimate(2.0)], "low") is None  # no interval, no verdict


def test_real_data_at_another_number_say_so():
    row = {"method": "many", "metric": "FID@50000", "value": 3.0, "n": 50000, "floor": 5.0, "floor_n": 10000, "seed": 0}
    table = metrics_table([row, {**row, "metric": "KID", "value": 0.1, "n": 10000, "floor": 0.0}])
    assert table.rows[-1] == (REAL, "5 (n = 10,000)", "0")


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_methods_that_find_no_room_stand_below_and_nothing_is_cut(width):
    names = [f"method-number-{i}" for i in range(9)]
    table = metrics_table([metric(name, "FD@360", 1000.0 + i, 0.5) for i, name in enumerate(names)], intervals=False)
    out = io.StringIO()
    Console(file=out, width=width).print(to_rich(table, width=width))
    text = out.getvalue()
    for i, name in enumerate(names):
        assert name in text
        assert f"{1000 + i:,}" in text
    heads = [line for line in text.splitlines() if "method-number" in line]
    counts = [line.count("method-number") for line in heads]
    assert sum(counts) == 9
    assert max(counts) - min(counts) <= 1 + counts[0] // 2  # shared out evenly
    assert len(heads) == 1 or width < 200
    assert max(map(len, text.splitlines())) <= width
