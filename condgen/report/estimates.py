"""Values with intervals: compared, and written as text."""

import math
from collections.abc import Sequence

from condgen.metrics import Goal
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
    if size == 0:
        return "0 ± 0"
    scale = 0 if 1e-3 <= size < 1e6 else math.floor(math.log10(size))
    value, half = value / 10.0**scale, half / 10.0**scale
    first = -math.floor(math.log10(half)) if half > 0 else 2  # the place of the half width's first significant digit
    digits = max(0, min(first + 1, 4), first)
    if half < _ROUNDING * abs(value):  # an interval of nothing but rounding
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f} ± {half:.{digits}f}"
    return f"({text})e{scale:+03d}" if scale else text


def winner(estimates: Sequence[Estimate | None], goal: Goal | None) -> int | None:
    """The index of the estimate whose interval clears all others in the goal's direction, if there is one.

    None stands for one without a value. An estimate without an interval wins and loses nothing.
    """
    rivals = [(i, rival) for i, rival in enumerate(estimates) if rival is not None and math.isfinite(rival.value)]
    if goal is None or len(rivals) < 2:
        return None
    losses = [(_as_loss(rival, goal), index) for index, rival in rivals]
    ends = [(loss.low, loss.high, index) for loss, index in losses if loss.low is not None and loss.high is not None]
    if len(ends) < len(rivals):
        return None
    first = min(ends, key=lambda end: end[1])
    return first[2] if all(first[1] < end[0] for end in ends if end is not first) else None


def _as_loss(estimate: Estimate, goal: Goal) -> Estimate:
    """The estimate as a number that should be small; under the goal "one", that is |value - 1|."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if low is None or high is None or goal == "low":
        return estimate
    if goal == "high":
        return Estimate(-value, -high, -low)
    ends = sorted((abs(low - 1), abs(high - 1)))
    return Estimate(abs(value - 1), 0.0 if low <= 1 <= high else ends[0], ends[1])
