"""Samples that cannot be used: sorted out before they are written, counted and named.

`unusable.jsonl` has a line for each: seed, class, why, and where it broke if it is known. `stage.json` counts them, in
all and by class.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from condgen.errors import UserError
from condgen.files import write_atomically
from condgen.recipes import Method, SampleStage
from condgen.runs.layout import UNUSABLE
from condgen.runs.stage import StageFolder
from condgen.samplers import Finished, NotFinite

NOT_FINITE = "its numbers are not finite"
_LISTED = 5  # classes in a message


class Unusable(NamedTuple):
    """A sample that cannot be used."""

    seed: int
    label: int
    problem: str
    not_finite: NotFinite | None


def find_unusable(sample: Finished, stage: SampleStage, place: int) -> Unusable | None:
    """What is wrong with a sample on the CPU, at this place of its set."""
    if sample.problem is None and bool(sample.x.isfinite().all()):
        return None
    return Unusable(stage.seed + place, stage.labels[place], sample.problem or NOT_FINITE, sample.not_finite)


def refuse_unusable(finished: Sequence[Finished], name: str, stage: SampleStage) -> None:
    """Raises UserError where a sample cannot be used."""
    found = [one for sample in finished if (one := find_unusable(sample, stage, stage.places[sample.number]))]
    if found:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        who = f"the sample with seed {found[0].seed} (class {found[0].label}){others}"
        raise UserError(f"{name}: {who} cannot be used: {_advised(found[0], stage.method)}")


def record_unusable(
    found: Sequence[Unusable], opened: StageFolder, stage: SampleStage, names: Sequence[str], usable: int
) -> str:
    """Writes them to a folder, which holds so many that are usable; returns an error, empty where there are none."""
    place = opened.folder / UNUSABLE
    if not found:
        place.unlink(missing_ok=True)
        for fact in ("unusable", "unusable_by_class"):
            opened.record.pop(fact, None)
        return ""
    rows = []
    for one in found:
        row = {"seed": one.seed, "class": one.label, "name": names[one.label], "problem": one.problem}
        rows.append(row | (one.not_finite._asdict() if one.not_finite is not None else {}))
    write_atomically(place, "".join(json.dumps(row) + "\n" for row in rows).encode())
    by_class = Counter(names[one.label] for one in found)
    opened.note(unusable=len(found), unusable_by_class=dict(by_class))
    which = f"{len(found):,} of {len(found) + usable:,} samples"
    if len(found) + usable < len(stage.places):
        which += f" that were tried, of {len(stage.places):,} in all,"
    return (
        f"{opened.name}: {which} cannot be used, of {_listed(list(by_class))}; with seed {found[0].seed} "
        f"{_advised(found[0], stage.method)}; {place} names each, and the same command keeps the others and draws "
        "these alone again"
    )


def _advised(one: Unusable, method: Method) -> str:
    advice = [one.problem]
    if method.is_guided:
        advice.append(f"or a lower guidance scale (it is {method.scale})")
    if method.generator is not None:
        advice.append("take another generator, or an earlier state of its training")
    if method.precision != "float32":
        advice.append("or precision float32")
    return ", ".join(advice)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"class{'es' if len(names) > 1 else ''} {', '.join(map(repr, names[:_LISTED]))}{more}"
