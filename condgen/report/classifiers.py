"""Noisy classifiers on held-out data: whether they are any good, and the guidance scale that suits each noise level."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from condgen.diagnostics.classifier_errors import SHARE, THRESHOLD, worthwhile
from condgen.report.estimates import SIGMA, format_number
from condgen.report.figures import INK, Panel, Style, level_axis, line_style, log_axis, method_styles, save_panels
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Prose, Section, facts_table
from condgen.report.rows import ClassifierRow
from condgen.report.tables import classifier_table
from condgen.runs.layout import CLASSIFIERS

__all__ = ["classifiers_section", "draw_calibration"]

_HISTORY = 4  # lines of a plot of training


class _Quantity(NamedTuple):
    title: str
    unit: str
    error: str = ""  # the key of the standard error


_QUANTITIES: dict[str, _Quantity] = {
    "accuracy": _Quantity("accuracy", "fraction correct"),
    "cross_entropy": _Quantity("cross-entropy", "nats"),
    "ece": _Quantity("calibration error (ECE)", "probability"),
    "norm": _Quantity("length of the gradient", "mean |g|"),
    "gain": _Quantity("gain over zero guidance", "change of loss; below 0 helps", "gain_se"),
}
_MEANING = (
    "All of this is measured on held-out samples and needs no exact score. The gain is the loss of the guided score "
    "minus that of the unguided one: below zero, the classifier's gradient brings the score closer to the truth. The "
    "best scale is the factor on the gradient at which that loss is least; it is one where classifier and score model "
    "are exact."
)
_CAPTION = (
    "Bands and bars are two standard errors. In the plots of the best scale the dashed line is one; where the ground "
    f"is grey the scale to use is zero, because guidance does not help by {THRESHOLD:g} standard errors, or helps by "
    f"less than {SHARE:.0%} of the greatest gain."
)
_HISTORY_CAPTION = (
    "The averaged weights on held-out samples, always with the same noise; the later the darker. Where cross-entropy "
    "rises again with later steps, the classifier overfits, or, under DLSM with little cross-entropy, its "
    "probabilities drift."
)


def classifiers_section(run: Run, styles: Mapping[str, Style]) -> Section | None:
    """Every classifier by noise level: its calibration, or else the last measures taken in training."""
    found = run.classifiers or {name: checks[-1][1] for name, checks in run.checks.items()}
    if not found:
        return None
    blocks: list[Block] = [Prose(_MEANING), *(Prose(text) for name in found if (text := _in_words(name, found[name])))]
    source = "" if run.classifiers else " Measured at the end of training, with one noise draw a sample."
    legend = {name: styles[name] for name in found}
    tables = tuple(classifier_table(rows, name) for name, rows in found.items())
    blocks.append(Figure("By noise level", tuple(_panels(found, styles)), _CAPTION + source, legend, tables))
    blocks += facts_table("Conditions of the measures", run.conditions.get(CLASSIFIERS, {}))
    histories = [
        _history_panel(key, checks, name)
        for name, checks in run.checks.items()
        for key in ("cross_entropy", "gain")
        if len(checks) > 1 and all(getattr(row, key) is not None for _, rows in checks for row in rows)
    ]
    if histories:
        blocks.append(Figure("In the course of training", tuple(histories), _HISTORY_CAPTION))
    return Section("classifiers", "Classifiers by noise level", tuple(blocks))


def draw_calibration(name: str, rows: Sequence[ClassifierRow], path: Path) -> None:
    """Draws all plots of one classifier as a PNG."""
    title = f"{name} on {rows[0].n:,} held-out samples, {rows[0].draws} noise draws each"
    save_panels(_panels({name: rows}, method_styles([name])), path, title=title)


def _in_words(name: str, rows: Sequence[ClassifierRow]) -> str:
    """Where a classifier helps, where it harms, and where neither is certain."""
    rows = [row for row in rows if row.gain is not None and row.gain_se is not None]
    if not rows:
        return ""
    levels, helps = [row.sigma for row in rows], worthwhile(rows)
    harms = [(row.gain or 0.0) > THRESHOLD * (row.gain_se or 0.0) for row in rows]
    unsure = [not (helped or harmed) for helped, harmed in zip(helps, harms, strict=True)]
    text = f"{name}: no guidance surely helps at any noise level."
    if any(helps):
        scales = [row.scale or 0.0 for row, helped in zip(rows, helps, strict=True) if helped]
        low, high = format_number(min(scales)), format_number(max(scales))
        text = f"{name}: guidance surely helps at {_spans(levels, helps)}, with best scales of {low} to {high}."
    if any(harms):
        text += f" At scale 1 it surely harms at {_spans(levels, harms)}."
    if any(unsure):
        text += f" Neither is sure, or it hardly matters, at {_spans(levels, unsure)}."
    return text


def _spans(levels: Sequence[float], chosen: Sequence[bool]) -> str:
    """Noise levels in words: neighbouring ones as a span, such as "0.1 to 2, 8"."""
    parts = []
    for taken, group in groupby(zip(levels, chosen, strict=True), key=lambda pair: pair[1]):
        if taken:
            ends = [f"{level:g}" for level, _ in group]
            parts.append(ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}")
    return f"{SIGMA} = {', '.join(parts)}"


def _panels(found: Mapping[str, Sequence[ClassifierRow]], styles: Mapping[str, Style]) -> list[Panel]:
    """A panel for each quantity, and one of the best scale for each classifier."""
    known = {
        key: {name: own for name, rows in found.items() if (own := [r for r in rows if getattr(r, key) is not None])}
        for key in (*_QUANTITIES, "scale")
    }
    panels = [_quantity_panel(key, known[key], styles) for key in _QUANTITIES if known[key]]
    return panels + [_scale_panel(name, rows, styles[name]) for name, rows in known["scale"].items()]


def _quantity_panel(key: str, found: Mapping[str, Sequence[ClassifierRow]], styles: Mapping[str, Style]) -> Panel:
    title, unit, error = _QUANTITIES[key]

    def draw(axes: Axes) -> None:
        for name, rows in found.items():
            levels, values = [row.sigma for row in rows], np.array([getattr(row, key) for row in rows])
            axes.plot(levels, values, **line_style(styles[name]))
            if error:
                half = 2 * np.array([getattr(row, error) or 0.0 for row in rows])
                band: Any = {"color": styles[name].colour, "alpha": 0.2, "linewidth": 0}
                axes.fill_between(levels, values - half, values + half, **band)
        level_axis(axes, [row.sigma for rows in found.values() for row in rows])
        positive = [value for rows in found.values() for row in rows if (value := getattr(row, key)) > 0]
        if error:
            axes.axhline(0, color=INK, linewidth=0.8)
        elif key == "norm" and positive:
            log_axis(axes, "y", max(min(positive) / 2, max(positive) * 1e-6), max(positive))
        else:
            axes.set_ylim(0, 1.04 if key == "accuracy" else None)
        axes.set_ylabel(unit)

    ends = [f"{name} {_ends(rows, key)}" for name, rows in found.items()]
    return Panel(title, f"{title} by noise level: {'; '.join(ends)}.", draw)


def _scale_panel(name: str, rows: Sequence[ClassifierRow], style: Style) -> Panel:
    """The scale of least loss; hollow, on a grey ground, where guidance is off."""
    on = np.array(worthwhile(rows))

    def draw(axes: Axes) -> None:
        levels = [row.sigma for row in rows]
        values, errors = np.array([(row.scale or 0.0, row.scale_se or 0.0) for row in rows]).T
        edges = np.sqrt(np.array([levels[0], *levels]) * np.array([*levels, levels[-1]]))
        for place in np.flatnonzero(~on):
            axes.axvspan(edges[place], edges[place + 1], color=INK, alpha=0.1, linewidth=0)
        axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
        axes.axhline(0, color=INK, linewidth=0.8)
        sure = np.where(on, values, np.nan)
        axes.fill_between(levels, sure - 2 * errors, sure + 2 * errors, color=style.colour, alpha=0.2, linewidth=0)
        axes.plot(levels, sure, **line_style(style))
        unsure = line_style(style) | {"linestyle": "none", "markerfacecolor": "none", "elinewidth": 0.7, "alpha": 0.6}
        axes.errorbar(levels, np.where(on, np.nan, values), yerr=2 * errors, **unsure)
        top = max([1.3, *(1.1 * (values + errors)[on])])  # what is unsure may lie anywhere
        axes.set_ylim(-0.35 * top, 1.1 * top)
        level_axis(axes, levels)
        axes.set_ylabel("scale of least loss")

    used = [row for row, use in zip(rows, on, strict=True) if use]
    alt = f"Best guidance scale of {name} by noise level: {_ends(used, 'scale') if used else 'none'}."
    return Panel(f"best scale: {name}", f"{alt} Guidance is off at {int((~on).sum())} of {len(rows)} levels.", draw)


def _history_panel(key: str, checks: Sequence[tuple[int, Sequence[ClassifierRow]]], name: str) -> Panel:
    """A quantity at a few steps of training, the later the darker."""
    title, unit, error = _QUANTITIES[key]
    places = np.unique(np.linspace(0, len(checks) - 1, min(_HISTORY, len(checks))).round().astype(int))
    shown = [checks[place] for place in places]

    def draw(axes: Axes) -> None:
        for dark, (step, rows) in zip(np.linspace(0.4, 1, len(shown)), shown, strict=True):
            levels, values = [row.sigma for row in rows], [getattr(row, key) for row in rows]
            axes.plot(levels, values, color=INK, marker="o", markersize=3, alpha=dark, label=f"step {step:,}")
        if error:
            axes.axhline(0, color=INK, linewidth=0.8)
        level_axis(axes, [row.sigma for row in shown[-1][1]])
        axes.set_ylabel(unit)
        axes.legend()

    ends = [f"step {step:,} {_ends(rows, key)}" for step, rows in shown]
    return Panel(f"{name}: {title}", f"{title} of {name} in training, by noise level: {'; '.join(ends)}.", draw)


def _ends(rows: Sequence[ClassifierRow], key: str) -> str:
    return " to ".join(f"{format_number(getattr(row, key))} at {SIGMA} = {row.sigma:g}" for row in (rows[0], rows[-1]))
