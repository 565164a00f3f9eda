"""Classifiers by noise level, with the guidance scale that suits each, and generators in the course of training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from condgen.diagnostics.classifier_errors import SHARE, THRESHOLD, LevelRow, worthwhile
from condgen.files import write_png
from condgen.report.estimates import SIGMA
from condgen.report.figures import LEVEL, Panel, Style, curve_panel, line_panel, method_styles, save_panels
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Table
from condgen.report.samples import points_figure, sample_grid
from condgen.report.tables import estimates_table, generator_table
from condgen.rows import Estimate
from condgen.runs.layout import GRID, PREVIEWS_PICTURE
from condgen.runs.monitor import read_previews


class _Quantity(NamedTuple):
    head: str  # in a table
    title: str  # of a panel
    unit: str
    dashed: float | None = None


_QUANTITIES: dict[str, _Quantity] = {
    "accuracy": _Quantity("accuracy", "accuracy", "fraction correct"),
    "cross_entropy": _Quantity("CE", "cross-entropy", "nats"),
    "ece": _Quantity("ECE", "calibration error (ECE)", "probability"),
    "norm": _Quantity("|g|", "length of the gradient", "mean |g|"),
    "gain": _Quantity("gain", "gain over zero guidance", "change of loss", dashed=0.0),
    "scale": _Quantity("best scale", "scale to use", "scale of least loss, or 0", dashed=1.0),
}
_HEADS = "CE: cross-entropy, nats. ECE: expected calibration error. |g|: mean length of the likelihood score."
_GAIN = (
    "Gain: the loss of the guided score minus that of the unguided one, in half squared errors of the predicted noise "
    "per dimension; below zero, guidance brings the score closer to the truth. Best scale: the factor on the gradient "
    "of least loss, one where classifier and score model are exact. The scale to use is the best one, or 0 where "
    f"guidance does not help by {THRESHOLD:g} standard errors, or by less than {SHARE:.0%} of the greatest gain."
)
_TRAINING = (
    "Of the averaged weights, always with the same noise, averaged over noise levels. Where cross-entropy rises again, "
    "the classifier overfits, or, under DLSM with little cross-entropy, its probabilities drift."
)
_PREVIEWS, _EACH = 10, 2  # shown: previews, samples of a class
_MEASURES = {"std_ratio": "in-class std ratio", "recall": "recall", "accuracy": "class accuracy"}
_VARIETY = (
    "Of the averaged weights, always with the same latents; the dashed line is the spread of training data. A small "
    "in-class std ratio with high class accuracy is a collapse: samples of a class are nearly the same."
)


def classifiers_section(run: Run) -> Iterable[Block]:
    """Every classifier by noise level: its calibration, or else the last measures taken in training."""
    if found := run.classifiers or {name: checks[-1][1] for name, checks in run.checks.items()}:
        source = "" if run.classifiers else " Measured at the end of training, with one noise draw a sample."
        tables = [classifier_table(rows, name) for name, rows in found.items()]
        caption = f"On held-out samples; bands are two standard errors. {_GAIN}{source}"
        yield Figure("By noise level", classifier_panels(found, run.styles), caption, tables)
    if panels := list(_training_panels(run)):
        yield Figure("In the course of training", panels, _TRAINING)


def classifier_panels(found: Mapping[str, Sequence[LevelRow]], styles: Mapping[str, Style]) -> list[Panel]:
    panels = []
    for key, (_, title, unit, dashed) in _QUANTITIES.items():
        of_all = {name: _to_use(rows) if key == "scale" else _by_level(rows, key) for name, rows in found.items()}
        if lines := {name: line for name, line in of_all.items() if line}:
            panels.append(line_panel(title, lines, styles, unit, LEVEL, dashed))
    return panels


def _by_level(rows: Sequence[LevelRow], key: str) -> dict[float, Estimate]:
    """A quantity by noise level, ± two standard errors where it has any; nothing where it is unknown at some level."""
    if any(getattr(row, key) is None for row in rows):
        return {}
    halves = [None if (se := getattr(row, f"{key}_se", None)) is None else 2 * se for row in rows]
    return {row.sigma: Estimate.within(getattr(row, key), half) for row, half in zip(rows, halves, strict=True)}


def _to_use(rows: Sequence[LevelRow]) -> dict[float, Estimate]:
    """The best scale by noise level, zero where guidance is not worthwhile."""
    best = _by_level(rows, "scale")
    used = zip(best.items(), worthwhile(rows), strict=True) if best else ()
    return {sigma: estimate if on else Estimate(0.0, 0.0, 0.0) for (sigma, estimate), on in used}


def classifier_table(rows: Sequence[LevelRow], name: str) -> Table:
    columns = {quantity.head: _by_level(rows, key) for key, quantity in _QUANTITIES.items()}
    n, draws = (", ".join(map(str, sorted(values))) for values in ({r.n for r in rows}, {r.draws for r in rows}))
    caption = f"Held-out samples: {n}; noise draws: {draws}. {_HEADS}"
    if columns["gain"]:
        columns["use"] = {sigma: Estimate(one.value) for sigma, one in _to_use(rows).items()}
        caption += f" ± is two standard errors over samples. {_GAIN}"
    shown = {head: {f"{sigma:g}": one for sigma, one in found.items()} for head, found in columns.items() if found}
    return estimates_table(name, shown, caption, corner=SIGMA)


def _training_panels(run: Run) -> Iterable[Panel]:
    for key in ("cross_entropy", "gain"):
        curves = {}
        for name, checks in run.checks.items():
            values = {step: [getattr(row, key) for row in rows] for step, rows in checks}
            if len(values) > 1 and all(own and None not in own for own in values.values()):
                curves[name] = [(step, sum(own) / len(own)) for step, own in values.items()]
        if curves:
            quantity = _QUANTITIES[key]
            yield curve_panel(f"held-out {quantity.title}", curves, run.styles, quantity.unit)


def generators_section(run: Run) -> Iterable[Block]:
    if run.generators:
        yield generator_table(run.generators)
        panels, styles = [], method_styles(_MEASURES.values())
        for name, log in run.generators.items():
            lines = {}
            for key, title in _MEASURES.items():
                lines[title] = {float(row.step): Estimate(getattr(row, key)) for row in log.previews}
            panels.append(line_panel(name, lines, styles, "", dashed=1.0))
        yield Figure("Variety and class accuracy in the course of training", panels, _VARIETY)


def draw_previews(folder: Path, until: int | None = None) -> list[Path]:
    """Draws a generator's previews, up to a step, and the last images as a grid, unless damaged; returns the files."""
    previews = {f"step {one.step:,}": one for one in read_previews(folder, until, _PREVIEWS)}
    if not previews:
        return []
    last, files = list(previews.values())[-1], [folder / PREVIEWS_PICTURE, folder / GRID]
    if last.x.ndim == 4:
        blocks = {head: (one.x, one.y.tolist()) for head, one in previews.items()}
        write_png(files[0], sample_grid(blocks, last.names, _EACH, lines=1))
        write_png(files[1], sample_grid({"": (last.x, last.y.tolist())}, last.names))
        return files
    if last.x.shape[1] != 2:
        return []
    clouds = {head: (one.x.double().numpy(), one.y.tolist()) for head, one in previews.items()}
    save_panels(points_figure("", clouds, dict(enumerate(last.names))).panels, files[0], columns=5, legend=True)
    return files[:1]
