"""Held-out differences: which posterior score is nearer to the truth, by how much, and after how much training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from condgen.diagnostics.held_out import SURE, HeldOutRow
from condgen.diagnostics.score_errors import ZERO_GUIDANCE
from condgen.report.estimates import SIGMA
from condgen.report.figures import LEVEL, Panel, Style, line_panel, method_styles, save_panels
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Prose, Table
from condgen.report.rows import by_level
from condgen.report.tables import estimates_table
from condgen.rows import Estimate
from condgen.runs.layout import DIAGNOSTICS

_UNIT = 1e-3  # of the numbers that are shown
_UNITS = f"1e-3 {SIGMA}² a dimension"
_ALIKE = {"steps": 1.01, "seconds": 1.1}  # ratios up to which two trainings count as equal
_MEANING = (
    "The squared error of a method's posterior score minus that of a reference, both against the true score given the "
    "class, on test data that no model and no choice has seen: below zero, the method is nearer to the truth. No exact "
    "score is needed: a denoising loss exceeds the squared error by a constant that all methods share."
)
_CAPTION = "Bars are two standard errors, clustered by image; the axis may be linear near zero and logarithmic beyond."
_Training: TypeAlias = Mapping[str, Mapping[str, float]]
"""Steps and seconds behind each method, where they are known."""


def held_out_section(run: Run) -> Iterable[Block]:
    """Plots and tables, that of the reference that says most first."""
    if not run.held_out:
        return
    yield Prose(_MEANING)
    first, *further = held_out_tables(run.held_out, training_of(run))
    yield first
    if panels := tuple(held_out_panels(run.held_out, run.styles)):
        legend = {row.method: run.styles[row.method] for row in run.held_out}
        yield Figure("Difference against noise level", panels, _CAPTION, legend)
    yield from further


def held_out_sentences(run: Run) -> list[str]:
    """Which is nearer to the truth: each classifier against those of cross-entropy, or against zero guidance."""
    pairs = run.conditions.get(DIAGNOSTICS, {}).get("pairs")
    training, out = training_of(run), []
    for pair in pairs if isinstance(pairs, list) else ():
        method, reference = map(str, pair)
        rows = [row for row in _by_reference(run.held_out).get(reference, ()) if row.method == method]
        if rows:
            nearer = sum(row.mean < -SURE * row.se for row in rows)
            farther = sum(row.mean > SURE * row.se for row in rows)
            out.append(
                f"On {rows[0].n_images:,} held-out samples, the posterior score of {method} is nearer to the truth than"
                f" that of {reference} at {nearer} of {len(rows)} noise levels (by more than {SURE:g} standard errors),"
                f" farther at {farther}.{_compare_training(training, method, reference)}"
            )
    return out


def training_of(run: Run) -> _Training:
    """Steps and seconds behind each method, where they are numbers."""
    found = run.conditions.get(DIAGNOSTICS, {}).get("training")
    return {
        str(method): {key: own[key] for key in _ALIKE if isinstance(own.get(key), int | float)}
        for method, own in (found if isinstance(found, dict) else {}).items()
        if isinstance(own, dict)
    }


def _compare_training(training: _Training, *methods: str) -> str:
    """What two methods cost, where both are known, and whether that is equal."""
    known = {name: training[name] for name in methods if training.get(name, {}).keys() == _ALIKE.keys()}
    if len(known) < 2:
        return ""
    spent = "; ".join(f"{name} {own['steps']:,.0f} steps, {own['seconds']:,.0f} s" for name, own in known.items())
    values = {key: [own[key] for own in known.values()] for key in _ALIKE}
    equal = [f"equal {key}" for key, found in values.items() if max(found) <= _ALIKE[key] * min(found)]
    return f" Training: {spent} ({' and '.join(equal) or 'neither equal steps nor equal time'})."


def _by_reference(rows: Iterable[HeldOutRow], quantity: str = "held_out_difference") -> dict[str, list[HeldOutRow]]:
    """The rows of each reference, those of zero guidance last."""
    found: dict[str, list[HeldOutRow]] = {}
    for row in rows:
        if row.quantity == quantity:
            found.setdefault(row.reference, []).append(row)
    return dict(sorted(found.items(), key=lambda item: item[0] == ZERO_GUIDANCE))


def held_out_tables(rows: Sequence[HeldOutRow], training: _Training | None = None) -> Iterable[Table]:
    """A table for each reference, zero guidance last, then one for each labelled model whose gain methods share."""
    for reference, own in _by_reference(rows).items():
        title = f"Held-out squared error minus that of {reference}, {_UNITS}"
        yield _table(own, title, _UNIT, "Below zero: nearer to the truth.", training or {})
    for reference, own in _by_reference(rows, "held_out_share").items():
        title = f"Share of the gain of {reference} over zero guidance"
        yield _table(own, title, 1.0, "Levels at which that gain is not clear are left out.", training or {})


def _table(rows: Sequence[HeldOutRow], title: str, unit: float, caption: str, training: _Training) -> Table:
    """Noise levels as rows, methods as columns, and below what the training took."""
    columns = {}
    for method, levels in by_level(rows, unit).items():
        spent = {f"training {key}": Estimate(value) for key, value in training.get(method, {}).items()}
        columns[method] = {f"{SIGMA} = {sigma:g}": one for sigma, one in levels.items()} | spent
    n, draws, seeds = rows[0].n_images, rows[0].draws, rows[0].seeds
    spread = "two standard errors, clustered by image" if seeds == 1 else f"the standard deviation over {seeds} seeds"
    caption = f"{caption} {n:,} test samples, {draws} noise draw{'s' * (draws > 1)} each; ± is {spread}."
    if taken := training.get(rows[0].reference):
        words = ", ".join(f"{value:,.0f} {key}" for key, value in taken.items())
        caption += f" Training of {rows[0].reference}: {words}."
    return estimates_table(title, columns, caption, corner="")


def held_out_panels(rows: Sequence[HeldOutRow], styles: Mapping[str, Style]) -> Iterable[Panel]:
    """A plot against the noise level for each reference, with a line for each other method."""
    for reference, own in _by_reference(rows).items():
        lines = {method: levels for method, levels in by_level(own, _UNIT).items() if len(levels) > 1}
        if lines:
            yield line_panel(f"minus {reference}", lines, styles, _UNITS, LEVEL, dashed=0.0, signed=True)


def draw_held_out(rows: Sequence[HeldOutRow], path: Path) -> bool:
    """Draws the plots as a PNG; whether there are any."""
    styles = method_styles(row.method for row in rows)
    panels = list(held_out_panels(rows, styles))
    if panels:
        save_panels(panels, path, legend=styles)
    return bool(panels)
