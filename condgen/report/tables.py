"""Tables of a run's figures, from tidy rows: one description for every dress (`condgen.report.dresses`).

A best value is marked only where its interval clears the intervals of all others.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from condgen.diagnostics.classifier_errors import SHARE, THRESHOLD, worthwhile
from condgen.metrics import REAL
from condgen.report.estimates import (
    MISSING,
    SIGMA,
    Estimate,
    Goal,
    error_estimates,
    format_estimate,
    format_number,
    goal_of,
    metric_estimates,
    winner,
)
from condgen.report.rows import (
    ClassifierRow,
    CostRow,
    ErrorRow,
    MetricRow,
    Quantity,
    RawRow,
    StageRow,
    Weighting,
    parse_rows,
)

__all__ = [
    "ARROWS",
    "Table",
    "classifier_table",
    "conditions_table",
    "cost_table",
    "errors_table",
    "methods_table",
    "metrics_table",
    "stages_table",
]

ARROWS: dict[Goal, str] = {"high": "↑", "low": "↓", "one": "→ 1"}


@dataclass(frozen=True)
class Table:
    """Strings in rows and columns.

    Attributes:
        title: what the table shows, one line.
        header: the heads of the columns.
        rows: the cells; the first of each row is the row's head.
        caption: the conditions of the numbers.
        best: (row, column) of the cells to mark as clearly best.
        words: the columns, beside the first, that hold words and not numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    words: frozenset[int] = frozenset()

    def marked(self, row: int, column: int) -> str:
        """The cell's text, with a star where it is clearly best."""
        return self.rows[row][column] + (" *" if (row, column) in self.best else "")


# ----------------------------------------------------------------------------------------------------
# The tables


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _mark(columns: Sequence[tuple[Sequence[Estimate | None], Goal | None]]) -> frozenset[tuple[int, int]]:
    """The cells to mark, where `columns` are those after the rows' heads."""
    found = ((winner(estimates, goal), column) for column, (estimates, goal) in enumerate(columns, start=1))
    return frozenset((row, column) for row, column in found if row is not None)


def metrics_table(rows: Sequence[RawRow], *, intervals: bool = True) -> Table:
    """Methods as rows, metrics as columns, and the figures of real held-out images in the last row."""
    real = {row["metric"]: row for row in rows if row["method"] == REAL}
    rows = [row for row in rows if row["method"] != REAL]
    parsed = parse_rows(MetricRow, rows, "metrics")
    estimates = metric_estimates(rows)
    metrics, methods = list(estimates), _unique(row.method for row in parsed)
    several_seeds = len({row.seed for row in parsed}) > 1
    written = format_estimate if intervals else _value
    cells = [(method, *(written(estimates[metric].get(method)) for metric in metrics)) for method in methods]
    measured = {metric: found[REAL] for metric, found in metric_estimates(list(real.values())).items()}
    floors = [
        written(measured[metric]) if metric in measured else _floor([row for row in parsed if row.metric == metric])
        for metric in metrics
    ]
    if any(floor != MISSING for floor in floors):
        cells.append((REAL, *floors))
    arrows = [ARROWS[goal] if (goal := goal_of(metric)) else "" for metric in metrics]
    spread = f"± is {'the standard deviation over seeds' if several_seeds else 'half the length of the interval'}. "
    spread = spread if intervals else ""
    return Table(
        title="Metrics by method",
        header=("method", *(f"{metric} {arrow}".rstrip() for metric, arrow in zip(metrics, arrows, strict=True))),
        rows=tuple(cells),
        caption=(
            f"{spread}{_conditions(parsed)} Bold with a star: better than every other method by more than the "
            "intervals. A density above 1 means that samples crowd where the real data are densest."
        ),
        best=_mark([([estimates[metric].get(method) for method in methods], goal_of(metric)) for metric in metrics]),
    )


def _value(estimate: Estimate | None) -> str:
    return MISSING if estimate is None else format_number(estimate.value)


def _floor(rows: Sequence[MetricRow]) -> str:
    """The figure of real data beside a metric, and of how many where they are fewer than those of the methods."""
    counts = {row.floor_n for row in rows if row.floor is not None and row.floor_n is not None and row.n is not None}
    fewer = counts - {row.n for row in rows}
    return _span([row.floor for row in rows]) + (f" (n = {min(fewer):,})" if fewer else "")


def _span(values: Sequence[float | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known:
        return MISSING
    return format_number(known[0]) if len(known) == 1 else f"{format_number(known[0])} to {format_number(known[-1])}"


def _conditions(rows: Sequence[MetricRow]) -> str:
    """One sentence a condition, listing the values that occur."""
    said: dict[str, set[str | None] | set[int | None]] = {
        "Samples a method": {row.n for row in rows},
        "Features": {row.features for row in rows},
        "Reference": {row.reference for row in rows},
        "Real data in the last row": {row.floor_n for row in rows},
        "Seed": {row.seed for row in rows},
    }
    known = {name: sorted(str(value) for value in values if value is not None) for name, values in said.items()}
    return " ".join(f"{name}: {'; '.join(values)}." for name, values in known.items() if values)


def conditions_table(rows: Sequence[RawRow]) -> Table:
    """Every figure with its conditions, one a row."""
    parsed = parse_rows(MetricRow, rows, "metrics")
    return Table(
        title="Every figure with its conditions",
        header=("method", "metric", "value", "low", "high", "n", "features", "reference", "real", "real n", "seed"),
        rows=tuple(
            (
                *(row.method, row.metric),
                *(format_number(value) for value in (row.value, row.low, row.high)),
                *(_text(value) for value in (row.n, row.features, row.reference)),
                *(format_number(row.floor), _text(row.floor_n), _text(row.seed)),
            )
            for row in parsed
        ),
        words=frozenset({1, 6, 7}),
    )


def _text(value: object) -> str:
    return MISSING if value is None else str(value)


def errors_table(
    rows: Sequence[RawRow],
    weighting: Weighting,
    quantity: Quantity,
    *,
    intervals: bool = True,
    relative: bool = False,
) -> Table:
    """Methods as rows, noise levels as columns, for one quantity and weighting, as they are or over the exact score."""
    estimates = error_estimates(rows, weighting, quantity, relative=relative)
    sigmas = sorted({sigma for found in estimates.values() for sigma in found})
    counts = {row.n for row in parse_rows(ErrorRow, rows, "diagnostics") if row.weighting == weighting}
    n = ", ".join(str(n) for n in sorted(counts)) or "0"
    sampled = weighting == "data"  # the points of a grid are not drawn, so their mean has no sampling error
    intervals = intervals and sampled
    caption = f"The mean over the {n} points of the grid, all classes together; nothing here is sampled."
    if sampled:
        caption = (
            f"n = {n} queries{'; ± is two standard errors, 2 sd / √n' if intervals else ''}. Bold with a star: lower "
            "than every other method by more than two standard errors on either side."
        )
    return Table(
        title=f"{quantity}, {'weighted by the data' if weighting == 'data' else 'uniform over the grid'}"
        f"{', over the exact score' if relative else ''}",
        header=("method", *(f"{SIGMA} = {sigma:g}" for sigma in sigmas)),
        rows=tuple(
            (method, *((format_estimate if intervals else _value)(found.get(sigma)) for sigma in sigmas))
            for method, found in estimates.items()
        ),
        caption=caption,
        best=_mark([([found.get(sigma) for found in estimates.values()], "low") for sigma in sigmas if sampled]),
    )


def classifier_table(rows: Sequence[ClassifierRow], name: str) -> Table:
    """One classifier, a noise level a row; gains share a power of a thousand, which keeps the table narrow."""
    largest = max((abs(row.gain) for row in rows if row.gain), default=0.0)
    power = 3 * math.floor(math.log10(largest) / 3) if largest > 0 and math.isfinite(largest) else 0

    def gain(row: ClassifierRow) -> str:
        if row.gain is None or row.gain_se is None:
            return MISSING
        return f"{row.gain / 10.0**power:.2f} ± {2 * row.gain_se / 10.0**power:.2f}"

    def scale(row: ClassifierRow) -> str:
        if row.scale is None or row.scale_se is None:
            return MISSING
        return format_estimate(Estimate(row.scale, row.scale - 2 * row.scale_se, row.scale + 2 * row.scale_se))

    used = {row.sigma for row, on in zip(rows, worthwhile(rows), strict=True) if on}
    columns: dict[str, Callable[[ClassifierRow], str]] = {
        SIGMA: lambda row: f"{row.sigma:g}",
        "accuracy": lambda row: f"{row.accuracy:.3f}",
        "CE": lambda row: f"{row.cross_entropy:.3f}",
        "ECE": lambda row: f"{row.ece:.3f}",
        "|g|": lambda row: f"{row.norm:.2g}",
        "gain": gain,
        "best scale": scale,
        "use": lambda row: f"{row.scale if row.sigma in used else 0.0:.2f}",
    }
    caption = "CE: cross-entropy, nats. ECE: expected calibration error. |g|: mean length of the likelihood score."
    if any(row.gain is not None for row in rows):
        unit = f"times 1e{power:+03d}, " if power else ""
        caption += (
            f" Gain: loss at scale 1 minus loss without guidance, {unit}in half squared errors of the predicted noise "
            "per dimension; below 0, guidance brings the score closer to the truth. ± is two standard errors over "
            f"samples. Use: the best scale, or 0 where guidance does not help by {THRESHOLD:g} standard errors, or its "
            f"gain is below {SHARE:.0%} of the greatest."
        )
    else:
        columns = dict(list(columns.items())[:5])
    n, draws = (sorted({getattr(row, key) for row in rows}) for key in ("n", "draws"))
    conditions = f"Held-out samples: {', '.join(map(str, n))}; noise draws of each: {', '.join(map(str, draws))}. "
    cells = tuple(tuple(column(row) for column in columns.values()) for row in rows)
    return Table(title=name, header=tuple(columns), rows=cells, caption=conditions + caption)


def cost_table(rows: Sequence[RawRow]) -> Table:
    """What sampling took, one method a row."""
    columns: dict[str, Callable[[CostRow], str]] = {
        "method": lambda row: row.method,
        "sampler": lambda row: _text(row.sampler),
        "steps": lambda row: _text(row.steps),
        "guidance scale": lambda row: format_number(row.scale),
        "network evaluations per image": lambda row: format_number(row.evaluations_per_image),
        "images per second": lambda row: format_number(row.images_per_second),
        "images": lambda row: _text(row.images),
        "seconds": lambda row: format_number(row.seconds),
    }
    parsed = parse_rows(CostRow, rows, "cost")
    return Table(
        title="Cost of sampling",
        header=tuple(columns),
        rows=tuple(tuple(column(row) for column in columns.values()) for row in parsed),
        caption=(
            "Evaluations are of the denoiser or generator; guidance adds a classifier's pass and gradient to each. "
            "Wall-clock time, on the machine that made the run."
        ),
        words=frozenset({1}),
    )


def methods_table(rows: Sequence[RawRow]) -> Table:
    """What each method is, and what a sample takes, one method a row."""
    parsed = parse_rows(CostRow, rows, "cost")
    return Table(
        title="How samples were drawn",
        header=("method", "what it is", "sampler", "network evaluations a sample", "samples"),
        rows=tuple(
            (
                row.method,
                row.guide or ("a one-step generator" if row.sampler == "one step" else MISSING),
                _text(row.sampler),
                format_number(row.evaluations_per_image),
                _text(row.images),
            )
            for row in parsed
        ),
        words=frozenset({1, 2}),
    )


def stages_table(rows: Sequence[RawRow]) -> Table:
    """The stages of a run and their times."""
    parsed = parse_rows(StageRow, rows, "run.json, stages")
    return Table(
        title=f"Stages: {format_number(sum(row.seconds or 0.0 for row in parsed))} seconds in all",
        header=("stage", "seconds", "what"),
        rows=tuple((row.stage, format_number(row.seconds), row.what) for row in parsed),
        caption="A stage that was found finished keeps the time of its first run.",
        words=frozenset({2}),
    )
