r"""What the adaptive solver of the reverse SDE costs at a tolerance, without a network, beside the published counts.

"Gotta Go Fast" (Jolicoeur-Martineau et al. 2021, arXiv 2105.14080, table 1) counts two evaluations for every attempt at
a step, until the slowest sample of a batch has arrived. How long the steps are depends on the noise and on the data far
more than on the network, so the exact scores of some CIFAR-10 images must give the same counts: data in [0, 1] under
the variance-exploding schedule, in [-1, 1] under the variance-preserving one, an absolute tolerance of one grey level,
first steps of 0.01 of all time.

This solver asks less often than the paper counts: the slope at the start of a step is kept when the step is rejected,
and no sample waits for another.
"""

import statistics
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.seeds import Fact, rows_over_seeds
from condgen.data import LabelledSet
from condgen.oracle import Oracle
from condgen.samplers import AdaptiveSDE, draw
from condgen.schedules import VE, VP, Schedule

__all__ = ["PUBLISHED", "RELATIVE", "tolerance_rows"]


class _Setting(NamedTuple):
    """A schedule as the paper has it, and the scale of its data."""

    schedule: Schedule
    low: float  # what the least grey level of an image is; the greatest is 1
    counts: dict[float, int]  # published, by relative tolerance


PUBLISHED: dict[str, _Setting] = {
    "VE": _Setting(VE(sigma_min=0.01, sigma_max=50.0), 0.0, {0.01: 738, 0.02: 490, 0.05: 271, 0.10: 170}),
    "VP": _Setting(VP(beta_min=0.1, beta_max=20.0), -1.0, {0.01: 329, 0.02: 274, 0.05: 179, 0.10: 147}),
}
RELATIVE = (0.01, 0.02, 0.05, 0.10)
_FIRST_STEP = 0.01


def tolerance_rows(
    data: LabelledSet, images: int, samples: int, device: torch.device, relative: Sequence[float] = RELATIVE
) -> Generator[str, None, list[dict[str, Any]]]:
    """Counts of evaluations at every tolerance, on both schedules.

    Args:
        data: images; CIFAR-10 to compare with the paper.
        images: how many of them the oracle knows, from the first.
        samples: how many are drawn, with seeds from 0, all at once. The slowest of more samples is slower.
        device: where the oracle is evaluated.
        relative: tolerances, among those published.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them: "lockstep evaluations", which are the paper's, "published evaluations",
        the "ratio to published", "evaluations per sample" of this solver, and the share of attempts "rejected".
    """
    facts: list[Fact] = []
    for name, setting in PUBLISHED.items():
        x = data.floats(torch.arange(min(images, len(data))))
        x = setting.low + (x + 1) * 0.5 * (1 - setting.low)
        labels = torch.zeros(len(x), dtype=torch.int64)  # one class is one pass over the images
        oracle = Oracle(setting.schedule, x.double(), labels, 1).to(device)
        where = f"{len(x):,} images of {data.source}, {samples} samples"
        for tolerance in relative:
            variant = f"{name}, relative {tolerance:g}"
            yield variant
            sampler = AdaptiveSDE(oracle, relative=tolerance, absolute=(1 - setting.low) / 256, first_step=_FIRST_STEP)
            y = torch.zeros(samples, dtype=torch.int64, device=device)
            done = [one for batch in draw(sampler, None, range(samples), y, data.shape, samples) for one in batch]
            attempts = [one.accepted + one.rejected for one in done]
            lockstep, published = 2 * max(attempts), setting.counts[tolerance]
            facts += [
                Fact("lockstep evaluations", variant, where, "2 an attempt, slowest sample", lockstep),
                Fact("published evaluations", variant, "arXiv 2105.14080, table 1", "2 an attempt", published),
                Fact("ratio to published", variant, where, "", lockstep / published),
                Fact("evaluations per sample", variant, where, "mean", statistics.fmean(d.evaluations for d in done)),
                Fact("rejected", variant, where, "share of attempts", sum(d.rejected for d in done) / sum(attempts)),
            ]
    return rows_over_seeds(facts)
