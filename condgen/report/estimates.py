"""Values with intervals: read from tidy rows, compared, and written as text.

An estimate beats another only where its interval clears the other's; without intervals nothing beats anything.
Intervals of score errors are two standard errors, sd / sqrt(n), to either side.
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from condgen.errors import UserError
from condgen.report.rows import ErrorRow, MetricRow, Quantity, RawRow, Weighting, parse_rows

__all__ = [
    "MISSING",
    "SIGMA",
    "Estimate",
    "Goal",
    "error_estimates",
    "format_estimate",
    "format_number",
    "goal_of",
    "metric_estimates",
    "winner",
]

Goal: TypeAlias = Literal["high", "low", "one"]

MISSING = "—"
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
_NOTHING = 1e-6  # of the unconditional score: a likelihood score as short as that is rounding to the networks

_GOALS: dict[str, Goal] = {
    "class accuracy": "high",
    "precision": "high",
    "recall": "high",
    "density": "high",
    "coverage": "high",
    "class-wise precision": "high",
    "class-wise recall": "high",
    "class-wise density": "high",
    "class-wise coverage": "high",
    "in-class std ratio": "one",
    "in-class diversity": "one",
}


@dataclass(frozen=True)
class Estimate:
    """A value and, where known, the ends of its interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def as_distance_from_one(self) -> "Estimate":
        """The interval of |value - 1|."""
        if self.low is None or self.high is None:
            return Estimate(abs(self.value - 1))
        ends = sorted((abs(self.low - 1), abs(self.high - 1)))
        return Estimate(abs(self.value - 1), 0.0 if self.low <= 1 <= self.high else ends[0], ends[1])


# ----------------------------------------------------------------------------------------------------
# Numbers as text


def format_number(value: float | None) -> str:
    """Three significant digits, without an exponent where that stays readable."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2e}"


def format_estimate(estimate: Estimate | None) -> str:
    """The value ± half the interval, to the second significant digit of the latter, or the first beyond four places."""
    if estimate is None:
        return MISSING
    value, half = estimate.value, estimate.half_width
    if half is None or not (math.isfinite(value) and math.isfinite(half)):
        return format_number(value)
    size = max(abs(value), half)
    if size == 0:
        return "0 ± 0"
    scale = 0 if 1e-3 <= size < 1e6 else math.floor(math.log10(size))
    value, half = value / 10.0**scale, half / 10.0**scale
    first = -math.floor(math.log10(half)) if half > 0 else 2  # the place of the half width's first significant digit
    digits = max(0, min(first + 1, 4), first)
    suffix = f"e{scale:+03d}" if scale else ""
    return f"({value:.{digits}f} ± {half:.{digits}f}){suffix}" if suffix else f"{value:.{digits}f} ± {half:.{digits}f}"


# ----------------------------------------------------------------------------------------------------
# Which is best


def goal_of(metric: str) -> Goal | None:
    """Where a metric should go: high, low, towards one, or unknown."""
    if re.match(r"(class-wise )?(FD|FID|KD|KID)\b", metric):
        return "low"
    if re.match(r"(IS|CAS|classifier score)\b", metric):
        return "high"
    return _GOALS.get(metric)


def winner(estimates: Sequence[Estimate | None], goal: Goal | None) -> int | None:
    """The index of the estimate whose interval clears all others in the goal's direction, if there is one.

    Args:
        estimates: the rivals; None where one has no value.
        goal: where the value should go.
    """
    rivals = [
        (index, estimate) for index, estimate in enumerate(estimates) if estimate and math.isfinite(estimate.value)
    ]
    if goal is None or len(rivals) < 2:
        return None
    bounds = []
    for index, estimate in rivals:
        seen = estimate.as_distance_from_one() if goal == "one" else estimate
        if seen.low is None or seen.high is None:
            return None
        bounds.append((-seen.high, -seen.low, index) if goal == "high" else (seen.low, seen.high, index))
    first = min(bounds, key=lambda bound: bound[1])
    return first[2] if all(first[1] < bound[0] for bound in bounds if bound is not first) else None


# ----------------------------------------------------------------------------------------------------
# Estimates from rows


def metric_estimates(rows: Sequence[RawRow]) -> dict[str, dict[str, Estimate]]:
    """Estimates by metric and method: the row's own interval, or mean ± sd where there are several seeds."""
    groups: dict[tuple[str, str], list[MetricRow]] = {}
    for row in parse_rows(MetricRow, rows, "metrics"):
        groups.setdefault((row.metric, row.method), []).append(row)
    out: dict[str, dict[str, Estimate]] = {}
    for (metric, method), group in groups.items():
        if len({row.seed for row in group}) < len(group):
            raise UserError(f"metrics: two rows for {metric} of {method} with one seed; evaluate the run anew")
        values = [row.value for row in group if row.value is not None]
        found = out.setdefault(metric, {})
        if len(values) == 1:
            (row,) = (row for row in group if row.value is not None)
            found[method] = Estimate(values[0], row.low, row.high)
        elif values:
            mean, sd = statistics.fmean(values), statistics.stdev(values)
            found[method] = Estimate(mean, mean - sd, mean + sd)
    return out


def error_estimates(
    rows: Sequence[RawRow], weighting: Weighting, quantity: Quantity, *, relative: bool = False
) -> dict[str, dict[float, Estimate]]:
    """Estimates by method and sigma, each ± two standard errors.

    Args:
        rows: the rows of diagnostics.json.
        weighting: which rows to take.
        quantity: which rows to take.
        relative: over the mean length of the exact score instead. Rows where that is nothing, or unknown, are left
            out: where the classes leave no doubt, there is no likelihood score to speak of.
    """
    out: dict[str, dict[float, Estimate]] = {}
    parsed = list(parse_rows(ErrorRow, rows, "diagnostics"))
    whole = {row.sigma: row.exact for row in parsed if (row.weighting, row.quantity) == (weighting, "D")}
    for row in parsed:
        if (row.weighting, row.quantity) != (weighting, quantity):
            continue
        found = out.setdefault(row.method, {})
        if row.sigma in found:
            raise UserError(f"diagnostics: two rows for {quantity} of {row.method} at sigma {row.sigma}; diagnose anew")
        error, mean = row.standard_error, row.mean
        if relative:
            if row.exact is None or not row.exact > _NOTHING * (whole.get(row.sigma) or 0.0):
                continue
            mean, error = mean / row.exact, None if error is None else error / row.exact
        found[row.sigma] = Estimate(mean) if error is None else Estimate(mean, mean - 2 * error, mean + 2 * error)
    return out
