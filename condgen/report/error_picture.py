"""The plots of score errors as one picture, for model cards and other pages that are not ours."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from condgen.report.drawing import drawing, method_styles
from condgen.report.estimates import error_estimates
from condgen.report.plots import LONG_NAMES, above_zero, draw_estimates
from condgen.report.rows import RawRow, Weighting

__all__ = ["draw_errors"]


def draw_errors(rows: Sequence[RawRow], weighting: Weighting, path: Path) -> bool:
    """Every quantity of `error_panel` side by side as a PNG, for pages that are not ours; whether there is any.

    Args:
        rows: the rows of diagnostics.json.
        weighting: which rows to draw.
        path: of the picture.
    """
    found = {quantity: above_zero(error_estimates(rows, weighting, quantity)) for quantity in LONG_NAMES}
    found = {quantity: estimates for quantity, estimates in found.items() if estimates}
    if not found:
        return False
    styles = method_styles(row["method"] for row in rows)
    with drawing():
        figure = Figure(figsize=(0.6 + 3.9 * len(found), 3.6), layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (quantity, estimates) in zip(panels, found.items(), strict=True):
            axes.set_title(f"{quantity}: {LONG_NAMES[quantity]}")
            draw_estimates(axes, estimates, styles)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")
    return True
