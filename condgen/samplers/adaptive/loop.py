"""The loop that drives samplers which choose their own steps.

Every sample has its own time and step, and asks the denoiser one question a round: the next stage of its next attempt.
A sample whose last question is answered leaves, and its slot in the batch takes the next one that waits. So the batch
keeps its shape, no sample waits for another, and nothing is evaluated in vain; only when no more samples wait does the
batch shrink.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.rng import Streams
from condgen.samplers.adaptive.brownian import BrownianMemory
from condgen.samplers.base import Finished, SamplerInfo
from condgen.samplers.finite import NotFinite, finite_rows
from condgen.schedules import Schedule, expand

__all__ = ["AdaptiveSampler", "AdaptiveState", "rows_of", "sample_adaptively"]


def rows_of(mask: Tensor) -> list[int]:
    """The rows in which a mask (B,) holds."""
    return [int(row) for row in mask.nonzero()[:, 0].tolist()]


class AdaptiveState(ABC):
    """Samples under way, a row each, and how they go on when their questions are answered.

    A solver adds what it remembers as attributes; tensors, streams and Brownian paths with a row per sample move along
    when samples leave and others take their slots. Times are float64 on the CPU.

    Args:
        schedule: of the noise.
        streams: a random stream per sample, which have drawn nothing yet.
        y: labels, (B,), or None.
        shape: the shape of one sample.
    """

    def __init__(self, schedule: Schedule, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        n, noise = len(streams), streams.normal(shape)
        self.schedule, self.streams, self.y = schedule, streams, y
        self.t = torch.full((n,), schedule.t_max, dtype=torch.float64)  # where the last accepted state stands
        self.x = expand(schedule.sigma(self.t), noise) * noise  # that state
        self.question, self.time = self.x.clone(), self.t.clone()  # what the denoiser is asked, and at which time
        self.last = torch.zeros(n, dtype=torch.bool)  # the answer is the sample
        self.not_finite = torch.zeros(n, dtype=torch.bool)  # numbers have become infinite or undefined, for good
        self.accepted = torch.zeros(n, dtype=torch.int64)
        self.rejected = torch.zeros(n, dtype=torch.int64)

    @abstractmethod
    def answer(self, rows: list[int], denoised: Tensor) -> None:
        """Takes the answers (n, ...) to the questions in some rows, and leaves the next ones there."""

    def ask(self, rows: list[int], x: Tensor, t: Tensor) -> None:
        """Leaves a question in some rows."""
        self.question[rows], self.time[rows] = x, t

    def arrive(self, rows: list[int]) -> None:
        """Asks for the denoised estimate where the samples have arrived, at the least noise."""
        self.last[rows] = True
        self.ask(rows, self.x[rows], self.t[rows])

    def keep(self, rows: list[int]) -> None:
        """Lets go of the samples in all other rows."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])
            elif isinstance(value, Streams | BrownianMemory):
                value.keep(rows)

    def put(self, rows: list[int], others: Self) -> None:
        """Puts other samples, in order, in the place of those in some rows."""
        for name, value in vars(self).items():
            other = getattr(others, name)
            if isinstance(value, Tensor):
                value[rows] = other
            elif isinstance(value, Streams | BrownianMemory):
                value.put(rows, other)


@dataclass(frozen=True, eq=False)
class AdaptiveSampler(ABC):
    """A sampler that chooses its own steps, for every sample by itself. Its options are its fields."""

    info: ClassVar[SamplerInfo]

    denoiser: Denoiser
    relative: Annotated[
        float, Field(gt=0, lt=1, description="tolerated error as a share of the state: 0.02 is precise, 0.05 fast")
    ] = 0.05
    absolute: Annotated[
        float,
        Field(
            gt=0, description="tolerated error in data units, where that is more; 2/256 is one grey level of an image"
        ),
    ] = 2 / 256
    max_evaluations: Annotated[int, Field(gt=0, description="per sample; one that needs more is an error")] = 10_000

    @property
    def schedule(self) -> Schedule:
        """The denoiser's."""
        return self.denoiser.schedule

    @abstractmethod
    def launch(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> AdaptiveState:
        """Samples at pure noise, with their first questions."""


@torch.no_grad()
def sample_adaptively(
    sampler: AdaptiveSampler,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    slots: int,
    device: torch.device | str = "cpu",
) -> Iterator[list[Finished]]:
    """Draws samples, many at once, and yields after each round those that have finished in it.

    A sample depends on its own seed and label alone, whatever the slots.

    Args:
        sampler: which chooses the steps.
        seeds: one per sample.
        y: labels, (N,), or None.
        shape: the shape of one sample.
        slots: how many samples are under way at once, at most.
        device: where the samples are made, and the labels are.
    """
    waiting = iter(range(len(seeds)))

    def launch(count: int) -> tuple[list[int], AdaptiveState | None]:
        """The next samples that wait, at most so many."""
        numbers = list(islice(waiting, count))
        if not numbers:
            return [], None
        streams = Streams([seeds[number] for number in numbers], device)
        return numbers, sampler.launch(streams, None if y is None else y[numbers], shape)

    numbers, flight = launch(slots)
    evaluations = [0] * len(numbers)
    while flight is not None:
        denoised: Tensor = sampler.denoiser(flight.question, flight.time, flight.y)
        evaluations = [count + 1 for count in evaluations]
        ended, under_way = flight.last.tolist(), rows_of(~flight.last)
        if under_way:
            flight.answer(under_way, denoised[under_way])
        finished, gone = [], []
        sound = finite_rows(denoised) if any(ended) else ended
        counts = zip(flight.accepted.tolist(), flight.rejected.tolist(), flight.not_finite.tolist(), strict=True)
        for row, (accepted, rejected, not_finite) in enumerate(counts):
            problem = where = None
            if not_finite or (ended[row] and not sound[row]):
                where = NotFinite(evaluations[row], float(sampler.schedule.noise_level(flight.t[row])))
                problem = f"{where}; try a smaller tolerance with the option relative"
            elif not ended[row] and evaluations[row] >= sampler.max_evaluations:
                problem = (
                    f"it needs more than {sampler.max_evaluations:,} evaluations; allow more with the option "
                    "max_evaluations, or a larger tolerance with relative and absolute"
                )
            if ended[row] or problem:
                gone.append(row)
                counted = evaluations[row], accepted, rejected
                finished.append(Finished(numbers[row], denoised[row].clone(), *counted, problem, where))
        yield finished
        fresh, others = launch(len(gone))
        filled = gone[: len(fresh)]
        if others is not None:
            flight.put(filled, others)
        for row, number in zip(filled, fresh, strict=True):
            numbers[row], evaluations[row] = number, 0
        empty = set(gone[len(fresh) :])
        left = [row for row in range(len(numbers)) if row not in empty]
        if len(left) < len(numbers):
            flight.keep(left)
            numbers, evaluations = [numbers[row] for row in left], [evaluations[row] for row in left]
        if not left:
            return
