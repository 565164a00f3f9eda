"""A run's figures in sentences: which methods to use, and what to beware of."""

import math
from collections.abc import Iterable, Sequence

from condgen.metrics import REAL, MetricRow, goal_of
from condgen.report.estimates import beats, format_estimate, format_number, is_real, metric_estimates
from condgen.report.load import CostRow, Run


def findings(run: Run) -> list[str]:
    """Sentences for the head of a report."""
    return [
        *_advice(run.metrics, run.cost),
        *(f"Beware of {name}: {log.previews[-1].warning()}." for name, log in run.generators.items() if log.collapsed),
        *_memory(run.metrics),
    ]


def _advice(metrics: Sequence[MetricRow], cost: Sequence[CostRow]) -> Iterable[str]:
    """Methods that none beats, in class accuracy and in one distance to real data; the cheapest first."""
    found = metric_estimates(row for row in metrics if not is_real(row.method) and row.low is not None)
    distances = sorted((m for m in found if goal_of(m) == "low"), key=lambda m: not m.startswith("class-wise"))
    deciding = {metric: found[metric] for metric in ("class accuracy", *distances[:1]) if metric in found}
    rivals = [m for m in next(iter(deciding.values()), ()) if all(m in own for own in deciding.values())]
    best = [
        method
        for method in rivals
        if not any(beats(own[rival], own[method], goal_of(m)) for m, own in deciding.items() for rival in rivals)
    ]
    if best and len(rivals) > 1:
        evaluations = {row.method: row.evaluations_per_image for row in cost}
        best.sort(key=lambda method: evaluations.get(method) or math.inf)
        named = [f"{method} (evaluations a sample: {format_number(evaluations.get(method))})" for method in best]
        yield f"Use {' or '.join(named)}: in {' and '.join(deciding)} none is better by more than the intervals."


def _memory(metrics: Sequence[MetricRow]) -> Iterable[str]:
    """Methods whose share of authentic samples is clearly below that of held-out real data."""
    found = metric_estimates(metrics).get("authenticity", {})
    real = found.get(REAL)
    closer = [f"{method} {format_estimate(one)}" for method, one in found.items() if real and beats(real, one, "high")]
    if closer:
        yield (
            f"Closer to the training data than new data are: {', '.join(closer)} authentic samples, against "
            f"{format_estimate(real)} of held-out real data. That is a sign of memory, or of too little spread: see "
            "the nearest neighbours."
        )
