"""Figures of single classes: every one in its place, and the worst class named."""

from condgen.metrics import REAL
from condgen.report.class_tables import class_tables


def row(metric, method, label, value):
    return {"metric": metric, "method": method, "class": label, "name": "abc"[label], "value": value}


ROWS = [
    *(row("class-wise FD", "slow", label, value) for label, value in enumerate((1.0, 3.0, 2.0))),
    *(row("class-wise FD", REAL, label, value) for label, value in enumerate((0.5, 0.25, 9.0))),
    *(row("class-wise FD", "fast", label, value) for label, value in enumerate((4.0, 3.0))),
    *(row("in-class std ratio", "slow", label, value) for label, value in enumerate((0.9, 1.2, 1.0))),
    *(row("class-wise recall", "slow", label, value) for label, value in enumerate((0.9, 0.8, 0.1))),
]


def test_a_table_a_metric_with_real_data_last():
    tables = class_tables(ROWS)
    assert [table.title for table in tables] == [
        "FD of every class",
        "in-class std ratio of every class",
        "recall of every class",
    ]
    assert tables[0].header == ("class", "slow", "fast", REAL)
    assert tables[0].rows == (("a", "1", "4", "0.5"), ("b", "3", "3", "0.25"), ("c", "2", "—", "9"))


def test_the_worst_class_is_where_the_figure_points():
    captions = [table.caption for table in class_tables(ROWS)]
    assert captions == [
        "Where it is the highest: slow b; fast a.",
        "Where it is the farthest from 1: slow b.",
        "Where it is the lowest: slow c.",
    ]


def test_no_rows_no_tables():
    assert class_tables([]) == []
