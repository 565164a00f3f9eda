"""The figures of a run in sentences: what is best, by how much, and where the differences are within the intervals."""

import math
import re
from collections.abc import Mapping, Sequence

from condgen.metrics import REAL
from condgen.report.advice import AUTHENTICITY, closer_than_new
from condgen.report.estimates import (
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
from condgen.report.rows import CostRow, MetricRow, RawRow, looks_of, parse_rows

__all__ = ["NO_GUIDANCE", "best_in_words", "closest_in_words", "findings", "mean_log_ratio"]

NO_GUIDANCE = "zero guidance"
_LEAST_SHARE = 0.01
_SAME = 1.05  # methods whose mean errors are within this factor are named together


def findings(
    metrics: Sequence[RawRow], errors: Sequence[RawRow], cost: Sequence[RawRow], looks: Sequence[RawRow] = ()
) -> list[str]:
    """Sentences for the head of a report.

    Args:
        metrics: rows of metrics.json.
        errors: rows of diagnostics.json.
        cost: rows of cost.json.
        looks: at generators in training; those that have collapsed are named before all else.
    """
    real = metric_estimates([row for row in metrics if row["method"] == REAL])
    closer = closer_than_new(metrics)
    metrics = [row for row in metrics if row["method"] != REAL]
    estimates = metric_estimates(metrics)
    leading = [metric for metric in estimates if re.match(r"class accuracy|(class-wise )?FI?D\b", metric)]
    last = {name: rows[-1].reading for name, rows in looks_of(looks).items()}
    sentences = [f"Beware of {name}: {reading.warning()}." for name, reading in last.items() if reading.collapsed]
    sentences.append(_errors_in_words(errors))
    sentences += [best_in_words(metric, estimates[metric], metrics) for metric in leading]
    memory = _authentic_in_words(closer, real.get(AUTHENTICITY, {}).get(REAL)) if AUTHENTICITY in estimates else ""
    sentences.append(memory or _memory_in_words(metrics))
    sentences.append(_duel(estimates, errors))
    sentences.append(_cost_in_words(cost))
    return [sentence for sentence in sentences if sentence]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def best_in_words(metric: str, found: Mapping[str, Estimate], metrics: Sequence[RawRow] = ()) -> str:
    """Who leads by one metric, and whether clearly; `metrics` are rows that say what real data reach."""
    goal = goal_of(metric)
    ranked = sorted(
        ((method, estimate) for method, estimate in found.items() if math.isfinite(estimate.value)),
        key=lambda item: item[1].value,
        reverse=goal == "high",
    )
    if len(ranked) < 2:
        return ""
    (first, value), (second, runner_up) = ranked[:2]
    clear = winner([value, runner_up], goal) == 0
    word = "highest" if goal == "high" else "lowest"
    relation = "clearly ahead of" if clear else "not clearly apart from"
    return (
        f"{_capital(metric)} is {word} with {first}: {format_estimate(value)}, {relation} {second} "
        f"({format_estimate(runner_up)}).{_floor(metric, metrics)}"
    )


def _floor(metric: str, metrics: Sequence[RawRow]) -> str:
    rows = [row for row in parse_rows(MetricRow, metrics, "metrics") if row.metric == metric and row.floor is not None]
    if not rows:
        return ""
    conditions = [
        f"n = {rows[0].floor_n}" if rows[0].floor_n else "",
        f"features: {rows[0].features}" if rows[0].features else "",
    ]
    said = "; ".join(condition for condition in conditions if condition)
    return f" Real held-out data reach {format_number(rows[0].floor)}{f' ({said})' if said else ''}."


def _upper(row: MetricRow) -> float:
    return row.high if row.high is not None else row.value or 0.0


def _memory_in_words(metrics: Sequence[RawRow]) -> str:
    """Who comes closer to the training data than new real data do."""
    rows = [row for row in parse_rows(MetricRow, metrics, "metrics") if row.value is not None and row.floor is not None]
    closer = [row for row in rows if goal_of(row.metric) == "low" and _upper(row) < (row.floor or 0.0)]
    if not closer:
        return ""
    names = ", ".join(dict.fromkeys(row.method for row in closer))
    return (
        f"By {closer[0].metric}, {names} lie{'s' if ',' not in names else ''} closer to the training data than "
        "held-out real data do: beyond that floor a lower distance is a sign of memory or of too little spread, not of "
        "quality."
    )


def _authentic_in_words(closer: Mapping[str, Estimate], real: Estimate | None) -> str:
    """Whose samples lie closer to training data than new data do; the words of `metrics/memory.py` in short."""
    if real is None:
        return ""
    if not closer:
        return (
            f"No method lies clearly closer to its training data than new data do: the share of authentic samples is "
            f"{format_estimate(real)} for held-out real data, and not clearly lower for any method."
        )
    figures = ", ".join(f"{method} {format_estimate(estimate)}" for method, estimate in closer.items())
    return (
        f"Closer to the training data than new data are: the share of authentic samples, {format_estimate(real)} for "
        f"held-out real data, is clearly lower for {figures}. That is a sign of memory, or of too little spread: see "
        "the nearest neighbours."
    )


# ----------------------------------------------------------------------------------------------------
# Score errors


def telling(reference: Mapping[float, Estimate]) -> list[float]:
    """The noise levels at which a ratio to the reference says something about guidance."""
    weight = {sigma: sigma * estimate.value for sigma, estimate in reference.items()}
    least = _LEAST_SHARE * max(weight.values(), default=0.0)
    return [sigma for sigma in reference if weight[sigma] >= least > 0]


def mean_log_ratio(found: Mapping[float, Estimate], reference: Mapping[float, Estimate]) -> tuple[float, int] | None:
    """The geometric mean over noise levels of the error relative to a reference's, and the number of levels.

    Levels count where sigma times the reference is at least a hundredth of its largest: where the exact likelihood
    score all but vanishes, the ratio of two tiny numbers says nothing about guidance.
    """
    logs = [
        math.log(found[sigma].value / reference[sigma].value)
        for sigma in telling(reference)
        if sigma in found and found[sigma].value > 0
    ]
    return (math.exp(math.fsum(logs) / len(logs)), len(logs)) if logs else None


def _errors_in_words(errors: Sequence[RawRow]) -> str:
    found = error_estimates(errors, "data", "D_L")
    reference = found.pop(NO_GUIDANCE, None)
    if not reference:
        return ""
    ratios = {
        method: ratio for method, values in found.items() if (ratio := mean_log_ratio(values, reference)) is not None
    }
    if not ratios:
        return ""
    ranked = sorted(ratios.items(), key=lambda item: item[1][0])
    said = [
        f"{method} {_percent(ratio)}{' (worse than no guidance at all)' if ratio > 1 else ''}"
        for method, (ratio, _) in ranked
    ]
    levels = ranked[0][1][1]
    return (
        "How wrong the scores are: the likelihood score, which guidance adds, misses the exact one by this share of "
        f"its length: {'; '.join(said)}. (D_L over that of no guidance, weighted by the data, geometric mean over "
        f"{levels} of {len(reference)} noise levels.){_extremes(ranked[0][0], found[ranked[0][0]], reference)}"
    )


def _percent(ratio: float) -> str:
    return f"{100 * ratio:,.0f}%" if ratio >= 0.1 else f"{100 * ratio:.2g}%"


def _extremes(method: str, found: Mapping[float, Estimate], reference: Mapping[float, Estimate]) -> str:
    """Where the best method is least and most wrong, of the noise levels where that says something."""
    shares = {sigma: found[sigma].value / reference[sigma].value for sigma in telling(reference) if sigma in found}
    if len(shares) < 2:
        return ""
    best, worst = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    return (
        f" With {method} it is best at {SIGMA} = {best:g} ({_percent(shares[best])}) and worst at {SIGMA} = {worst:g} "
        f"({_percent(shares[worst])})."
    )


def closest_in_words(errors: Sequence[RawRow]) -> str:
    """Which method to use where only the scores were measured: that whose score given the class is least wrong."""
    found = error_estimates(errors, "data", "D_P")
    reference = found.pop(NO_GUIDANCE, None)
    if not reference:
        return ""
    ratios = {m: ratio for m, values in found.items() if (ratio := mean_log_ratio(values, reference)) is not None}
    if len(ratios) < 2:
        return ""
    ranked = sorted(ratios.items(), key=lambda item: item[1][0])
    (first, (least, levels)), *others = ranked
    if least >= 1:
        return "Use none of the methods: without guidance the score given the class is closer to the exact one."
    near = [method for method, (ratio, _) in others if ratio < _SAME * least]
    names = " or ".join([first, *near])
    after = [(method, ratio) for method, (ratio, _) in others if method not in near][:1]
    what = "the scores given the class (D_P) are" if near else "its score given the class (D_P) is"
    return (
        f"Use {names}: {what} closest to the exact one, with {_percent(least)} of the error of no "
        f"guidance (geometric mean over {levels} noise levels)"
        + "".join(f"; {method} comes next with {_percent(ratio)}" for method, ratio in after)
        + ". The samples themselves were not measured."
    )


def _sigmas(sigmas: Sequence[float]) -> str:
    return f"{SIGMA} = {', '.join(f'{sigma:g}' for sigma in sigmas)}"


def _duel(estimates: Mapping[str, Mapping[str, Estimate]], errors: Sequence[RawRow]) -> str:
    """DLSM against cross-entropy, figure by figure: where it wins, where it loses, where nobody can tell."""
    verdicts: dict[int | None, list[str]] = {0: [], 1: [], None: []}
    for metric, found in estimates.items():
        if "dlsm" in found and "ce" in found and (goal := goal_of(metric)):
            verdicts[_compare(found["dlsm"], found["ce"], goal)].append(metric)
    levels: dict[int | None, list[float]] = {0: [], 1: [], None: []}
    found_errors = error_estimates(errors, "data", "D_L")
    for sigma in sorted(found_errors.get("dlsm", {})):
        if sigma in found_errors.get("ce", {}):
            levels[_compare(found_errors["dlsm"][sigma], found_errors["ce"][sigma], "low")].append(sigma)
    words: dict[int | None, str] = {0: "clearly better", 1: "clearly worse", None: "not clearly different"}
    parts = [f"{words[key]} in {_listed(metrics)}" for key, metrics in verdicts.items() if metrics]
    if any(levels.values()):
        count = sum(len(sigmas) for sigmas in levels.values())
        parts.append(f"in D_L, clearly lower at {len(levels[0])} of {count} noise levels")
        parts.append(f"clearly higher at {_sigmas(levels[1])}" if levels[1] else "clearly higher at none")
    return f"DLSM against cross-entropy: {'; '.join(parts)}." if parts else ""


def _listed(metrics: Sequence[str]) -> str:
    return (
        ", ".join(metrics) if len(metrics) <= 4 else f"{len(metrics)} metrics, {metrics[0]} and {metrics[1]} among them"
    )


def _compare(first: Estimate, second: Estimate, goal: Goal) -> int | None:
    return winner([first, second], goal)


# ----------------------------------------------------------------------------------------------------
# Cost


def _cost_in_words(cost: Sequence[RawRow]) -> str:
    rows = [row for row in parse_rows(CostRow, cost, "cost") if row.images_per_second is not None]
    if len(rows) < 2:
        return ""
    ranked = sorted(rows, key=lambda row: row.images_per_second or 0.0, reverse=True)
    said = [
        f"{row.method} {format_number(row.images_per_second)}"
        + (f" ({format_number(row.evaluations_per_image)})" if row.evaluations_per_image else "")
        for row in ranked
    ]
    return f"Samples per second, with network evaluations a sample in brackets: {'; '.join(said)}."
