"""Values with intervals: of rows, compared, and written as text."""

import math
from collections.abc import Iterable, Sequence

from condgen.diagnostics.held_out import HeldOutRow
from condgen.diagnostics.score_errors import ErrorRow
from condgen.metrics.measures import REAL, Goal, MetricRow
from condgen.rows import Estimate

MISSING = "—"
_ROUNDING = 1e-6  # relative
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


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
    scale = 0 if size == 0 or 1e-3 <= size < 1e6 else math.floor(math.log10(size))
    value, half = value / 10.0**scale, half / 10.0**scale
    first = -math.floor(math.log10(half)) if half > 0 else 2  # the place of the half width's first significant digit
    digits = max(0, min(first + 1, 4), first)
    if half < _ROUNDING * abs(value):  # an interval of nothing but rounding
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f} ± {half:.{digits}f}"
    return f"({text})e{scale:+03d}" if scale else text


def winner(estimates: Sequence[Estimate | None], goal: Goal | None) -> int | None:
    """The index of the estimate that beats all others, if there is one; None stands for one without a value."""
    rivals = {i: one for i, one in enumerate(estimates) if one is not None and math.isfinite(one.value)}
    best = [i for i, one in rivals.items() if all(beats(one, rivals[other], goal) for other in rivals if other != i)]
    return best[0] if best and len(rivals) > 1 else None


def beats(one: Estimate, other: Estimate, goal: Goal | None) -> bool:
    """Whether an interval clears another one in the goal's direction; never where one of them is not known."""
    return _losses(one, goal)[1] < _losses(other, goal)[0]


def _losses(estimate: Estimate, goal: Goal | None) -> tuple[float, float]:
    """The ends of the interval of a number that should be small; under the goal "one", that is |value - 1|."""
    low, high = estimate.low, estimate.high
    if low is None or high is None or goal is None:
        return -math.inf, math.inf
    if goal == "one":
        near, far = sorted((abs(low - 1), abs(high - 1)))
        return (0.0 if low <= 1 <= high else near), far
    return (-high, -low) if goal == "high" else (low, high)


def is_real(method: str) -> bool:
    """Whether the samples of a method are real held-out data, of one run or of several."""
    return method.startswith(REAL)


def metric_estimates(rows: Iterable[MetricRow]) -> dict[str, dict[str, Estimate]]:
    out: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        found = out.setdefault(row.metric, {})
        if row.value is not None:
            found[row.method] = Estimate(row.value, row.low, row.high)
    return out


def by_level(rows: Iterable[ErrorRow | HeldOutRow], unit: float = 1.0) -> dict[str, dict[float, Estimate]]:
    """Estimates in a unit by method and rising noise level."""
    out: dict[str, dict[float, Estimate]] = {}
    for row in sorted(rows, key=lambda row: row.sigma):
        out.setdefault(row.method, {})[row.sigma] = row.estimate.over(unit)
    return out
