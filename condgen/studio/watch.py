"""What samples pass through while they are drawn: noised states and denoised estimates, at no evaluation more.

A page draws its samples once, by the very code of `condgen sample`, and a hook on the denoiser looks on. It keeps what
fits into a bounded memory, tells how far the drawing is, and is where it can be stopped.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condgen.bayes import Denoiser
from condgen.noise import Schedule

__all__ = ["FRAMES", "Moment", "Watch"]

FRAMES = 10  # of a trajectory, at most
_BYTES = 32 * 2**20  # of states that are kept while drawing
_PIXELS = 2**20  # numbers of all frames that a page is sent


class Moment(NamedTuple):
    """A state on the way of one sample."""

    t: float
    noise: float  # sigma_t / alpha_t
    x_t: Tensor  # (...), on the CPU
    denoised: Tensor  # (...)


class Watch:
    """Looks on as a denoiser is asked; to be registered as its forward hook.

    Attributes:
        followed: the samples whose way is kept, of all classes in turn.

    Args:
        denoiser: which is asked.
        labels: of the samples, all of which are in the first batch.
        shape: of one sample.
        tell: called with the number of evaluations so far, before each next one is used; may raise to stop.
    """

    def __init__(
        self, denoiser: Denoiser, labels: Sequence[int], shape: Sequence[int], tell: Callable[[int], None]
    ) -> None:
        self.schedule: Schedule = denoiser.schedule
        numbers = math.prod(shape)
        most = max(1, _PIXELS // (2 * FRAMES * numbers))
        places: dict[int, int] = {}
        turns = []
        for number, label in enumerate(labels):
            places[label] = places.get(label, -1) + 1
            turns.append((places[label], number))
        self.followed = sorted(number for _, number in sorted(turns)[:most])
        self._most = max(2 * FRAMES, _BYTES // (2 * 4 * numbers * len(self.followed)))
        self._tell = tell
        self._alive = list(range(len(labels)))
        self._seen: list[tuple[list[int], Tensor, Tensor, Tensor]] = []  # samples, times, states, estimates
        self._asked, self._stride = 0, 1

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...], denoised: Tensor) -> None:
        """Keeps an evaluation, every second one of what was kept before where that became too much."""
        self._tell(self._asked)
        if self._asked % self._stride == 0:
            self._keep(inputs[0], inputs[1], denoised)
        self._latest = (inputs[0], inputs[1], denoised)
        self._asked += 1

    def leave(self, numbers: Sequence[int]) -> None:
        """Samples that have finished are in the next batch no more. Their last evaluation is the sample."""
        if (self._asked - 1) % self._stride and self._asked:
            self._keep(*self._latest)
        gone = set(numbers)
        self._alive = [number for number in self._alive if number not in gone]

    def _keep(self, x_t: Tensor, t: Tensor, denoised: Tensor) -> None:
        followed = set(self.followed)
        rows = [row for row, number in enumerate(self._alive) if number in followed]
        if not rows:
            return
        times = t.expand(len(self._alive))[rows].cpu()
        # Indexing copies, and a sampler may go on to write into either.
        self._seen.append(([self._alive[row] for row in rows], times, x_t.detach()[rows], denoised.detach()[rows]))
        if len(self._seen) > self._most:
            self._seen = self._seen[::2]
            self._stride *= 2

    def path(self, number: int) -> list[Moment]:
        """The way of a sample that was followed: at most `FRAMES` moments, noise falling, the last estimate the sample.

        Questions that lead nowhere are left out: those after which one is asked at as much noise or more.
        """
        kept: list[tuple[float, Tensor, Tensor]] = []
        for numbers, times, x_t, denoised in reversed(self._seen):
            if number in numbers:
                row = numbers.index(number)
                if not kept or float(times[row]) > kept[-1][0]:
                    kept.append((float(times[row]), x_t[row], denoised[row]))
        levels = self.schedule.noise_level(torch.tensor([t for t, _, _ in kept], dtype=torch.float64)).tolist()
        moments = [Moment(t, level, x.cpu(), d.cpu()) for (t, x, d), level in zip(kept, levels, strict=True)]
        return _spread(moments[::-1])


def _spread(moments: Sequence[Moment]) -> list[Moment]:
    """At most `FRAMES` of them, first and last included, evenly over the logarithm of noise as far as there are any."""
    if len(moments) <= FRAMES:
        return list(moments)
    logs = [math.log(moment.noise) for moment in moments]
    chosen: list[int] = []
    for place in range(FRAMES):
        target = logs[0] + (logs[-1] - logs[0]) * place / (FRAMES - 1)
        free = range(chosen[-1] + 1 if chosen else 0, len(moments) - (FRAMES - 1 - place))
        chosen.append(min(free, key=lambda index: abs(logs[index] - target)))
    return [moments[index] for index in chosen]
