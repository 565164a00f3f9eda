"""The loop that drives samplers which choose their own steps.

Every sample has its own time and step, and one query to the denoiser a round: the next stage of its next attempt. A
sample that has finished leaves, and its slot in the batch takes the next one that waits. So the batch keeps its shape,
no sample waits for another, and nothing is evaluated in vain; only when no more samples wait does the batch shrink.
"""

import math
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
from condgen.samplers.base import Finished, NotFinite, SamplerInfo
from condgen.schedules import Schedule, expand

__all__ = ["AdaptiveSampler", "AdaptiveState", "Controller", "sample_adaptively"]


class AdaptiveState(ABC):
    """Samples under way, a row each.

    A solver adds what it remembers as attributes; tensors, streams and Brownian paths with a row per sample move along
    when samples leave and others take their slots. Times are float64 on the CPU.

    Args:
        schedule: of the noise.
        streams: a random stream per sample, which have drawn nothing yet.
        y: labels, (B,), or None.
        shape: of one sample.
    """

    def __init__(self, schedule: Schedule, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        n, noise = len(streams), streams.normal(shape)
        self.schedule, self.streams, self.y = schedule, streams, y
        self.t = torch.full((n,), schedule.t_max, dtype=torch.float64)  # the time of the last accepted state
        self.x = expand(schedule.sigma(self.t), noise) * noise  # that state
        self.query, self.query_t = self.x.clone(), self.t.clone()  # what the denoiser is evaluated at next
        self.is_final = torch.zeros(n, dtype=torch.bool)  # that evaluation is the sample
        self.not_finite = torch.zeros(n, dtype=torch.bool)  # a shorter step would not mend it
        self.accepted = torch.zeros(n, dtype=torch.int64)
        self.rejected = torch.zeros(n, dtype=torch.int64)

    @abstractmethod
    def advance(self, rows: Tensor, denoised: Tensor) -> None:
        """Uses the estimates (n, ...) of the queries in some rows (n,), and sets the next queries there."""

    def set_query(self, rows: Tensor, x: Tensor, t: Tensor) -> None:
        """Sets what the denoiser is evaluated at next in some rows."""
        self.query[rows], self.query_t[rows] = x, t

    def finish(self, rows: Tensor) -> None:
        """Sets the final query, at the least noise."""
        self.is_final[rows] = True
        self.set_query(rows, self.x[rows], self.t[rows])

    def keep(self, rows: list[int]) -> None:
        """Drops all other rows."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])
            elif isinstance(value, Streams | BrownianMemory):
                value.keep(rows)

    def put(self, rows: list[int], others: Self) -> None:
        """Replaces some rows by those of another state, in order."""
        for name, value in vars(self).items():
            other = getattr(others, name)
            if isinstance(value, Tensor):
                value[rows] = other
            elif isinstance(value, Streams | BrownianMemory):
                value.put(rows, other)


@dataclass(frozen=True)
class Controller:
    r"""The factor :math:`\theta E^{-r}` from a step's length to the next, where E is the error of the step.

    E is in units of the tolerance; above one, the step is rejected (Jolicoeur-Martineau et al. 2021, "Gotta Go Fast
    When Generating Data with Score-Based Models", arXiv 2105.14080, algorithm 1).

    Args:
        safety: theta, below one.
        exponent: r; one over the order of the error for a deterministic method.
        shrink: the least factor, also after an error that is not a number.
        growth: the greatest factor.
    """

    safety: float
    exponent: float
    shrink: float
    growth: float

    def factors(self, errors: Tensor) -> Tensor:
        """The factor for each of the errors, (B,) float64."""
        return torch.tensor([self._factor(error) for error in errors.tolist()], dtype=torch.float64)

    def _factor(self, error: float) -> float:
        if not math.isfinite(error):
            return self.shrink
        if error == 0:
            return self.growth
        wanted = self.safety * math.pow(error, -self.exponent)  # per sample: powers of vectors differ in the last bit
        return min(max(wanted, self.shrink), self.growth)


@dataclass(frozen=True, eq=False)
class AdaptiveSampler(ABC):
    """A sampler that chooses its own steps, for every sample by itself; the other fields are its options."""

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

    def error(self, difference: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """The root mean square of differences in units of the tolerance at two states, (B,) float64 on the CPU."""
        tolerance = torch.maximum(one.abs(), other.abs()).mul(self.relative).clamp_min(self.absolute)
        ratio = (difference / tolerance).flatten(1)
        # of torch's sums over rows, this one alone has the same bits in a batch of any size
        norms: Tensor = torch.linalg.vector_norm(ratio, dim=1) / math.sqrt(ratio.shape[1])
        return norms.double().cpu()

    @abstractmethod
    def start(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> AdaptiveState:
        """Samples at pure noise, with their first queries."""


@torch.no_grad()
def sample_adaptively(
    sampler: AdaptiveSampler,
    seeds: Sequence[int],
    y: Tensor | None,
    shape: Sequence[int],
    slots: int,
    device: torch.device | str = "cpu",
) -> Iterator[list[Finished]]:
    """Draws samples, and yields after each round those that have finished in it; the arguments are those of `draw`."""
    waiting = iter(range(len(seeds)))

    def start(count: int) -> tuple[list[int], AdaptiveState | None]:
        """The next samples that wait, at most `count`."""
        numbers = list(islice(waiting, count))
        if not numbers:
            return [], None
        streams = Streams([seeds[number] for number in numbers], device)
        return numbers, sampler.start(streams, None if y is None else y[numbers], shape)

    numbers, state = start(slots)
    evaluations = [0] * len(numbers)
    while state is not None:
        denoised: Tensor = sampler.denoiser(state.query, state.query_t, state.y)
        evaluations = [count + 1 for count in evaluations]
        was_final, others = state.is_final.tolist(), (~state.is_final).nonzero()[:, 0]
        if len(others):
            state.advance(others, denoised[others])
        sound = denoised.isfinite().flatten(1).all(1).tolist() if any(was_final) else was_final
        finished, left = [], []
        for row, (number, not_finite) in enumerate(zip(numbers, state.not_finite.tolist(), strict=True)):
            problem = where = None
            if not_finite or (was_final[row] and not sound[row]):
                where = NotFinite(evaluations[row], float(sampler.schedule.noise_level(state.t[row])))
                problem = f"{where}; try a smaller tolerance with the option relative"
            elif not was_final[row] and evaluations[row] >= sampler.max_evaluations:
                problem = (
                    f"it needs more than {sampler.max_evaluations:,} evaluations; allow more with the option "
                    "max_evaluations, or a larger tolerance with relative and absolute"
                )
            if was_final[row] or problem:
                left.append(row)
                counts = evaluations[row], int(state.accepted[row]), int(state.rejected[row])
                finished.append(Finished(number, denoised[row].clone(), *counts, problem, where))
        yield finished
        if not left:
            continue
        fresh, newcomers = start(len(left))
        filled, empty = left[: len(fresh)], set(left[len(fresh) :])
        if newcomers is not None:
            state.put(filled, newcomers)
        for row, number in zip(filled, fresh, strict=True):
            numbers[row], evaluations[row] = number, 0
        if empty:
            kept = [row for row in range(len(numbers)) if row not in empty]
            if not kept:
                return
            state.keep(kept)
            numbers, evaluations = [numbers[row] for row in kept], [evaluations[row] for row in kept]
