"""One loop that drives every sampler on a time grid, and yields after each step."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.rng import Streams
from condgen.samplers.finite import NotFinite
from condgen.schedules import GridName, Schedule, expand

__all__ = ["Estimate", "Finished", "History", "Sampler", "SamplerInfo", "Step", "evaluations_on", "final", "trajectory"]


class SamplerInfo(NamedTuple):
    """What a user wants to know of a sampler before choosing it."""

    order: int  # of convergence of its deterministic part; 0 where it does not converge to the law of the data
    evaluations: int  # denoiser calls a step, at its default options
    noise: str  # when it draws fresh noise: "no", "every step", ...
    grid: GridName | None  # the time grid that suits it; None where it chooses its own steps
    paper: str
    points: int = 20  # of that grid, where nobody says how many


class Step(NamedTuple):
    """The state after a step."""

    number: int  # 0 is the initial noise
    t: Tensor  # scalar float64, the time that x stands at
    x: Tensor  # (B, ...)
    evaluations: int  # of the denoiser, per sample, so far


class Finished(NamedTuple):
    """A sample at its end."""

    number: int  # its place among the seeds
    x: Tensor  # (...)
    evaluations: int  # of the denoiser
    accepted: int  # steps
    rejected: int
    problem: str | None  # why x is not to be used
    not_finite: NotFinite | None = None  # where its numbers became infinite or undefined, if they did


class Estimate(NamedTuple):
    """What a multistep method remembers of a time it has been at."""

    t: Tensor  # scalar float64
    x: Tensor  # (B, ...), the state there
    denoised: Tensor  # (B, ...), the estimate from it


History: TypeAlias = deque[Estimate]
"""Estimates at the times before this one, the latest last: kept by the loop, filled by the samplers that need it."""


@dataclass(frozen=True, eq=False)
class Sampler(ABC):
    """One step from time t to an earlier time s. A sampler's options are its fields, beside the denoiser.

    Steps use sums and products alone, no batch-wide quantity and no transcendental of the data: as far as the sampler
    goes, a sample's bits do not depend on its neighbours. Networks add rounding, since matrix products of another batch
    size may sum in another order.
    """

    info: ClassVar[SamplerInfo]

    denoiser: Denoiser

    @property
    def schedule(self) -> Schedule:
        """The denoiser's."""
        return self.denoiser.schedule

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, history: History) -> Tensor:
        """The state at time s < t.

        Args:
            x_t: the state at time t, (B, ...).
            t: now, scalar float64.
            s: where to, scalar float64.
            y: labels, (B,), or None.
            streams: one random stream per sample.
            history: of this trajectory; empty at its first step. A multistep method appends to it.
        """

    def evaluations(self, t: Tensor, s: Tensor) -> int:
        """Denoiser calls of the step from t to s."""
        return self.info.evaluations

    @property
    def least_points(self) -> int:
        """The fewest points of a time grid that make sense."""
        return 2


def evaluations_on(sampler: Sampler, grid: Tensor) -> int:
    """Denoiser calls per sample on a whole grid, with the last one that denoises."""
    return sum(sampler.evaluations(t, s) for t, s in pairwise(grid)) + 1


@torch.no_grad()
def trajectory(
    sampler: Sampler, grid: Tensor, streams: Streams, y: Tensor | None, shape: Sequence[int]
) -> Iterator[Step]:
    """Samples along a time grid, from pure noise to the denoised estimate at the last time.

    The final yield is the denoised estimate at the grid's last time, which costs one more evaluation and removes the
    noise that is left there (for N grid points, Heun's method spends the 2N - 1 evaluations of Karras et al. 2022).

    Args:
        sampler: what makes a step.
        grid: falling times, (N,) float64.
        streams: one random stream per sample.
        y: labels, (B,), or None.
        shape: the shape of one sample.
    """
    noise = streams.normal(shape)
    x = expand(sampler.schedule.sigma(grid[0]), noise) * noise
    evaluations, history = 0, History(maxlen=3)
    yield Step(0, grid[0], x, evaluations)
    for number, (t, s) in enumerate(pairwise(grid), start=1):
        x = sampler.step(x, t, s, y, streams, history)
        evaluations += sampler.evaluations(t, s)
        yield Step(number, s, x, evaluations)
    yield Step(len(grid), grid[-1], sampler.denoiser(x, grid[-1], y), evaluations + 1)


def final(steps: Iterator[Step]) -> Step:
    """Runs a trajectory to its end."""
    return deque(steps, maxlen=1).pop()
