"""A run's figures in sentences: which method to use, what is best and by how much, and what to beware of."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from condgen.diagnostics.score_errors import ZERO_GUIDANCE, ErrorRow
from condgen.metrics import REAL, MetricRow, goal_of
from condgen.report.estimates import format_estimate, format_number, winner
from condgen.report.load import Run
from condgen.report.rows import CostRow, by_level, is_real, metric_estimates
from condgen.rows import Estimate

_LEAST_SHARE = 0.01


def findings(run: Run) -> list[str]:
    """Sentences for the head of a report."""
    return [
        *(f"Beware of {name}: {log.previews[-1].warning()}." for name, log in run.collapsed.items()),
        *_error_sentences(run.errors),
        *_memory_sentences(run.metrics),
    ]


def _estimates(rows: Iterable[MetricRow]) -> dict[str, dict[str, Estimate]]:
    """Finite estimates of methods, real data left out, by metric; the best method first."""
    found = metric_estimates(row for row in rows if not is_real(row.method))
    ranked = {}
    for metric, own in found.items():
        finite = {method: one for method, one in own.items() if math.isfinite(one.value)}
        order = sorted(finite, key=lambda method: finite[method].value, reverse=goal_of(metric) == "high")
        ranked[metric] = {method: finite[method] for method in order}
    return ranked


def advise(metrics: Sequence[MetricRow], cost: Sequence[CostRow] = (), collapsed: Collection[str] = ()) -> str:
    """Which method to use, by class accuracy and one distance to real data; empty where the figures decide nothing.

    A method leads where none is better by more than the intervals in either; of several that lead, the cheapest is
    advised. Collapsed methods are left out.
    """
    estimates = _estimates(row for row in metrics if row.method not in collapsed)
    distances = sorted((m for m in estimates if goal_of(m) == "low"), key=lambda m: not m.startswith("class-wise"))
    deciding = {m: estimates[m] for m in ("class accuracy", *distances[:1]) if m in estimates}
    rivals = [method for method in next(iter(deciding.values()), ()) if all(method in f for f in deciding.values())]
    if len(rivals) < 2:
        return ""
    leaders = {
        metric: _leaders(metric, {m: found[m] for m in found if m in rivals}) for metric, found in deciding.items()
    }
    leading = [method for method in rivals if all(method in found for found in leaders.values())]
    if not leading:
        ends = {metric: "highest" if goal_of(metric) == "high" else "lowest" for metric in leaders}
        parts = [f"{own[0]} for the {ends[metric]} {metric}" for metric, own in leaders.items()]
        return f"No method leads in both: use {', or '.join(parts)}."
    evaluations = {row.method: row.evaluations_per_image or math.inf for row in cost}
    least = min(evaluations.get(method, math.inf) for method in leading)
    best = [method for method in leading if evaluations.get(method, math.inf) == least]
    figures = " and ".join(f"{metric} ({format_estimate(found[best[0]])})" for metric, found in deciding.items())
    if len(best) > 1:
        return f"Use {' or '.join(best)}, which {' and '.join(deciding)} cannot tell apart."
    dearer = ", ".join(method for method in leading if method != best[0])
    return f"Use {best[0]}, which leads in {figures}" + (f" with fewer evaluations than {dearer}." if dearer else ".")


def _leaders(metric: str, ranked: Mapping[str, Estimate]) -> list[str]:
    """The best by value first, and those that it does not clearly beat."""
    first = next(iter(ranked.values()))

    def beaten(one: Estimate) -> bool:
        if first.half_width is None or one.half_width is None:
            return one.value != first.value
        return winner([first, one], goal_of(metric)) == 0

    return [method for method, one in ranked.items() if one is first or not beaten(one)]


def _memory_sentences(metrics: Sequence[MetricRow]) -> Iterable[str]:
    """Methods whose share of authentic samples is clearly below that of held-out real data."""
    found = metric_estimates(metrics).get("authenticity", {})
    if REAL not in found:
        return
    real = found[REAL]
    closer = [f"{method} {format_estimate(one)}" for method, one in found.items() if winner([real, one], "high") == 0]
    if closer:
        yield (
            f"Closer to the training data than new data are: {', '.join(closer)} authentic samples, against "
            f"{format_estimate(real)} of held-out real data. That is a sign of memory, or of too little spread: see "
            "the nearest neighbours."
        )


def mean_log_ratio(found: Mapping[float, Estimate], reference: Mapping[float, Estimate]) -> tuple[float, int] | None:
    """The geometric mean over noise levels of the error relative to a reference's, and the number of levels.

    Levels count where sigma times the reference is at least a hundredth of its largest: where the exact likelihood
    score all but vanishes, the ratio of two tiny numbers says nothing about guidance.
    """
    weight = {sigma: sigma * estimate.value for sigma, estimate in reference.items()}
    least = _LEAST_SHARE * max(weight.values(), default=0.0)
    levels = [sigma for sigma in reference if weight[sigma] >= least > 0]
    logs = [math.log(found[s].value / reference[s].value) for s in levels if s in found and found[s].value > 0]
    return (math.exp(math.fsum(logs) / len(logs)), len(logs)) if logs else None


def _error_sentences(errors: Sequence[ErrorRow]) -> Iterable[str]:
    """The error of the likelihood score by each method, relative to its length, the best first; of images, nothing."""
    if any(row.weighting == "held_out" for row in errors):
        return
    found = by_level(errors, weighting="data", quantity="D_L")
    reference = found.pop(ZERO_GUIDANCE, {})
    ratios = {method: ratio for method, own in found.items() if (ratio := mean_log_ratio(own, reference)) is not None}
    if not ratios:
        return
    parts = [
        f"{method} {format_number(100 * ratio)}%{' (worse than no guidance)' if ratio > 1 else ''}"
        for method, (ratio, _) in sorted(ratios.items(), key=lambda item: item[1])
    ]
    levels = max(levels for _, levels in ratios.values())
    yield (
        f"Error of the likelihood score, which guidance adds, relative to its length: {'; '.join(parts)} (D_L over "
        f"that of zero guidance, weighted by the data, geometric mean over {levels} noise levels)."
    )
