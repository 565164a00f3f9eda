"""Samples that cannot be used, or look as if they could not: sorted out before they are written, counted and named.

`unusable.jsonl` has a line for each that cannot be used: seed, class, why, and where it broke if it is known.
`stage.json` counts them, in all and by class.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from condgen.errors import UserError
from condgen.files import write_atomically
from condgen.recipes import SampleStage
from condgen.runs.layout import UNUSABLE
from condgen.runs.stage import StageFolder
from condgen.samplers import Finished, NotFinite

__all__ = ["NOT_FINITE", "Unusable", "UnusableSamples", "refuse_unusable"]

NOT_FINITE = "its numbers are not finite"
_HOPELESS = 100  # samples that cannot be used, and none that can: the others are not tried
_LISTED = 5  # classes in a message
_PEAK = 10.0  # times the range of pixels


class Unusable(NamedTuple):
    """A sample that cannot be used."""

    seed: int
    label: int
    problem: str
    not_finite: NotFinite | None

    def as_row(self, names: Sequence[str]) -> dict[str, Any]:
        """As plain JSON."""
        row: dict[str, Any] = {"seed": self.seed, "class": self.label, "name": names[self.label]}
        row["problem"] = self.problem
        return row | (self.not_finite._asdict() if self.not_finite is not None else {})


class UnusableSamples:
    """Those of one process.

    Attributes:
        samples: what cannot be used.
        far: labels of images that have pixels far beyond their range, and were written all the same.
    """

    def __init__(self, samples: Sequence[Unusable] = (), far: Sequence[int] = ()) -> None:
        self.samples, self.far = list(samples), list(far)

    @staticmethod
    def join(parts: Sequence["UnusableSamples"]) -> "UnusableSamples":
        """Those of all processes, by seed."""
        return UnusableSamples(
            sorted(one for part in parts for one in part.samples), [label for part in parts for label in part.far]
        )

    def sort_out(self, finished: Sequence[Finished], stage: SampleStage, places: Sequence[int]) -> list[Finished]:
        """Takes what cannot be used, and returns the others."""
        found = _unusable(finished, stage, places)
        self.samples += found.values()
        good = [sample for number, sample in enumerate(finished) if number not in found]
        if good and good[0].x.ndim == 3:
            self.far += [stage.labels[places[s.number]] for s in good if _PEAK < float(s.x.abs().max()) < math.inf]
        return good

    def is_hopeless(self, drawn: int) -> bool:
        """Whether nothing is gained by going on, after so many samples that can be used."""
        return drawn == 0 and len(self.samples) >= _HOPELESS

    def note(self, opened: StageFolder, stage: SampleStage, names: Sequence[str], usable: int) -> str:
        """Writes them to the folder, which holds so many that are usable; returns an error in words, or nothing."""
        if self.far:
            opened.record["out_of_range"] = int(opened.record.get("out_of_range", 0)) + len(self.far)
        place = opened.folder / UNUSABLE
        if not self.samples:
            place.unlink(missing_ok=True)
            for fact in ("unusable", "unusable_by_class"):
                opened.record.pop(fact, None)
            return ""
        lines = [json.dumps(one.as_row(names)) + "\n" for one in self.samples]
        write_atomically(place, "".join(lines).encode())
        by_class, bad, total = Counter(names[one.label] for one in self.samples), len(self.samples), len(stage.places)
        opened.note(unusable=bad, unusable_by_class=dict(by_class))
        which = f"{bad:,} of {bad + usable:,} samples"
        if bad + usable < total:
            which += f" that were tried, of {total:,} in all,"
        return (
            f"{opened.name}: {which} cannot be used, of {_listed(list(by_class))}; with seed {self.samples[0].seed} "
            f"{_advised(self.samples[0], stage)}; {place} names each, and the same command keeps the others and draws "
            "these alone again"
        )

    def warning(self, name: str, stage: SampleStage, names: Sequence[str]) -> str:
        """A warning of images that are finite, but far beyond the range of pixels; empty where there are none."""
        if not self.far:
            return ""
        scale = f": a lower guidance scale may help (it is {stage.method.scale})" if stage.method.is_guided else ""
        which = _listed([names[label] for label in sorted(set(self.far))])
        far = f"have pixels more than {_PEAK:g} times beyond their range"
        return f"{name}: {len(self.far):,} images, of {which}, {far}{scale}"


def refuse_unusable(finished: Sequence[Finished], name: str, stage: SampleStage) -> None:
    """Raises UserError where a sample cannot be used."""
    found = list(_unusable(finished, stage, stage.places).values())
    if found:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        who = f"the sample with seed {found[0].seed} (class {found[0].label}){others}"
        raise UserError(f"{name}: {who} cannot be used: {_advised(found[0], stage)}")


def _unusable(finished: Sequence[Finished], stage: SampleStage, places: Sequence[int]) -> dict[int, Unusable]:
    """Those among finished samples, on the CPU, by their place among these."""
    found = {}
    for number, sample in enumerate(finished):
        if sample.problem is not None or not bool(sample.x.isfinite().all()):
            place = places[sample.number]
            problem = sample.problem or NOT_FINITE
            found[number] = Unusable(stage.seed + place, stage.labels[place], problem, sample.not_finite)
    return found


def _advised(one: Unusable, stage: SampleStage) -> str:
    method = stage.method
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
