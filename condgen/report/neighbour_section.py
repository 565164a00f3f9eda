"""The section on nearest neighbours: whether samples are copies of training data."""

import math
from collections.abc import Sequence
from dataclasses import replace

from condgen.metrics import REAL
from condgen.report.advice import AUTHENTICITY
from condgen.report.estimates import MISSING, format_number
from condgen.report.grids import embedded
from condgen.report.inputs import Run
from condgen.report.page import Block, Facts, Matches, Neighbour, Prose, Section, TableBlock
from condgen.report.pictures import open_picture
from condgen.report.rows import NeighbourRow, parse_rows
from condgen.report.sections import counted_together
from condgen.report.tables import Table, metrics_table
from condgen.runs.layout import NEIGHBOURS

__all__ = ["neighbour_section"]

_SHOWN = 3  # samples of a method that need no click
_MEANING = (
    "Each sample stands beside the training data nearest to it, with their distances. Of every method those samples "
    "come first that lie closest, as it lies there: their distance is small beside that of the nearest training sample "
    "to its own nearest other, which is in brackets. A copy is at a distance near zero. A likeness is no copy: "
    "held-out real data, which nobody trained on, have close neighbours too, and are the yardstick."
)
_SHARE = (
    "Authenticity is the share of samples that are not closer to a training sample than that one is to its own nearest "
    "other. A method that copies has a lower share than the held-out real data in the last row."
)


def neighbour_section(run: Run) -> Section | None:
    """Samples beside their nearest training data, and the share of authentic ones."""
    rows = parse_rows(NeighbourRow, run.neighbours, NEIGHBOURS)
    if not rows:
        return None
    blocks: list[Block] = [Prose(_MEANING)]
    authentic = [row for row in run.metrics if row["metric"] == AUTHENTICITY]
    if authentic:
        table = replace(metrics_table(authentic), title="Authenticity by method", caption=_SHARE)
        blocks.append(TableBlock(table))
    if run.neighboured:
        blocks.append(Facts.of(counted_together(run.neighboured)))
    methods = dict.fromkeys(row.method for row in rows)
    for method in sorted(methods, key=lambda method: method != REAL):  # the yardstick first
        own = [row for row in rows if row.method == method]
        if all(row.file is None for row in own):
            blocks.append(TableBlock(_coordinates(method, own)))
        else:
            blocks += [_matches(run, method, own[:_SHOWN], folded=False)]
            blocks += [_matches(run, method, own[_SHOWN:], folded=True)] if own[_SHOWN:] else []
    return Section("neighbours", "Nearest neighbours", tuple(blocks))


def _distance(value: float) -> str:
    return format_number(value) if math.isfinite(value) else MISSING


def _matches(run: Run, method: str, rows: Sequence[NeighbourRow], *, folded: bool) -> Matches:
    """Pictures of samples, and of their neighbours."""
    lines = []
    for row in rows:
        if row.file is None:
            continue
        seed = f", seed {row.seed}" if row.seed is not None else ""
        sample = embedded(
            [open_picture(run.folder, row.file)], f"Sample of class {row.name} by {method}{seed}", about=64
        )
        found = tuple(
            Neighbour(
                embedded(
                    [open_picture(run.folder, near.file)], f"Training image {near.index} of class {near.name}", 64
                ),
                _distance(near.distance),
                "" if near.label == row.label else near.name,
            )
            for near in row.neighbours
            if near.file is not None
        )
        own = f" ({_distance(row.elsewhere)})" if row.elsewhere is not None else ""
        lines.append((f"{row.name}{seed}{own}", sample, found))
    return Matches(
        f"{method}: {'further samples' if folded else 'samples closest to training data'}", tuple(lines), folded
    )


def _coordinates(method: str, rows: Sequence[NeighbourRow]) -> Table:
    """Points have no pictures: where they lie stands in a table."""
    cells = []
    for row in rows:
        at = ", ".join(f"{value:.3g}" for value in row.x or ())
        near = [f"{_distance(one.distance)} ({one.name})" for one in row.neighbours]
        cells.append((row.name, MISSING if row.seed is None else str(row.seed), at, "; ".join(near)))
    heads = ("class", "seed", "sample", "distances of the nearest training points (and their classes)")
    return Table(f"{method}: samples closest to training data", heads, tuple(cells), words=frozenset({2, 3}))
