"""Pictures of `condgen bench curves`: what classifiers are worth while they train."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from scipy.stats import t as student

from condgen.report.figures import class_style, drawing, printable

__all__ = ["draw_curves"]


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws each quantity of the rows against the training step, a line a classifier, with 95% intervals over seeds.

    Args:
        rows: as `bench curves` makes them; their size begins with "step N, ".
        path: of the PNG.
    """
    panels: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for row in rows:
        step, where = re.fullmatch(r"step (\d+), (.*)", row["size"]).groups()  # type: ignore[union-attr]
        half = _interval(row)
        lines = panels.setdefault(f"{row['what']} ({row['unit']}), {where}", {})
        lines.setdefault(row["variant"], []).append((int(step), row["value"], half))
    styles = {name: class_style(index) for index, name in enumerate(dict.fromkeys(row["variant"] for row in rows))}
    seeds = max(row["seeds"] for row in rows)
    with drawing():
        figure = Figure(figsize=(4.6 * len(panels), 3.6), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for name, points in lines.items():
                steps, values, halves = zip(*sorted(points), strict=True)
                style = styles[name]
                look = {"color": style.colour, "marker": style.marker, "markersize": 4}
                axes.plot(steps, values, style.line, label=printable(name), **look)
                low = [value - half for value, half in zip(values, halves, strict=True)]
                high = [value + half for value, half in zip(values, halves, strict=True)]
                axes.fill_between(steps, low, high, color=style.colour, alpha=0.18, linewidth=0)
            axes.set(xlabel="training step", yscale="log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_title(fill(printable(title), 44), fontsize=9)
        axes.legend(frameon=False, fontsize=9, title="95% intervals" if seeds > 1 else None, title_fontsize=8)
        figure.savefig(path, dpi=150)


def _interval(row: Mapping[str, Any]) -> float:
    """Half the 95% interval of the mean over seeds; zero for one seed."""
    if row["sd"] is None:
        return 0.0
    quantile = float(student.ppf(0.975, row["seeds"] - 1))
    half: float = quantile * row["sd"] / math.sqrt(row["seeds"])
    return half
