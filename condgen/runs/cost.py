"""What drawing samples has cost, kept in step with the samples that are there.

The cost is written before the samples that it pays for, since samples of unknown cost would be no use. A process that
is killed in between leaves a cost with no samples: the cost of those that are there is therefore kept beside it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from condgen.runs.sample_folder import Part, append_rows, cut_rows, parts_left, seeds_written
from condgen.runs.stage import StageFolder

__all__ = ["COSTS", "Cost", "charge", "settle", "take_in", "take_left"]

COSTS = "costs"  # in stage.json while a stage is not finished: the cost before the last samples, and with them


class Cost(NamedTuple):
    """What the samples of a folder have cost.

    Attributes:
        images: how many there are.
        seconds: of drawing.
        evaluations: of networks.
    """

    images: int
    seconds: float
    evaluations: float

    @classmethod
    def noted(cls, record: Mapping[str, Any], images: int) -> "Cost":
        """What `stage.json` says so many samples have cost; nothing, where it says what cannot be."""
        return cls(images, *(_number(record.get(what)) for what in ("drawing_seconds", "network_evaluations")))


def charge(opened: StageFolder, before: Cost, after: Cost) -> None:
    """Notes what samples cost that are about to be written."""
    opened.note(
        drawing_seconds=round(after.seconds, 4),
        network_evaluations=round(after.evaluations, 1),
        evaluations_per_image=round(after.evaluations / max(1, after.images), 1),
        **{COSTS: [list(before), list(after)]},
    )


def settle(opened: StageFolder) -> Cost:
    """What the samples in a folder have cost, once those whose writing was cut short are gone."""
    written = len(seeds_written(opened.folder))
    before, after = _kept(opened.record)
    if before is None or after is None or written >= after.images:
        return Cost.noted(opened.record, written)
    if written > before.images:
        cut_rows(opened.folder, before.images)
    charge(opened, before, before)
    return before


def take_in(opened: StageFolder, parts: Sequence[Part]) -> None:
    """Adds samples that other processes have drawn: seconds are those of the slowest, since all worked at once."""
    if not parts:
        return
    known = set(seeds_written(opened.folder))
    new = [(part, [row for row in part.rows if int(row["seed"]) not in known]) for part in parts]
    paid = [part for part, rows in new if rows]
    if not paid:
        return
    rows = [row for _, own in new for row in own]
    before = Cost.noted(opened.record, len(known))
    seconds = max(before.seconds, *(part.seconds for part in paid))
    evaluations = before.evaluations + sum(part.evaluations for part in paid)
    charge(opened, before, Cost(before.images + len(rows), seconds, evaluations))
    append_rows(opened.folder, rows)


def take_left(opened: StageFolder) -> None:
    """Adds what processes have left that ended before all was drawn."""
    with parts_left(opened.folder) as parts:
        take_in(opened, parts)


def _kept(record: Mapping[str, Any]) -> tuple[Cost | None, Cost | None]:
    """The costs that are kept, the earlier first."""
    kept = record.get(COSTS)
    if not isinstance(kept, list) or len(kept) != 2 or not all(isinstance(one, list) and len(one) == 3 for one in kept):
        return None, None
    before, after = (Cost(int(_number(images)), _number(spent), _number(n)) for images, spent, n in kept)
    return before, after


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else 0.0
