"""Tables of a run's figures. A best value is starred only where its interval clears those of all others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from condgen.diagnostics.score_errors import ErrorRow, Weighting
from condgen.metrics.measures import REAL, SEEN_AS, Goal, MetricRow, goal_of
from condgen.report.estimates import SIGMA, is_real, metric_estimates, winner
from condgen.report.load import ClassRow, CostRow, GeneratorLog
from condgen.report.page import Table
from condgen.rows import AveragedRow, Estimate

WEIGHTINGS: dict[Weighting, str] = {
    "data": "weighted by the data",
    "held_out": "at held-out images",
    "grid": "uniform over a grid",
}
_ARROWS: dict[Goal | None, str] = {"high": " ↑", "low": " ↓", "one": " → 1", None: ""}
_STARRED = (
    "Bold with a star: better by more than the intervals than every other method of the same n, features and data."
)
_FRECHET = (
    "The interval of a Fréchet distance at n samples is that of its mean at this n, up to 1.5 times too wide near the "
    "floor; it does not cover the distance at infinite n, which is lower."
)
_COLUMNS = 7  # metrics of a table
_Columns: TypeAlias = Mapping[str, Mapping[str, Estimate]]  # by head, each by row


def estimates_table(
    title: str, columns: _Columns, caption: str, goals: Iterable[Goal | None] = (), corner: str = "method"
) -> Table:
    """Columns of estimates by row, real data last; with goals, the best of each column is starred."""
    heads = sorted(dict.fromkeys(head for found in columns.values() for head in found), key=is_real)
    rivals = [head for head in heads if not is_real(head)]
    stars = [
        (winner([found.get(head) for head in rivals], goal), column)
        for column, (found, goal) in enumerate(zip(columns.values(), goals, strict=False), start=1)
    ]
    best = frozenset((row, column) for row, column in stars if row is not None)
    rows = [(head, *(found.get(head) for found in columns.values())) for head in heads]
    return Table(title, (corner, *columns), rows, caption, best)


def metrics_table(rows: Sequence[MetricRow]) -> Table:
    """Methods as rows, metrics as columns; real held-out data, the floor, in the last rows."""
    methods = [row for row in rows if not is_real(row.method)]
    floors_at = {(row.metric, row.floor_n) for row in methods}
    rows = [row for row in rows if not is_real(row.method) or (row.metric, row.n) in floors_at]
    estimates = metric_estimates(rows)
    for metric, found in estimates.items():
        floors = {row.floor for row in rows if row.metric == metric and row.floor is not None}
        if len(floors) == 1 and not any(map(is_real, found)):
            found[REAL] = Estimate(floors.pop())
    columns = {f"{metric}{_ARROWS[goal_of(metric)]}": found for metric, found in estimates.items()}
    caption = f"± is {what_spreads(methods, 'half the length of the interval')}. {_conditions(rows)} {_STARRED}"
    if any(metric.partition("@")[0].endswith(("FD", "FID")) for metric in estimates):
        caption += f" {_FRECHET}"
    goals = [goal_of(metric) if is_comparable(methods, metric) else None for metric in estimates]
    return estimates_table("Metrics by method", columns, caption, goals)


def is_comparable(methods: Sequence[MetricRow], metric: str) -> bool:
    """Whether all values of a metric are of one n, features and real data, on which it depends."""
    return len({(row.n, row.features, row.reference) for row in methods if row.metric == metric}) == 1


def what_spreads(rows: Sequence[AveragedRow], alone: str) -> str:
    """What stands after ±: over seeds where rows are of several, or else `alone`."""
    counts = sorted({row.seeds for row in rows if row.seeds > 1})
    if not counts:
        return alone
    text = f"the standard deviation over {' or '.join(map(str, counts))} seeds"
    return f"{text}, and {alone} for single runs" if any(row.seeds == 1 for row in rows) else text


def _conditions(rows: Sequence[MetricRow]) -> str:
    found: dict[str, set[object]] = {
        "Samples a method": {row.n for row in rows if not is_real(row.method)},
        "Features": {row.features for row in rows},
        "Reference": {row.reference for row in rows},
        "Real data in the last row": {row.floor_n for row in rows},
        "Seed": {row.seed for row in rows},
    }
    known = {name: sorted(str(value) for value in values if value is not None) for name, values in found.items()}
    return " ".join(f"{name}: {'; '.join(values)}." for name, values in known.items() if values)


def metrics_tables(rows: Sequence[MetricRow]) -> Iterable[Table]:
    metrics = sorted(dict.fromkeys(row.metric for row in rows), key=lambda metric: metric.startswith("class-wise"))
    for first in range(0, len(metrics), _COLUMNS):
        yield metrics_table([row for row in rows if row.metric in metrics[first : first + _COLUMNS]])


def errors_tables(rows: Iterable[ErrorRow], weighting: Weighting) -> Iterable[Table]:
    """A table for each quantity, methods as rows and noise levels as columns; of a single level, one of all."""
    rows = sorted((row for row in rows if row.weighting == weighting), key=lambda row: row.sigma)
    is_single = len({row.sigma for row in rows}) == 1
    groups: dict[str, dict[str, dict[str, Estimate]]] = {}
    for row in rows:
        level = f"{SIGMA} = {row.sigma:g}"
        title, head = (level, row.quantity) if is_single else (row.quantity, level)
        groups.setdefault(title, {}).setdefault(head, {})[row.method] = row.estimate
    n = ", ".join(f"{count:,}" for count in sorted({row.n for row in rows}))
    caption = f"n = {n} queries; ± is {what_spreads(rows, 'two standard errors')}. {_STARRED}"
    if all(row.estimate.low is None for row in rows):
        caption = f"Means over the {n} points of the grid: no sampling error."
    for title, columns in groups.items():
        yield estimates_table(f"{title}, {WEIGHTINGS[weighting]}", columns, caption, ["low"] * len(columns))


def class_tables(rows: Sequence[ClassRow]) -> Iterable[Table]:
    for metric in dict.fromkeys(row.metric for row in rows if not row.metric.startswith(SEEN_AS)):
        own = [row for row in rows if row.metric == metric]
        methods = sorted(dict.fromkeys(row.method for row in own), key=is_real)
        values = {(row.label, row.method): row.value for row in own}
        names = sorted({row.label: row.name for row in own}.items())
        cells = [(name, *(values.get((label, method)) for method in methods)) for label, name in names]
        yield Table(f"{metric.removeprefix('class-wise ')} of every class", ("class", *methods), cells, folded=True)


def generator_table(generators: Mapping[str, GeneratorLog]) -> Table:
    rows = []
    for name, log in generators.items():
        last = log.previews[-1]
        measures = (last.std_ratio, last.recall, last.accuracy, last.n)
        rows.append((name, last.step, *measures, "yes" if last.collapsed else "no", log.skipped))
    return Table(
        "Generators at the end of training",
        ("generator", "step", "in-class std ratio", "recall", "class accuracy", "n", "collapsed", "skipped"),
        rows,
        "In-class std ratio: the spread within a class over that of training data. Recall: k = 5, on pixels or "
        "coordinates. n: generated samples. Skipped: updates left out because a gradient was not finite.",
    )


def cost_table(rows: Sequence[CostRow]) -> Table:
    fields = ("method", "guide", "sampler", "steps", "evaluations_per_image", "images_per_second", "images", "seconds")
    cells = [[getattr(row, field) for field in fields] for row in rows]
    caption = "Guidance by a classifier adds its pass and gradient to each evaluation. Wall-clock time."
    return Table("Cost of sampling", [field.replace("_", " ") for field in fields], cells, caption)
