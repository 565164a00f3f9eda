"""Figures of single classes: which class a method makes badly."""

from collections.abc import Sequence

from condgen.metrics import REAL
from condgen.report.estimates import MISSING, Goal, format_number, goal_of
from condgen.report.rows import ClassRow, RawRow, parse_rows
from condgen.report.tables import Table

__all__ = ["class_tables"]

_WORD = {"low": "the highest", "high": "the lowest", "one": "the farthest from 1"}


def class_tables(rows: Sequence[RawRow]) -> list[Table]:
    """A table for every metric: a row for each class, a column for each method, real held-out data in the last."""
    parsed = parse_rows(ClassRow, rows, "metrics, by_class")
    return [_table(metric, [row for row in parsed if row.metric == metric]) for metric in _unique(parsed)]


def _unique(rows: Sequence[ClassRow]) -> list[str]:
    return list(dict.fromkeys(row.metric for row in rows))


def _table(metric: str, rows: Sequence[ClassRow]) -> Table:
    methods = sorted(dict.fromkeys(row.method for row in rows), key=lambda method: method == REAL)
    classes = dict(sorted({row.label: row.name for row in rows}.items()))
    found = {(row.label, row.method): row.value for row in rows}
    cells = tuple(
        (name, *(format_number(found[label, m]) if (label, m) in found else MISSING for m in methods))
        for label, name in classes.items()
    )
    goal = goal_of(metric)
    worst = []
    for method in methods if goal else ():
        own = {row.label: row.value for row in rows if row.method == method}
        if method != REAL and len(own) > 1:
            worst.append(f"{method} {classes[max(own, key=lambda label: _badness(own[label], goal))]}")
    caption = f"Where it is {_WORD[goal]}: {'; '.join(worst)}." if goal and worst else ""
    return Table(f"{metric.removeprefix('class-wise ')} of every class", ("class", *methods), cells, caption)


def _badness(value: float, goal: Goal | None) -> float:
    return abs(value - 1) if goal == "one" else -value if goal == "high" else value
