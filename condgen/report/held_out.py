"""Held-out differences: which posterior score is nearer to the truth, by how much, and after how much training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from condgen.diagnostics.held_out import SURE, HeldOutRow
from condgen.diagnostics.score_errors import ZERO_GUIDANCE
from condgen.report.estimates import SIGMA, by_level
from condgen.report.figures import LEVEL, Panel, Style, line_panel, method_styles, save_panels
from condgen.report.load import Run
from condgen.report.page import Block, Figure, Table
from condgen.report.tables import estimates_table, what_spreads
from condgen.runs.layout import DIAGNOSTICS

_DIFFERENCE = "held_out_difference"
_UNIT = 1e-3  # of the numbers that are shown
_UNITS = f"1e-3 {SIGMA}² a dimension"
_MEANING = (
    "The squared error of a method's posterior score minus that of a reference, both against the true score given the "
    "class, on test data that no model and no choice has seen: below zero, the method is nearer to the truth. No exact "
    "score is needed: a denoising loss exceeds the squared error by a constant that all methods share."
)
_CAPTION = "Bands are two standard errors, clustered by image; the axis may be linear near zero and logarithmic beyond."


def held_out_section(run: Run) -> Iterable[Block]:
    """Plots and tables, that of the reference that says most first."""
    if run.held_out:
        first, *further = held_out_tables(run.held_out)
        yield from (_MEANING, first)
        if panels := _panels(run.held_out, run.styles):
            yield Figure("Difference against noise level", panels, _CAPTION)
        yield from further


def held_out_sentences(run: Run) -> list[str]:
    """Which is nearer to the truth: each classifier against those of cross-entropy, or against zero guidance."""
    out, about = [], run.conditions.get(DIAGNOSTICS, {})
    for method, reference in about.get("pairs") or ():
        rows = [row for row in _groups(run.held_out).get((_DIFFERENCE, reference), ()) if row.method == method]
        if rows:
            nearer = sum(row.mean < -SURE * row.se for row in rows)
            farther = sum(row.mean > SURE * row.se for row in rows)
            out.append(
                f"On {rows[0].n_images:,} held-out samples, the posterior score of {method} is nearer to the truth than"
                f" that of {reference} at {nearer} of {len(rows)} noise levels (by more than {SURE:g} standard errors),"
                f" farther at {farther}.{_training(about.get('training') or {}, method, reference)}"
            )
    return out


def _training(cost: Mapping[str, Mapping[str, float]], *methods: str) -> str:
    """The steps and seconds behind methods, where they are known of all."""
    known = {name: own for name in methods if (own := cost.get(name) or {}).get("steps") and own.get("seconds")}
    spent = "; ".join(f"{name} {own['steps']:,} steps, {own['seconds']:,.0f} s" for name, own in known.items())
    return f" Training: {spent}." if len(known) == len(methods) else ""


def _groups(rows: Iterable[HeldOutRow]) -> dict[tuple[str, str], list[HeldOutRow]]:
    """Rows by quantity and reference: differences before shares, those from zero guidance last."""
    found: dict[tuple[str, str], list[HeldOutRow]] = {}
    for row in sorted(rows, key=lambda row: (row.quantity, row.reference == ZERO_GUIDANCE)):
        found.setdefault((row.quantity, row.reference), []).append(row)
    return found


def held_out_tables(rows: Sequence[HeldOutRow]) -> Iterable[Table]:
    """A table for each reference, zero guidance last, then one for each labelled model whose gain methods share."""
    for (quantity, reference), own in _groups(rows).items():
        unit, title = _UNIT, f"Held-out squared error minus that of {reference}, {_UNITS}"
        caption = "Below zero: nearer to the truth."
        if quantity != _DIFFERENCE:
            unit, title = 1.0, f"Share of the gain of {reference} over zero guidance"
            caption = "Levels at which that gain is not clear are left out."
        spread = what_spreads(own, "two standard errors, clustered by image")
        caption += f" {own[0].n_images:,} test samples, noise draws of each: {own[0].draws}; ± is {spread}."
        columns = {
            method: {f"{SIGMA} = {sigma:g}": one for sigma, one in levels.items()}
            for method, levels in by_level(own, unit).items()
        }
        yield estimates_table(title, columns, caption, corner="")


def _panels(rows: Sequence[HeldOutRow], styles: Mapping[str, Style]) -> list[Panel]:
    """A plot against the noise level for each reference, with a line for each other method."""
    panels = []
    for (quantity, reference), own in _groups(rows).items():
        lines = {method: levels for method, levels in by_level(own, _UNIT).items() if len(levels) > 1}
        if lines and quantity == _DIFFERENCE:
            panels.append(line_panel(f"minus {reference}", lines, styles, _UNITS, LEVEL, dashed=0.0))
    return panels


def draw_held_out(rows: Sequence[HeldOutRow], path: Path) -> bool:
    """Draws the plots as a PNG; whether there are any."""
    panels = _panels(rows, method_styles(row.method for row in rows))
    if panels:
        save_panels(panels, path, legend=True)
    return bool(panels)
