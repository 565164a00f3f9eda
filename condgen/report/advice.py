"""Which method to use, in plain words, from figures with intervals.

Class accuracy and the distance to real data decide. A method leads where none is clearly better in either, that is, by
more than the intervals; of those that lead, the cheapest is advised, since the figures give no reason to pay more.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from condgen.metrics import REAL
from condgen.report.estimates import Estimate, Goal, format_estimate, format_number, goal_of, metric_estimates, winner
from condgen.report.rows import CostRow, RawRow, parse_rows

__all__ = ["AUTHENTICITY", "advise", "closer_than_new"]

AUTHENTICITY = "authenticity"
_VARIETY = ("class-wise recall", "in-class diversity")


def advise(metrics: Sequence[RawRow], cost: Sequence[RawRow] = (), collapsed: Collection[str] = ()) -> str:
    """What to use, and why.

    Args:
        metrics: rows of metrics.json.
        cost: rows of cost.json.
        collapsed: methods that nobody should use, whatever their figures.

    Returns:
        A few sentences; empty where the figures decide nothing.
    """
    rows = [row for row in metrics if row["method"] != REAL and row["method"] not in collapsed]
    estimates = metric_estimates(rows)
    deciding = _deciding(estimates)
    rivals = _shared(list(deciding.values()))
    if not deciding or len(rivals) < 2:
        return ""
    leaders = {metric: _leaders({m: found[m] for m in rivals}, goal_of(metric)) for metric, found in deciding.items()}
    leading = [method for method in rivals if all(method in found for found in leaders.values())]
    if not leading:
        return _divided(deciding, leaders)
    evaluations = {
        row.method: row.evaluations_per_image
        for row in parse_rows(CostRow, cost, "cost")
        if row.evaluations_per_image is not None
    }
    least = min((evaluations[method] for method in leading if method in evaluations), default=None)
    best = [method for method in leading if least is None or evaluations.get(method) == least]
    best.sort(key=lambda method: _rank(method, deciding))
    said = [_reason(best, leading, deciding, evaluations)]
    said += [_varied(metric, estimates[metric], best, leading) for metric in _VARIETY if metric in estimates][:1]
    remembering = [method for method in best if method in closer_than_new(metrics)]
    if remembering:
        who = "it lies" if len(best) == 1 else f"{_both(remembering)} {'lie' if remembering[1:] else 'lies'}"
        said.append(f"But look at the nearest neighbours first: {who} closer to the training data than new data do.")
    return " ".join(sentence for sentence in said if sentence)


def closer_than_new(metrics: Sequence[RawRow]) -> dict[str, Estimate]:
    """Methods whose share of authentic samples is clearly below that of held-out real data, and the shares."""
    found = dict(metric_estimates([row for row in metrics if row["metric"] == AUTHENTICITY]).get(AUTHENTICITY, {}))
    real = found.pop(REAL, None)
    return {m: estimate for m, estimate in found.items() if real and winner([real, estimate], "high") == 0}


def _rank(method: str, deciding: Mapping[str, Mapping[str, Estimate]]) -> float:
    """The distance of a method, by which those are named that cannot be told apart."""
    return next((found[method].value for metric, found in deciding.items() if goal_of(metric) == "low"), 0.0)


def _deciding(estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Mapping[str, Estimate]]:
    """Class accuracy and one distance, that within the classes where there is one."""
    distances = sorted(
        (metric for metric in estimates if goal_of(metric) == "low"), key=lambda m: not m.startswith("class-wise")
    )
    chosen = [*(["class accuracy"] if "class accuracy" in estimates else []), *distances[:1]]
    return {metric: estimates[metric] for metric in chosen}


def _shared(found: Sequence[Mapping[str, Estimate]]) -> list[str]:
    """Methods with a finite value everywhere."""
    first = found[0] if found else {}
    return [method for method in first if all(method in one and math.isfinite(one[method].value) for one in found)]


def _leaders(found: Mapping[str, Estimate], goal: Goal | None) -> list[str]:
    """The best by value, and those that it does not clearly beat."""
    first = (max if goal == "high" else min)(found, key=lambda method: found[method].value)

    def beaten(method: str) -> bool:
        if found[first].half_width is None or found[method].half_width is None:
            return found[method].value != found[first].value
        return winner([found[first], found[method]], goal) == 0

    return [method for method in found if method == first or not beaten(method)]


def _reason(
    best: Sequence[str],
    leading: Sequence[str],
    deciding: Mapping[str, Mapping[str, Estimate]],
    evaluations: Mapping[str, float],
) -> str:
    figures = [f"{metric} ({format_estimate(found[best[0]])})" for metric, found in deciding.items()]
    if len(best) > 3:
        return f"Use any of {len(best)} methods, which these figures cannot tell apart: {_both(best)}."
    if len(best) > 1:
        also = "; ".join(
            f"{method}: " + " and ".join(f"{metric} {format_estimate(f[method])}" for metric, f in deciding.items())
            for method in best
        )
        text = f"Use {_either(best)}: no other method is clearly better, and these cannot be told apart ({also})."
    elif len(leading) == 1:
        return f"Use {best[0]}: no other method comes up to it in {_both(figures)}{' together' if figures[1:] else ''}."
    else:
        text = f"Use {best[0]}: no other method is clearly better in {_either(figures)}."
    others = [method for method in leading if method not in best]
    if not others:
        return text
    costs = sorted({evaluations[method] for method in others if method in evaluations})
    if not costs or best[0] not in evaluations:
        return f"{text} {_both(others)} cannot be told apart from it."
    dearer = format_number(costs[0]) if len(costs) == 1 else f"{format_number(costs[0])} to {format_number(costs[-1])}"
    own, take = evaluations[best[0]], "take" if len(others) > 1 else "takes"
    mine = f"{format_number(own)} network evaluation{'s' if own != 1 else ''} a sample"
    whose = "Each" if len(best) > 1 else "It"
    return f"{text} {whose} takes {mine}; {_both(others)}, neither clearly better nor clearly worse, {take} {dearer}."


def _divided(deciding: Mapping[str, Mapping[str, Estimate]], leaders: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for metric, names in leaders.items():
        found = deciding[metric]
        goal = goal_of(metric)
        first = (max if goal == "high" else min)(names, key=lambda method: found[method].value)
        word = "highest" if goal == "high" else "lowest"
        parts.append(f"{first} for the {word} {metric} ({format_estimate(found[first])})")
    return f"No method leads in both: use {', or '.join(parts)}."


def _varied(metric: str, found: Mapping[str, Estimate], best: Sequence[str], leading: Sequence[str]) -> str:
    """Who of those that lead is clearly more varied than the advised one."""
    own = found.get(best[0])
    if own is None or len(best) > 1:
        return ""
    more = [m for m in leading if m not in best and m in found and winner([found[m], own], "high") == 0]
    if not more:
        return ""
    figures = ", ".join(f"{method} {format_estimate(found[method])}" for method in more)
    return f"Where variety within a class is worth it: {figures} in {metric}, against its {format_estimate(own)}."


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _both(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
