"""Sample quality as plots: against the guidance scale, and which classes are taken for one another."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from condgen.metrics.measures import SEEN_AS
from condgen.report.estimates import is_real, metric_estimates
from condgen.report.figures import Array, Panel, line_panel, method_styles
from condgen.report.load import ClassRow, Run
from condgen.report.page import Figure, Table

_OVER_SCALE = ("class accuracy", "FD", "recall", "class-wise FD", "in-class std ratio", "authenticity")
_NAMED = 12  # classes whose names have room at the axes
_PAIRS = 10  # listed
_CAPTION = (
    "Of the samples of each class (a row), the share in which a judge that learnt from real data sees each class (a "
    "column), on a scale from 0 to 1; what it takes for another among real data it mistakes itself."
)


def confusions(rows: Sequence[ClassRow]) -> Iterable[Figure]:
    """A panel a method, and the pairs of classes that are most often taken for one another beyond real data."""
    rows = [row for row in rows if row.metric.startswith(SEEN_AS)]
    asked = list(dict.fromkeys(row.name for row in sorted(rows, key=lambda row: row.label)))
    names = list(dict.fromkeys([*asked, *(row.metric.removeprefix(SEEN_AS) for row in rows)]))
    shares: dict[str, Array] = {}
    for row in rows:
        matrix = shares.setdefault(row.method, np.zeros((len(asked), len(names))))
        matrix[asked.index(row.name), names.index(row.metric.removeprefix(SEEN_AS))] = row.value
    if all(map(is_real, shares)):
        return
    cells = []
    for method in shares:
        wrong = [row for row in rows if row.method == method and row.metric != f"{SEEN_AS}{row.name}"]
        for row in sorted(wrong, key=lambda row: -row.value)[:_PAIRS]:
            cells.append((method, row.name, row.metric.removeprefix(SEEN_AS), row.value))
    table = Table("The most frequent confusions", ("method", "asked for", "seen", "share"), cells, folded=True)
    panels = [_panel(method, matrix, asked, names) for method, matrix in shares.items()]
    yield Figure("Classes asked for and classes seen", panels, _CAPTION, [table])


def against_scale(run: Run) -> Iterable[Figure]:
    """A panel a metric, a line for methods of a recipe that differ in their guidance scale alone, three at least."""
    groups: dict[str, dict[float, str]] = {}
    for name, method in ((run.settings.get("sample") or {}).get("methods") or {}).items():
        if isinstance(scale := method.get("scale", 1.0), int | float) and (
            method.get("classifier") or method.get("guide")
        ):
            rest = json.dumps({key: value for key, value in method.items() if key != "scale"}, sort_keys=True)
            groups.setdefault(rest, {})[float(scale)] = name
    found = [dict(sorted(group.items())) for group in groups.values() if len(group) > 2]
    estimates, styles = metric_estimates(run.metrics), method_styles(group[min(group)] for group in found)
    panels = []
    for metric, of in estimates.items() if found else ():
        if metric.partition("@")[0] in _OVER_SCALE:
            each = {group[min(group)]: {s: of[name] for s, name in group.items() if name in of} for group in found}
            if lines := {name: line for name, line in each.items() if len(line) > 2}:
                panels.append(line_panel(metric, lines, styles, "", "guidance scale"))
    if panels:
        yield Figure("Against the guidance scale", panels, "Bands are the intervals of the tables.")


def _panel(method: str, matrix: Array, asked: Sequence[str], names: Sequence[str]) -> Panel:
    def draw(axes: Axes) -> None:
        heat = axes.pcolormesh(matrix, cmap="magma", norm=PowerNorm(0.5, 0, 1), rasterized=True)
        axes.figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        few = len(names) <= _NAMED
        axes.set_xticks(np.arange(len(names))[:: 1 if few else len(names)] + 0.5, names if few else [""], rotation=90)
        axes.set_yticks(np.arange(len(asked))[:: 1 if few else len(asked)] + 0.5, asked if few else [""])
        axes.set(aspect="equal", ylim=(len(asked), 0), xlabel="seen", ylabel="asked for")

    right = float(matrix.diagonal().mean())
    return Panel(
        method, f"Classes seen in samples of {method}: {right:.3f} are of the class asked for.", draw, height=3.6
    )
