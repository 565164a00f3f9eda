"""The tables of a comparison: methods by runs, with the spread over seeds where there are several."""

import math
from collections.abc import Mapping, Sequence

from condgen.metrics import REAL
from condgen.report.estimates import MISSING, SIGMA, format_estimate, format_number, goal_of, winner
from condgen.report.inputs import Run
from condgen.report.rows import Quantity, Weighting
from condgen.report.runs import Group, differing_settings
from condgen.report.tables import ARROWS, Table

__all__ = [
    "cost_by_run",
    "errors_by_run",
    "methods_of",
    "metrics_by_run",
    "runs_table",
    "settings_table",
    "spread_in_words",
]


def spread_in_words(groups: Sequence[Group], otherwise: str) -> str:
    """What ± means in rows of several seeds and in those of one."""
    several = sorted({len(group.runs) for group in groups if group.repeated})
    if not several:
        return f"± is {otherwise}."
    seeds = " or ".join(map(str, several))
    told = f"± is the standard deviation over {seeds} seeds"
    return f"{told}." if all(group.repeated for group in groups) else f"{told}, and {otherwise} in rows of one run."


def methods_of(groups: Sequence[Group]) -> list[str]:
    """Every method whose samples any run has measured, real data left out."""
    rows = (row["method"] for group in groups for run in group.runs for row in (*run.metrics, *run.cost))
    return [method for method in dict.fromkeys(rows) if method != REAL]


def runs_table(runs: Mapping[str, Run], groups: Sequence[Group]) -> Table:
    """The runs: where they lie, of which recipe and seed, and what they took."""
    group_of = {id(run): group for group in groups for run in group.runs}
    rows = []
    for label, run in runs.items():
        group, machine = group_of[id(run)], run.about.get("machine")
        seconds = [stage.get("seconds") or 0.0 for stage in run.stages]
        rows.append(
            (
                label,
                run.name,
                str(dict(zip(map(id, group.runs), group.seeds, strict=True))[id(run)]) if run.recipe else MISSING,
                group.label,
                str(run.about.get("started", MISSING)).replace("T", " ", 1),
                str(run.about.get("condgen", MISSING)),
                str(machine.get("device", MISSING)) if isinstance(machine, dict) else MISSING,
                format_number(math.fsum(seconds)) if seconds else MISSING,
            )
        )
    head = ("run", "recipe", "seed", "shown as", "started", "condgen", "device", "seconds in all")
    return Table("The runs", head, tuple(rows), words=frozenset({1, 3, 4, 5, 6}))


def settings_table(runs: Mapping[str, Run]) -> Table | None:
    """The settings that differ, side by side; None where none does."""
    found = differing_settings(runs)
    rows = tuple((key, *(MISSING if value is None else value for value in values)) for key, values in found.items())
    caption = "Settings that are the same in all runs are left out. A dash: the run has no such setting."
    columns = frozenset(range(1, len(runs) + 1))
    return Table("Settings that differ", ("setting", *runs), rows, caption, words=columns) if rows else None


def metrics_by_run(groups: Sequence[Group]) -> Table | None:
    """Every method in every run, a row each, with real held-out data in the last rows."""
    methods = methods_of(groups)
    found = {(method, group.label): group.metrics(method) for method in methods for group in groups}
    found = {place: metrics for place, metrics in found.items() if metrics}
    if not found:
        return None
    metrics = list(dict.fromkeys(metric for row in found.values() for metric in row))
    real = {(REAL, group.label): group.metrics(REAL) for group in groups}
    rows = [(*place, *(format_estimate(row.get(metric)) for metric in metrics)) for place, row in found.items()]
    floors = {place: tuple(format_estimate(row.get(metric)) for metric in metrics) for place, row in real.items()}
    if len(set(floors.values())) == 1:  # the same data and the same n in all
        floors = {(REAL, "all"): next(iter(floors.values()))}
    rows += [(*place, *cells) for place, cells in floors.items() if any(cell != MISSING for cell in cells)]
    goals = [goal_of(metric) for metric in metrics]
    arrows = [ARROWS[goal] if goal else "" for goal in goals]
    return Table(
        title="Metrics by method and run",
        header=(
            "method",
            "run",
            *(f"{metric} {arrow}".rstrip() for metric, arrow in zip(metrics, arrows, strict=True)),
        ),
        rows=tuple(rows),
        caption=f"{spread_in_words(groups, 'half the length of the interval')} Bold with a star: better than every "
        "other row by more than that. Conditions of each figure stand in the runs' own reports.",
        best=frozenset(
            (row, column)
            for column, (metric, goal) in enumerate(zip(metrics, goals, strict=True), start=2)
            if (row := winner([own.get(metric) for own in found.values()], goal)) is not None
        ),
        words=frozenset({1}),
    )


def errors_by_run(groups: Sequence[Group], weighting: Weighting, quantity: Quantity) -> Table | None:
    """One quantity: every method in every run, a row each, over the noise levels."""
    found = {
        (method, group.label): levels
        for group in groups
        for method, levels in group.errors(weighting, quantity).items()
    }
    sigmas = sorted({sigma for levels in found.values() for sigma in levels})
    order = list(dict.fromkeys(method for method, _ in found))
    places = sorted(found, key=lambda place: order.index(place[0]))
    rows = tuple((*place, *(format_estimate(found[place].get(sigma)) for sigma in sigmas)) for place in places)
    head = ("method", "run", *(f"{SIGMA} = {sigma:g}" for sigma in sigmas))
    title = f"{quantity}, {'weighted by the data' if weighting == 'data' else 'uniform over the grid'}"
    caption = spread_in_words(groups, "two standard errors over queries")
    if weighting == "grid" and not any(group.repeated for group in groups):
        caption = "The mean over the points of the grid, all classes together; nothing here is sampled."
    return Table(title, head, rows, caption, words=frozenset({1})) if rows else None


def cost_by_run(groups: Sequence[Group]) -> Table | None:
    """Evaluations and speed: every method in every run, a row each."""
    found = [group.cost() for group in groups]
    rows = [
        (
            *(method, group.label),
            *(format_estimate(cost[method].get(name)) for name in ("evaluations_per_image", "images_per_second")),
        )
        for method in dict.fromkeys(method for cost in found for method in cost)
        for group, cost in zip(groups, found, strict=True)
        if method in cost
    ]
    head = ("method", "run", "network evaluations per image", "images per second")
    caption = "Seconds are of the machine that made each run."
    if any(group.repeated for group in groups):
        caption = f"{spread_in_words([group for group in groups if group.repeated], '')} {caption}"
    return Table("Cost of sampling", head, tuple(rows), caption, words=frozenset({1})) if rows else None
