"""A run's figures in sentences: which method to use, what is best and by how much, and what to beware of."""

import math
import re
from collections.abc import Collection, Mapping, Sequence

from condgen.metrics import REAL, Goal, goal_of
from condgen.report.estimates import (
    SIGMA,
    Estimate,
    format_estimate,
    format_number,
    winner,
)
from condgen.report.load import Run
from condgen.report.rows import CostRow, ErrorRow, MetricRow, error_estimates, is_real, metric_estimates

__all__ = [
    "AUTHENTICITY",
    "LEADING",
    "NO_GUIDANCE",
    "advise",
    "advise_by_scores",
    "best_in_words",
    "findings",
    "mean_log_ratio",
]

AUTHENTICITY = "authenticity"
NO_GUIDANCE = "zero guidance"
LEADING = r"class accuracy|(class-wise )?FI?D\b"  # metrics that get a sentence
_LEAST_SHARE = 0.01
_SAME = 1.05  # methods whose mean errors are within this factor are named together

_ByMethod = Mapping[str, Estimate]


def findings(run: Run) -> list[str]:
    """Sentences for the head of a report."""
    logs = {name: log.previews[-1].reading for name, log in run.generators.items() if log.collapsed}
    sentences = [f"Beware of {name}: {reading.warning()}." for name, reading in logs.items()]
    sentences.append(_errors_in_words(run.errors))
    found = metric_estimates(row for row in run.metrics if not is_real(row.method))
    sentences += [best_in_words(metric, found[metric], run.metrics) for metric in found if re.match(LEADING, metric)]
    sentences.append(_memory_in_words(run.metrics))
    sentences.append(_dlsm_against_ce(found, run.errors))
    return [sentence for sentence in sentences if sentence]


def best_in_words(metric: str, found: _ByMethod, rows: Sequence[MetricRow] = ()) -> str:
    """Which method is best by a metric, whether clearly, and the floor that the rows name."""
    goal = goal_of(metric)
    finite = {method: estimate for method, estimate in found.items() if math.isfinite(estimate.value)}
    ranked = sorted(finite, key=lambda method: finite[method].value, reverse=goal == "high")
    if len(ranked) < 2:
        return ""
    first, second = finite[ranked[0]], finite[ranked[1]]
    relation = "clearly ahead of" if winner([first, second], goal) == 0 else "not clearly apart from"
    text = (
        f"{metric[:1].upper()}{metric[1:]} is {'highest' if goal == 'high' else 'lowest'} with {ranked[0]}: "
        f"{format_estimate(first)}, {relation} {ranked[1]} ({format_estimate(second)})."
    )
    floor = next((row for row in rows if row.metric == metric and row.floor is not None), None)
    if floor is not None:
        text += f" Real held-out data: {format_number(floor.floor)} (n = {floor.floor_n}, features: {floor.features})."
    return text


# ----------------------------------------------------------------------------------------------------
# Which method to use


def advise(metrics: Sequence[MetricRow], cost: Sequence[CostRow] = (), collapsed: Collection[str] = ()) -> str:
    """Which method to use, by class accuracy and one distance to real data; empty where the figures decide nothing.

    A method leads where none is better by more than the intervals in either; of several that lead, the cheapest is
    advised.

    Args:
        metrics: rows of metrics.json.
        cost: rows of cost.json.
        collapsed: methods that are not to be used.
    """
    estimates = metric_estimates(row for row in metrics if not is_real(row.method) and row.method not in collapsed)
    distances = sorted((m for m in estimates if goal_of(m) == "low"), key=lambda m: not m.startswith("class-wise"))
    deciding = {m: estimates[m] for m in ("class accuracy", *distances[:1]) if m in estimates}
    rivals = [
        m for m in next(iter(deciding.values()), ()) if all(_is_finite(found.get(m)) for found in deciding.values())
    ]
    if len(rivals) < 2:
        return ""
    leaders = {metric: _leaders({m: found[m] for m in rivals}, goal_of(metric)) for metric, found in deciding.items()}
    leading = [method for method in rivals if all(method in found for found in leaders.values())]
    if not leading:
        parts = [
            f"{own[0]} for the {'highest' if goal_of(metric) == 'high' else 'lowest'} {metric} "
            f"({format_estimate(deciding[metric][own[0]])})"
            for metric, own in leaders.items()
        ]
        return f"No method leads in both: use {', or '.join(parts)}."
    evaluations = {row.method: row.evaluations_per_image for row in cost if row.evaluations_per_image is not None}
    least = min((evaluations[method] for method in leading if method in evaluations), default=None)
    best = [method for method in leading if evaluations.get(method) == least]
    figures = [f"{metric} ({format_estimate(found[best[0]])})" for metric, found in deciding.items()]
    if len(best) > 1:
        text = f"Use {_listed(best, 'or')}, which {_listed(list(deciding), 'and')} cannot tell apart."
    elif len(leading) == 1:
        text = f"Use {best[0]}, which leads in {_listed(figures, 'and')}."
    else:
        text = f"Use {best[0]}: no other method is clearly better in {_listed(figures, 'or')}."
    others = [method for method in leading if method not in best]
    if others and least is not None:
        text += f" It takes {format_number(least)} network evaluations a sample; not clearly better, but dearer: "
        text += f"{_listed([f'{m} ({format_number(evaluations.get(m))})' for m in others], 'and')}."
    remembering = [method for method in best if method in _closer_than_new(metrics)]
    if remembering:
        text += f" But samples of {_listed(remembering, 'and')} lie closer to the training data than new data do."
    return text


def _is_finite(estimate: Estimate | None) -> bool:
    return estimate is not None and math.isfinite(estimate.value)


def _leaders(found: _ByMethod, goal: Goal | None) -> list[str]:
    """The best by value first, and those that it does not clearly beat."""
    ranked = sorted(found, key=lambda method: found[method].value, reverse=goal == "high")
    first = found[ranked[0]]

    def beaten(one: Estimate) -> bool:
        if first.half_width is None or one.half_width is None:
            return one.value != first.value
        return winner([first, one], goal) == 0

    return [method for method in ranked if method == ranked[0] or not beaten(found[method])]


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _closer_than_new(metrics: Sequence[MetricRow]) -> dict[str, Estimate]:
    """Methods whose share of authentic samples is clearly below that of held-out real data, and the shares."""
    found = metric_estimates(row for row in metrics if row.metric == AUTHENTICITY).get(AUTHENTICITY, {})
    real = found.get(REAL)
    return {m: one for m, one in found.items() if real is not None and winner([real, one], "high") == 0}


def _memory_in_words(metrics: Sequence[MetricRow]) -> str:
    """Which methods lie closer to their training data than new data do: by authenticity, or else by a distance."""
    real = next(
        (row for row in metrics if row.metric == AUTHENTICITY and row.method == REAL and row.value is not None), None
    )
    if real is not None and real.value is not None:
        share = format_estimate(Estimate(real.value, real.low, real.high))
        closer = [f"{method} {format_estimate(one)}" for method, one in _closer_than_new(metrics).items()]
        if not closer:
            return (
                f"No method's samples are clearly closer to the training data than new data are: held-out real data "
                f"have {share} authentic samples, and no method clearly fewer."
            )
        return (
            f"Closer to the training data than new data are: {', '.join(closer)} authentic samples, against {share} of "
            "held-out real data. That is a sign of memory, or of too little spread: see the nearest neighbours."
        )
    rows = [row for row in metrics if goal_of(row.metric) == "low" and row.value is not None and row.floor is not None]
    below = [row for row in rows if (row.high if row.high is not None else row.value or 0.0) < (row.floor or 0.0)]
    if not below:
        return ""
    return (
        f"By {below[0].metric}, closer to the training data than held-out real data are: "
        f"{', '.join(dict.fromkeys(row.method for row in below))}. Below that floor a distance is a sign of memory or "
        "of too little spread, not of quality."
    )


# ----------------------------------------------------------------------------------------------------
# Score errors


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


def _relative(errors: Sequence[ErrorRow], quantity: str) -> tuple[list[tuple[str, float]], int]:
    """Methods with their mean error relative to zero guidance, the best first, and the number of noise levels."""
    found = error_estimates(errors, "data", "D_L" if quantity == "D_L" else "D_P")
    reference = found.pop(NO_GUIDANCE, {})
    ratios = {method: ratio for method, own in found.items() if (ratio := mean_log_ratio(own, reference)) is not None}
    ranked = sorted(((method, ratio) for method, (ratio, _) in ratios.items()), key=lambda item: item[1])
    return ranked, max((levels for _, levels in ratios.values()), default=0)


def _errors_in_words(errors: Sequence[ErrorRow]) -> str:
    ranked, levels = _relative(errors, "D_L")
    if not ranked:
        return ""
    said = [f"{method} {_percent(ratio)}{' (worse than no guidance)' if ratio > 1 else ''}" for method, ratio in ranked]
    return (
        f"Error of the likelihood score, which guidance adds, relative to its length: {'; '.join(said)} (D_L over that "
        f"of zero guidance, weighted by the data, geometric mean over {levels} noise levels)."
    )


def _percent(ratio: float) -> str:
    return f"{100 * ratio:,.0f}%" if ratio >= 0.1 else f"{100 * ratio:.2g}%"


def advise_by_scores(errors: Sequence[ErrorRow]) -> str:
    """Which method to use where only scores were measured: that whose posterior score has the least error."""
    ranked, levels = _relative(errors, "D_P")
    if len(ranked) < 2:
        return ""
    least = ranked[0][1]
    if least >= 1:
        return "Use none of the methods: without guidance the posterior score is closer to the exact one."
    near = [method for method, ratio in ranked if ratio < _SAME * least]
    after = [f"; {method} comes next with {_percent(ratio)}" for method, ratio in ranked[len(near) :][:1]]
    return (
        f"Use {_listed(near, 'or')}: the posterior score (D_P) has the least error, {_percent(least)} of that of zero "
        f"guidance (geometric mean over {levels} noise levels){''.join(after)}. Samples were not measured."
    )


def _dlsm_against_ce(estimates: Mapping[str, _ByMethod], errors: Sequence[ErrorRow]) -> str:
    """DLSM against cross-entropy, metric by metric and noise level by noise level."""
    words: dict[int | None, str] = {0: "clearly better", 1: "clearly worse", None: "not clearly different"}
    verdicts: dict[int | None, list[str]] = {key: [] for key in words}
    for metric, found in estimates.items():
        if "dlsm" in found and "ce" in found and (goal := goal_of(metric)):
            verdicts[winner([found["dlsm"], found["ce"]], goal)].append(metric)
    parts = [f"{words[key]} in {_some(metrics)}" for key, metrics in verdicts.items() if metrics]
    by_method = error_estimates(errors, "data", "D_L")
    dlsm, ce = by_method.get("dlsm", {}), by_method.get("ce", {})
    levels = {sigma: winner([dlsm[sigma], ce[sigma]], "low") for sigma in sorted(dlsm) if sigma in ce}
    if levels:
        won, lost = ([sigma for sigma, verdict in levels.items() if verdict == which] for which in (0, 1))
        where = f"at {SIGMA} = {', '.join(f'{sigma:g}' for sigma in lost)}" if lost else "at none"
        parts.append(f"D_L clearly lower at {len(won)} of {len(levels)} noise levels and clearly higher {where}")
    return f"DLSM against cross-entropy: {'; '.join(parts)}." if parts else ""


def _some(metrics: Sequence[str]) -> str:
    return ", ".join(metrics) if len(metrics) <= 4 else f"{len(metrics)} metrics, such as {metrics[0]} and {metrics[1]}"
