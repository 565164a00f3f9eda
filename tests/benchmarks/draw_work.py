"""The picture of `condgen bench samplers quality`: what evaluations and seconds buy, for every sampler."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from condgen.report.figures import COLOURS, INK, Style, drawing, line_style, log_axis, printable

__all__ = ["draw_work", "sampler_styles"]

_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {  # a colour a family, a marker and a line a member
    "no noise": ("blue", ("heun", "ddim", "dpm++2m", "unipc")),
    "noise, order 2 or 3": ("vermillion", ("edm", "restart", "dpm++2m-sde", "dpm++3m-sde")),
    "noise, order 1": ("green", ("euler-maruyama", "reverse-diffusion", "ancestral", "predictor-corrector")),
    "annealed": ("purple", ("annealed-langevin", "consistent-annealed")),
    "adaptive": (INK, ("adaptive-ode", "adaptive-multistep", "adaptive-sde")),
}
_LOOKS = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
_QUALITY, _FLOW = "SW to training images", "error of the flow"
_TOP = 5  # times the least value: what is worse lies above the picture


def sampler_styles() -> dict[str, Style]:
    """How each sampler looks: no two alike."""
    return {
        name: Style(COLOURS.get(colour, colour), marker, line)
        for colour, names in _FAMILIES.values()
        for name, (marker, line) in zip(names, _LOOKS, strict=False)
    }


def draw_work(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws, for every problem, quality against evaluations and seconds, and the error of the flow against evaluations.

    Args:
        rows: as `quality_rows` makes them.
        path: of the PNG.
    """
    lines: dict[str, dict[str, dict[str, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    marks: dict[str, tuple[str, float]] = {}
    for row in rows:
        problem, _, rest = row["size"].partition("; ")
        if row["variant"] == "[held-out images]" and row["what"] == _QUALITY:
            marks[problem] = (f"held-out images, {rest.partition('; ')[2]}", row["value"])
        elif row["what"] in (_QUALITY, _FLOW, "evaluations", "seconds") and "n = " in rest:
            lines[problem][row["variant"]].setdefault(rest, {})[row["what"]] = row["value"]
    columns = [(_QUALITY, "evaluations"), (_QUALITY, "seconds"), (_FLOW, "evaluations")]
    with drawing():
        figure = Figure(figsize=(13.5, 3.5 * len(lines)), layout="constrained")
        grid = figure.subplots(len(lines), len(columns), squeeze=False)
        for panels, (problem, found) in zip(grid, lines.items(), strict=True):
            for axes, (what, against) in zip(panels, columns, strict=True):
                _panel(axes, found, what, against, marks.get(problem) if what == _QUALITY else None)
                axes.set_title(printable(problem))
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
        figure.savefig(path, dpi=130)


def _panel(
    axes: Axes,
    found: Mapping[str, Mapping[str, Mapping[str, float]]],
    what: str,
    against: str,
    mark: tuple[str, float] | None,
) -> None:
    values = []
    for name, style in sampler_styles().items():
        points = sorted((p[against], p[what]) for p in found.get(name, {}).values() if what in p)
        if points or what == _QUALITY:
            axes.plot(*zip(*points, strict=True) if points else ([], []), **line_style(style), label=printable(name))
        values += points
    if not values:
        return
    low, high = min(value for _, value in values), max(value for _, value in values)
    if mark is not None:
        low = min(low, mark[1])
        axes.axhline(mark[1], color=INK, linewidth=0.8, alpha=0.6)
        right = ("axes fraction", "data")
        axes.annotate(mark[0], (0.99, mark[1]), xycoords=right, fontsize=7.5, ha="right", va="top")
    top = 1.2 * high if what == _FLOW else min(_TOP * low, 1.2 * high)
    log_axis(axes, "x", min(at for at, _ in values), max(at for at, _ in values))
    log_axis(axes, "y", low, top)
    axes.set_ylim(0.8 * low, top)
    unit = {"evaluations": "evaluations of the denoiser", "seconds": "seconds for 1,000 samples"}[against]
    distance = {_QUALITY: "sliced Wasserstein distance\nto training images", _FLOW: "distance from the flow's end"}
    axes.set(xlabel=unit, ylabel=distance[what])
