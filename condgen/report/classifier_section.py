"""The section on noisy classifiers: whether they are any good, and at which noise levels."""

from collections.abc import Mapping, Sequence

from condgen.diagnostics.classifier_errors import SHARE, THRESHOLD, worthwhile
from condgen.report.classifier_plots import QUANTITIES, Rows, history_panel, quantity_panel, scale_panel, spans
from condgen.report.drawing import Style
from condgen.report.estimates import format_number
from condgen.report.inputs import Run
from condgen.report.page import Facts, Panels, Prose, Section
from condgen.report.plots import key
from condgen.report.rows import ClassifierRow, RawRow, parse_rows
from condgen.report.tables import classifier_table

__all__ = ["classifier_rows", "classifier_section"]


def classifier_section(run: Run, styles: Mapping[str, Style]) -> Section | None:
    """Every classifier on held-out data, by noise level: its calibration, or else the last look taken in training."""
    raw = run.classifiers or [row for history in run.checks.values() for row in history[-1][1]]
    if not raw:
        return None
    found = classifier_rows(raw)
    blocks: list[Prose | Facts | Panels] = [
        Prose(
            "All of this is measured on held-out samples, and needs no exact score. The gain is the loss of the guided "
            "score minus that of the unguided one: below zero, the classifier's gradient brings the score closer to "
            "the truth. The best scale is the factor before the gradient at which the loss is least: one, where the "
            "classifier's gradient and the score model are both right."
        ),
        *(Prose(text) for who, rows in found.items() if (text := _in_words(who, rows))),
    ]
    if run.calibrated:
        blocks.append(Facts.of(run.calibrated))
    plots = [quantity_panel(quantity, found, styles, f"classifiers-{quantity}") for quantity in QUANTITIES]
    scales = [
        scale_panel(who, rows, styles[who], f"classifiers-scale-{i}") for i, (who, rows) in enumerate(found.items())
    ]
    source = "" if run.classifiers else " Measured at the end of training, with one noise draw a sample."
    blocks.append(
        Panels(
            title="By noise level",
            plots=tuple(plot for plot in (*plots, *scales) if plot is not None),
            caption="Bands and bars are two standard errors to either side. In the plots of the best scale the dashed "
            "line is one, and where the ground is grey the scale to use is zero, because guidance does not help there "
            f"by {THRESHOLD:g} standard errors, or helps by less than {SHARE:.0%} of the greatest gain.{source}",
            legend=tuple((key(styles[who], f"classifiers-key-{i}"), who) for i, who in enumerate(found)),
            tables=tuple(classifier_table(rows, who) for who, rows in found.items()),
        )
    )
    histories = {who: [(step, _sorted(rows)) for step, rows in history] for who, history in run.checks.items()}
    drawn = [
        history_panel(quantity, history, who, f"classifiers-history-{i}-{quantity}")
        for i, (who, history) in enumerate(histories.items())
        for quantity in ("cross_entropy", "gain")
        if len(history) > 1
    ]
    if any(drawn):
        blocks.append(
            Panels(
                title="In the course of training",
                plots=tuple(plot for plot in drawn if plot is not None),
                caption="The averaged weights on held-out samples, always with the same noise; the later the darker. "
                "Where cross-entropy rises again with later steps, the classifier overfits, or, under DLSM with little "
                "cross-entropy, its probabilities drift.",
            )
        )
    return Section("classifiers", "Is the classifier any good, and at which noise levels?", tuple(blocks))


def _sorted(rows: Sequence[RawRow]) -> list[ClassifierRow]:
    return sorted(parse_rows(ClassifierRow, rows, "classifiers"), key=lambda row: row.sigma)


def classifier_rows(rows: Sequence[RawRow]) -> dict[str, Rows]:
    """Checked rows of each classifier, noise levels rising."""
    names = dict.fromkeys(str(row["classifier"]) for row in rows)
    return {name: _sorted([row for row in rows if row["classifier"] == name]) for name in names}


def _in_words(who: str, rows: Rows) -> str:
    """Where a classifier helps, where it surely harms, and where neither is so."""
    rows = [row for row in rows if row.gain is not None and row.gain_se is not None]
    if not rows:
        return ""
    levels, on = [row.sigma for row in rows], worthwhile(rows)
    harms = [(row.gain or 0.0) > THRESHOLD * (row.gain_se or 0.0) for row in rows]
    text = f"{who}: no guidance surely helps at any noise level."
    if any(on):
        scales = [row.scale or 0.0 for row, use in zip(rows, on, strict=True) if use]
        low, high = format_number(min(scales)), format_number(max(scales))
        text = f"{who}: guidance surely helps at {spans(levels, on)}, with best scales of {low} to {high}."
    if any(harms):
        text += f" At scale 1 it surely harms at {spans(levels, harms)}."
    unsure = [not (helps or harm) for helps, harm in zip(on, harms, strict=True)]
    if any(unsure):
        text += f" Neither is sure, or it hardly matters, at {spans(levels, unsure)}."
    return text
