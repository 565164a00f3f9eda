"""Nearest neighbours: whether samples are copies of training data."""

from collections.abc import Sequence

from condgen.report.estimates import format_number
from condgen.report.images import embedded
from condgen.report.load import Run, open_picture
from condgen.report.page import Block, Cell, Prose, Section, Table, facts_table
from condgen.report.rows import NearRow, NeighbourRow, is_real
from condgen.runs.layout import NEIGHBOURS

__all__ = ["neighbours_section"]

_SHOWN = 2  # samples of a method that are not folded
_PIXELS = 64
_MEANING = (
    "Each row shows a sample and the training data nearest to it, with distances. Those samples of each method come "
    "first that are closest relative to the distance, in brackets, between the nearest training sample and its own "
    "nearest other. A copy has a distance near zero. Held-out real data, on which nothing was trained, have close "
    "neighbours too, and show how close is normal. Authenticity, among the metrics, is the share of samples that are "
    "not closer to a training sample than that one is to its own nearest other."
)


def neighbours_section(run: Run) -> Section | None:
    """Samples with their nearest training data, those of real data first."""
    if not run.neighbours:
        return None
    blocks: list[Block] = [Prose(_MEANING)]
    blocks += facts_table("Conditions of the distances", run.conditions.get(NEIGHBOURS, {}))
    methods = dict.fromkeys(row.method for row in run.neighbours)
    own = {
        method: [row for row in run.neighbours if row.method == method]
        for method in sorted(methods, key=is_real, reverse=True)
    }
    first = [row for rows in own.values() for row in rows[:_SHOWN]]
    further = [row for rows in own.values() for row in rows[_SHOWN:]]
    blocks.append(_table("Samples closest to training data", run, first))
    blocks += [_table("Further samples", run, further, folded=True)] if further else []
    return Section("neighbours", "Nearest neighbours", tuple(blocks))


def _table(title: str, run: Run, rows: Sequence[NeighbourRow], *, folded: bool = False) -> Table:
    most = max(len(row.neighbours) for row in rows)
    cells = [
        (
            f"{row.method}: {row.name}" + ("" if row.seed is None else f", seed {row.seed}"),
            _cell(run, row, f"Sample of class {row.name} by {row.method}", f"({format_number(row.elsewhere)})"),
            *(_near(run, near, row.label) for near in row.neighbours),
            *[""] * (most - len(row.neighbours)),
        )
        for row in rows
    ]
    head = ("method and class", "sample", *(f"neighbour {place + 1}" for place in range(most)))
    return Table(title, head, tuple(cells), words=frozenset(range(1, most + 2)), folded=folded)


def _near(run: Run, near: NearRow, label: int) -> Cell:
    other = "" if near.label == label else f" ({near.name})"
    return _cell(
        run, near, f"Training image {near.index} of class {near.name}", f"{format_number(near.distance)}{other}"
    )


def _cell(run: Run, row: NeighbourRow | NearRow, alt: str, text: str) -> Cell:
    """A picture above the text, or the text alone where the data are points."""
    if row.file is not None:
        return embedded([open_picture(run.folder, row.file)], alt, _PIXELS, labels=(text,))
    at = [f"{value:.3g}" for value in getattr(row, "x", None) or ()]
    return " ".join([", ".join(at), text]).strip()
