"""Nearest neighbours: whether samples are copies of training data."""

from collections.abc import Iterable

from condgen.report.estimates import format_number
from condgen.report.images import embedded
from condgen.report.load import Run, open_picture
from condgen.report.page import Block, Cell, Prose, Table, facts_table
from condgen.report.rows import NearRow, NeighbourRow, is_real
from condgen.runs.layout import NEIGHBOURS

__all__ = ["neighbours_section"]

_PIXELS = 64
_MEANING = (
    "A sample and the training data nearest to it, with distances; in brackets the distance of the nearest one to its "
    "own nearest other. A copy has a distance near zero; held-out real data show how close is normal. Authenticity, "
    "among the metrics, is the share of samples that are not closer than the distance in brackets."
)


def neighbours_section(run: Run) -> Iterable[Block]:
    """Samples with their nearest training data, those of real data first."""
    if not run.neighbours:
        return
    yield Prose(_MEANING)
    yield from facts_table("Conditions of the distances", run.conditions.get(NEIGHBOURS, {}))
    most = max(len(row.neighbours) for row in run.neighbours)
    cells: list[tuple[Cell, ...]] = []
    for row in sorted(run.neighbours, key=lambda row: not is_real(row.method)):
        head = f"{row.method}: {row.name}" + ("" if row.seed is None else f", seed {row.seed}")
        elsewhere = f"({format_number(row.elsewhere)})"
        sample = _cell(run, row, f"Sample of class {row.name} by {row.method}", elsewhere)
        cells.append((head, sample, *(_near(run, near, row.label) for near in row.neighbours)))
    heads = ("method and class", "sample", *(f"neighbour {place + 1}" for place in range(most)))
    words = frozenset(range(1, most + 2))
    yield Table("Samples closest to training data", heads, tuple(cells), words=words)


def _near(run: Run, near: NearRow, label: int) -> Cell:
    text = format_number(near.distance) + ("" if near.label == label else f" ({near.name})")
    return _cell(run, near, f"Training image {near.index} of class {near.name}", text)


def _cell(run: Run, row: NeighbourRow | NearRow, alt: str, text: str) -> Cell:
    """A picture above the text, or the text alone where the data are points."""
    if row.file is not None:
        return embedded([open_picture(run.folder, row.file)], alt, _PIXELS, labels=(text,))
    at = ", ".join(f"{value:.3g}" for value in getattr(row, "x", None) or ())
    return f"{at} {text}".strip()
