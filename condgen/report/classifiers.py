"""Noisy classifiers on held-out data: how good they are, and the guidance scale that suits each noise level."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from condgen.diagnostics.classifier_errors import SHARE, THRESHOLD, LevelRow, worthwhile
from condgen.report.estimates import SIGMA, format_number
from condgen.report.figures import LEVEL, Line, Panel, Style, curve_panel, line_panel, method_styles, save_panels
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Prose, facts_table
from condgen.report.tables import classifier_table
from condgen.runs.layout import CLASSIFIERS


class _Quantity(NamedTuple):
    title: str
    unit: str
    error: str = ""  # the key of the standard error
    limits: tuple[float, float] | None = None
    dashed: float | None = None


_QUANTITIES: dict[str, _Quantity] = {
    "accuracy": _Quantity("accuracy", "fraction correct", limits=(0, 1.04)),
    "cross_entropy": _Quantity("cross-entropy", "nats"),
    "ece": _Quantity("calibration error (ECE)", "probability"),
    "norm": _Quantity("length of the gradient", "mean |g|"),
    "gain": _Quantity("gain over zero guidance", "change of loss", "gain_se", dashed=0.0),
}
_MEANING = (
    "Measured on held-out samples. The gain is the loss of the guided score minus that of the unguided one: below "
    "zero, the classifier's gradient brings the score closer to the truth. The best scale is the factor on the "
    "gradient at which that loss is least; it is one where classifier and score model are exact."
)
_CAPTION = (
    "Bands are two standard errors. Where the ground is grey the scale to use is zero, because guidance does not help "
    f"by {THRESHOLD:g} standard errors, or helps by less than {SHARE:.0%} of the greatest gain."
)
_TRAINING = (
    "Of the averaged weights, always with the same noise, averaged over noise levels. Where cross-entropy rises again, "
    "the classifier overfits, or, under DLSM with little cross-entropy, its probabilities drift."
)


def classifiers_section(run: Run) -> Iterable[Block]:
    """Every classifier by noise level: its calibration, or else the last measures taken in training."""
    found = run.classifiers or {name: checks[-1][1] for name, checks in run.checks.items()}
    if not found:
        return
    yield Prose(_MEANING)
    for name, rows in found.items():
        used = [row for row, on in zip(rows, worthwhile(rows), strict=True) if on]
        if used:
            scales = [row.scale or 0.0 for row in used]
            yield Prose(
                f"{name}: guidance helps at {len(used)} of {len(rows)} noise levels, {SIGMA} from {used[0].sigma:g} to "
                f"{used[-1].sigma:g}, with best scales of {format_number(min(scales))} to {format_number(max(scales))}."
            )
    source = "" if run.classifiers else " Measured at the end of training, with one noise draw a sample."
    tables = tuple(classifier_table(rows, name) for name, rows in found.items())
    legend = {name: run.styles[name] for name in found}
    yield Figure("By noise level", tuple(classifier_panels(found, legend)), _CAPTION + source, legend, tables)
    yield from facts_table("Conditions of the measures", run.conditions.get(CLASSIFIERS, {}))
    panels = [_training_panel(run, key) for key in ("cross_entropy", "gain")]
    if shown := tuple(panel for panel in panels if panel is not None):
        yield Figure("In the course of training", shown, _TRAINING, {name: run.styles[name] for name in run.checks})


def draw_calibration(name: str, rows: Sequence[LevelRow], path: Path) -> None:
    """Draws all plots of one classifier as a PNG."""
    save_panels(classifier_panels({name: rows}, method_styles([name])), path)


def classifier_panels(found: Mapping[str, Sequence[LevelRow]], styles: Mapping[str, Style]) -> list[Panel]:
    """A panel for each quantity, and one of the best scale for each classifier."""
    panels = []
    for key, (title, unit, error, limits, dashed) in _QUANTITIES.items():
        lines = {name: line for name, rows in found.items() if (line := _line(rows, key, error)) is not None}
        if lines:
            panels.append(line_panel(title, lines, styles, unit, LEVEL, limits=limits, dashed=dashed))
    for name, rows in found.items():
        line = _line(rows, "scale", "scale_se")
        if line is not None:
            off = [not on for on in worthwhile(rows)]
            top = max([1.3, *(1.1 * high for high, grey in zip(line.high, off, strict=True) if not grey)])
            limits = (-0.35 * top, 1.1 * top)  # where guidance is off, the best scale may lie anywhere
            title, unit = f"best scale: {name}", "scale of least loss"
            panels.append(line_panel(title, {name: line}, styles, unit, LEVEL, limits=limits, dashed=1.0, grey=off))
    return panels


def _line(rows: Sequence[LevelRow], key: str, error: str) -> Line | None:
    """A quantity by noise level with two standard errors; None where it is unknown."""
    values = [value for row in rows if (value := getattr(row, key)) is not None]
    if len(values) < len(rows):
        return None
    levels = [row.sigma for row in rows]
    if not error:
        return Line(levels, values)
    halves = [2 * (getattr(row, error) or 0.0) for row in rows]
    low, high = ([v + sign * h for v, h in zip(values, halves, strict=True)] for sign in (-1, 1))
    return Line(levels, values, low, high)


def _training_panel(run: Run, key: str) -> Panel | None:
    """A quantity against the step, averaged over the noise levels, for classifiers that were measured repeatedly."""
    curves = {}
    for name, checks in run.checks.items():
        values = {step: [getattr(row, key) for row in rows] for step, rows in checks}
        if len(values) > 1 and all(own and None not in own for own in values.values()):
            curves[name] = [(step, sum(own) / len(own)) for step, own in values.items()]
    title, unit, *_ = _QUANTITIES[key]
    return curve_panel(f"held-out {title}", curves, run.styles, unit) if curves else None
