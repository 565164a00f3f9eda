"""The sections on score errors: how far estimated scores lie from exact ones, by noise level and in the plane."""

from collections.abc import Mapping

import numpy as np

from condgen.report.drawing import Style
from condgen.report.estimates import SIGMA, format_number
from condgen.report.inputs import Run
from condgen.report.page import Facts, Panels, Prose, Section, TableBlock
from condgen.report.plots import Field, colour_bar, error_panel, field_panel, field_scale, key
from condgen.report.rows import Quantity, Weighting
from condgen.report.tables import Table, errors_table

__all__ = ["errors_section", "field_section"]

_QUANTITIES: tuple[Quantity, ...] = ("D", "D_P", "D_L")
_WEIGHTINGS: dict[Weighting, tuple[str, str]] = {
    "data": ("Weighted by the data", "Noised data are drawn at each noise level, and the errors there averaged."),
    "grid": ("Uniform over a grid", "The errors are averaged over a grid of points, most of which are far from data."),
}


def errors_section(run: Run, styles: Mapping[str, Style]) -> Section | None:
    """Score errors against the noise level."""
    groups = [
        panels
        for relative in (False, True)
        for weighting in _WEIGHTINGS
        if (panels := _error_panels(run, styles, weighting, relative)) is not None
    ]
    if not groups:
        return None
    definitions = Prose(
        "D is the mean distance between the estimated and the exact unconditional score, D_P the same for the score "
        "given the class, and D_L for the likelihood score, which a classifier contributes. By Bayes' rule the score "
        "given the class is the sum of the other two scores. “Zero guidance” puts nothing in the place of the "
        "likelihood score: a classifier that does worse than this is worse than none."
    )
    oracle = Prose(
        "Exact here means: of the labelled training set itself, with noise added. An error of zero therefore means "
        "that the network has memorised the training set exactly, as the optimum of its training objective would. A "
        "score error is the distance from that exact optimum on these images, not from the unknown population that "
        "they came from."
    )
    images = run.field_data is None and not any(s.point for samples in run.samples.values() for s in samples)
    return Section("errors", "Score errors", (definitions, *((oracle,) if images else ()), *groups, *_conditions(run)))


def _error_panels(run: Run, styles: Mapping[str, Style], weighting: Weighting, relative: bool) -> Panels | None:
    """All quantities of one weighting; as a share of the exact score where noise levels are to be compared."""
    rows = [row for row in run.errors if row["weighting"] == weighting]
    curves = len({row["sigma"] for row in rows}) > 1
    if relative and not curves:
        return None
    name = f"errors-{weighting}{'-relative' if relative else ''}"
    drawn = [
        (quantity, plot)
        for quantity in _QUANTITIES
        if (plot := error_panel(rows, weighting, quantity, styles, f"{name}-{quantity.lower()}", relative=relative))
    ]
    if not drawn:
        return None
    title, meaning = _WEIGHTINGS[weighting]
    if relative:
        title = f"{title}, as a share of the exact score"
        meaning = (
            "Each error over the mean length of the exact score that it is an error of: noise levels can be "
            "compared, and 1 is as wrong as a score of zero. Where the classes leave no doubt there is no likelihood "
            "score to speak of, and no such figure."
        )
    zeros = (
        " Errors of exactly zero, or below a hundred-thousandth of the largest, have no place on the logarithmic "
        "axis and stand in the table alone."
    )
    methods = dict.fromkeys(row["method"] for row in rows)
    return Panels(
        title=title,
        plots=tuple(plot for _, plot in drawn),
        caption=f"{meaning} Bars are one standard error, sd / √n.{zeros if curves else ''}",
        legend=tuple(
            (key(styles[method], f"{name}-key-{index}"), method) for index, method in enumerate(methods) if curves
        ),
        tables=tuple(errors_table(rows, weighting, quantity, relative=relative) for quantity, _ in drawn),
    )


def _conditions(run: Run) -> list[Facts | TableBlock]:
    """What the errors were measured on, and what each method is."""
    facts, methods = dict(run.diagnosed), run.diagnosed.get("methods")
    blocks: list[Facts | TableBlock] = []
    if isinstance(methods, dict) and methods:
        del facts["methods"]
        rows = tuple((str(name), str(what)) for name, what in methods.items())
        blocks.append(TableBlock(Table("What was compared", ("method", "what it is"), rows, words=frozenset({1}))))
    return [Facts.of(facts), *blocks] if facts else blocks


def field_section(run: Run) -> Section | None:
    """True and estimated likelihood scores on the grid, for data of two dimensions."""
    data = run.field_data
    if data is None or "exact" not in data.fields:
        return None
    exact = data.fields["exact"]
    top = field_scale(list(data.fields.values()), exact)
    differences = {method: values - exact for method, values in data.fields.items() if method != "exact"}
    top_error = field_scale(list(differences.values()), exact) if differences else 1.0
    blocks, rows = [], []
    for index, name in enumerate(data.names):
        points = data.points[np.asarray(data.labels, dtype=int) == index]
        scores = [
            field_panel(
                *(values[index], data.x, data.y),
                top=top,
                title=method,
                name=f"field-{index}-{place}",
                alt=f"Likelihood score of class {name}, {method}: mean length {_length(values[index])}.",
                points=points,
            )
            for place, (method, values) in enumerate(data.fields.items())
        ]
        errors = [
            field_panel(
                *(values[index], data.x, data.y),
                top=top_error,
                title=f"error of {method}",
                name=f"field-{index}-{place}-error",
                alt=f"Error of the likelihood score of class {name}, {method}: mean {_length(values[index])}.",
                arrows=False,
            )
            for place, (method, values) in enumerate(differences.items())
        ]
        for method, values in data.fields.items():
            rows.append((name, method, _length(values[index]), _length((values - exact)[index])))
        blocks.append(
            Panels(
                title=f"Class {name}: scores",
                plots=tuple(scores),
                caption="Arrows point where the score leads; dots are data of the class.",
                scale=colour_bar(top, "length of the score", f"field-{index}-bar"),
            )
        )
        if errors:
            blocks.append(
                Panels(
                    title=f"Class {name}: errors",
                    plots=tuple(errors),
                    caption="The distance between the estimated score and the exact one.",
                    scale=colour_bar(top_error, "length of the error", f"field-{index}-bar-error"),
                )
            )
    table = Table("Means over the grid", ("class", "field", "mean length", "mean error"), tuple(rows))
    text = Prose(
        f"The likelihood score at {SIGMA} = {data.sigma:g}, exact and estimated, on a grid of {len(data.x)} by "
        f"{len(data.y)} points. The colour scale is shared by all panels of a kind and ends at twice the longest exact "
        "score where estimates exceed that."
    )
    return Section("fields", "Likelihood-score fields", (text, *blocks, TableBlock(table, folded=True)))


def _length(vectors: Field) -> str:
    return format_number(float(np.linalg.norm(vectors, axis=-1).mean()))
