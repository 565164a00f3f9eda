"""Sample quality as plots: against the guidance scale, and which classes are taken for one another."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from condgen.metrics.measures import SEEN_AS
from condgen.report.estimates import is_real, metric_estimates
from condgen.report.figures import Array, Panel, cut, line_panel, method_styles
from condgen.report.load import ClassRow, Run
from condgen.report.page import Figure, Table

_OVER_SCALE = ("class accuracy", "FD", "recall", "class-wise FD", "in-class std ratio", "authenticity")
_NAMED = 12  # classes whose names have room at the axes
_PAIRS = 30  # listed
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
    wrong = sorted((row for row in rows if row.metric != f"{SEEN_AS}{row.name}"), key=lambda row: -row.value)
    cells = [(row.method, row.name, row.metric.removeprefix(SEEN_AS), row.value) for row in wrong[:_PAIRS]]
    table = Table("The most frequent confusions", ("method", "asked for", "seen", "share"), cells, folded=True)
    panels = [_panel(method, matrix, asked, names) for method, matrix in shares.items()]
    yield Figure("Classes asked for and classes seen", panels, _CAPTION, [table])


def against_scale(run: Run) -> Iterable[Figure]:
    """A panel a metric, a line for methods of a recipe that differ in their guidance scale alone, three at least."""
    groups: dict[tuple[str, ...], dict[float, str]] = {}
    for name, method in ((run.settings.get("sample") or {}).get("methods") or {}).items():
        who = method.get("classifier") or method.get("guide")
        if who and isinstance(scale := method.get("scale", 1.0), int | float):
            how = [str(value) for key, value in method.items() if value and key not in ("scale", "classifier", "guide")]
            groups.setdefault((who, *how), {})[float(scale)] = name
    known = {key: dict(sorted(group.items())) for key, group in groups.items() if len(group) > 2}
    one_each = len({who for who, *_ in known}) == len(known)
    found = {key[0] if one_each else ", ".join(key): group for key, group in known.items()}
    panels = []
    for metric, of in metric_estimates(run.metrics).items():
        if metric.partition("@")[0] in _OVER_SCALE:
            each = {who: {s: of[name] for s, name in group.items() if name in of} for who, group in found.items()}
            if lines := {who: line for who, line in each.items() if len(line) > 2}:
                panels.append(line_panel(metric, lines, method_styles(found), "", "guidance scale"))
    if panels:
        yield Figure("Against the guidance scale", panels, "Bands are the intervals of the tables.")


def _panel(method: str, matrix: Array, asked: Sequence[str], names: Sequence[str]) -> Panel:
    def draw(axes: Axes) -> None:
        heat = axes.pcolormesh(matrix, cmap="magma", norm=PowerNorm(0.5, 0, 1), rasterized=True)
        axes.figure.colorbar(heat, ax=axes, shrink=0.8)
        axes.grid(visible=False)
        axes.set(aspect="equal", ylim=(len(asked), 0), xticks=[], yticks=[])
        if len(names) <= _NAMED:
            axes.set_xticks(np.arange(len(names)) + 0.5, [cut(name, 10) for name in names], rotation=90, fontsize=6)
            axes.set_yticks(np.arange(len(asked)) + 0.5, [cut(name, 10) for name in asked], fontsize=6)

    right = f"{float(matrix.diagonal()[matrix.any(1)].mean()):.3f} are of the class asked for"
    return Panel(method, f"Classes seen in samples of {method}: {right}.", draw, height=3.6)
