"""Tables say what the rows say, with their conditions; a star only where intervals are apart."""

import pytest
from report.run_folders import error, metric

from condgen.metrics.measures import REAL
from condgen.report.load import ClassRow, CostRow, GeneratorLog, PreviewRow
from condgen.report.tables import class_tables, cost_table, errors_tables, generator_table, metrics_table


def test_metrics_have_floors_conditions_and_a_star_where_intervals_are_apart():
    rows = [metric("ce", "FD@360", 3.0, 0.1), metric("dlsm", "FD@360", 2.0, 0.1), metric(REAL, "recall", 0.9, 0.01)]
    rows += [metric("ce", "recall", 0.8, 0.1), metric("dlsm", "recall", 0.85, 0.1)]
    table = metrics_table(rows)
    assert table.header == ("method", "FD@360 ↓", "recall ↑")
    assert table.texts == [
        ["ce", "3.00 ± 0.10", "0.80 ± 0.10"],
        ["dlsm", "2.00 ± 0.10", "0.85 ± 0.10"],
        [REAL, "0.5", "0.900 ± 0.010"],
    ]
    assert table.best == {(1, 1)}
    for condition in ("Samples a method: 360.", "Features: pixels.", "Reference: test.", "Seed: 0."):
        assert condition in table.caption


@pytest.mark.parametrize("other", [{"n": 7}, {"features": "inception"}, {"reference": "other test"}], ids=repr)
def test_other_features_or_data_and_fewer_samples_are_no_rivals(other):
    rows = [metric("a", "recall", 0.9, 0.01, **other), metric("b", "recall", 0.5, 0.01)]
    assert not metrics_table(rows).best


def test_the_floor_is_that_of_as_many_samples_and_those_that_differ_are_no_row():
    rows = [metric("few", "recall", 0.6, floor=0.55, floor_n=60, n=60), metric(REAL, "recall", 0.9)]
    assert metrics_table(rows).texts == [["few", "0.6"], [REAL, "0.55"]]
    rows = [metric("ce", "FD@360", 3.0, floor=0.5), metric("dlsm", "FD@360", 2.0, floor=0.7)]
    assert metrics_table(rows).texts == [["ce", "3"], ["dlsm", "2"]]


def test_score_errors_by_noise_level():
    rows = [error("ce", 2, 0.5), error("ce", 1, 1.0), error("dlsm", 1, 0.5), error("dlsm", 2, 0.505)]
    rows += [error("ce", 1, 9.0, quantity="D"), error("ce", 7.5, 1.0, "grid")]
    table, _ = errors_tables(rows, "data")
    assert table.header == ("method", "σ = 1", "σ = 2")
    assert table.texts[0] == ["ce", "1.000 ± 0.020", "0.500 ± 0.010"]  # two standard errors, 2 * 0.1 / sqrt(100)
    assert table.best == {(1, 1)}
    assert "n = 100 queries" in table.caption
    (grid,) = errors_tables(rows, "grid")
    assert (grid.title, grid.header) == ("σ = 7.5, uniform over a grid", ("method", "D_L"))
    assert grid.texts == [["ce", "1"]]
    assert "no sampling error" in grid.caption


def test_generators_by_their_last_preview():
    previews = [PreviewRow(step=s, std_ratio=r, recall=0.4, accuracy=0.99, n=1000) for s, r in ((1, 1), (2, 0.1))]
    table = generator_table({"g": GeneratorLog(None, previews, 3)})
    assert table.texts == [["g", "2", "0.1", "0.4", "0.99", "1,000", "yes", "3"]]


def test_classes_have_real_data_last():
    def rows(name, method, *values):
        about = {"metric": name, "method": method}
        return [ClassRow(**about | {"class": i}, name="abc"[i], value=value) for i, value in enumerate(values)]

    found = [*rows("class-wise FD", "slow", 1.0, 3.0, 2.0), *rows("class-wise FD", REAL, 0.5, 0.25, 9.0)]
    found += [*rows("class-wise FD", "fast", 4.0, 3.0), *rows("in-class std ratio", "slow", 0.9, 1.2, 1.0)]
    found += rows("class-wise recall", "slow", 0.9, 0.8, 0.1)
    tables = list(class_tables(found))
    assert tables[0].header == ("class", "slow", "fast", REAL)
    assert tables[0].texts == [["a", "1", "4", "0.5"], ["b", "3", "3", "0.25"], ["c", "2", "—", "9"]]


def test_cost():
    rows = [CostRow(method="ce", images=9, seconds=2.0, evaluations_per_image=20, sampler="heun", guide="guided")]
    assert cost_table(rows).texts == [["ce", "guided", "heun", "—", "20", "—", "9", "2"]]
