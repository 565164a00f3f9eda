"""Samples that cannot be used: their numbers are not finite, or their sampler gave up."""

from collections.abc import Sequence
from typing import NamedTuple

from condgen.recipes import SampleStage
from condgen.samplers import Finished

NOT_FINITE = "its numbers are not finite"
_LISTED = 5  # classes in a message


class Unusable(NamedTuple):
    """A sample that cannot be used, and why."""

    seed: int
    label: int
    problem: str


def find_unusable(sample: Finished, stage: SampleStage, place: int) -> Unusable | None:
    """What is wrong with a sample on the CPU, at this place of its set."""
    if sample.problem is None and bool(sample.x.isfinite().all()):
        return None
    return Unusable(stage.seed + place, stage.labels[place], sample.problem or NOT_FINITE)


def tell_unusable(found: Sequence[Unusable], stage: SampleStage, names: Sequence[str], usable: int) -> str:
    """How many samples cannot be used, of which classes, and what may help.

    Args:
        found: the samples, by seed.
        stage: which samples were drawn.
        names: of the classes.
        usable: how many samples can be used.
    """
    tried, total, method = len(found) + usable, len(stage.labels), stage.method
    which = f"{len(found):,} of {tried:,} samples" + (f" that were tried, of {total:,} in all," * (tried < total))
    classes = list(dict.fromkeys(names[one.label] for one in found))
    listed = ", ".join(map(repr, classes[:_LISTED]))
    more = f" and {len(classes) - _LISTED} more" if len(classes) > _LISTED else ""
    advice = [found[0].problem]
    if method.is_guided:
        advice.append(f"or a lower guidance scale (it is {method.scale})")
    if method.generator is not None:
        advice.append("take another generator, or an earlier state of its training")
    if method.precision != "float32":
        advice.append("or precision float32")
    return (
        f"{which} cannot be used, of class{'es' if len(classes) > 1 else ''} {listed}{more}; with seed {found[0].seed} "
        f"{', '.join(advice)}"
    )
