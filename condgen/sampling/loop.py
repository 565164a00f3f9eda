"""One loop that drives every sampler, and yields after each step."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from condgen.bayes import Denoiser
from condgen.noise import expand
from condgen.rng import Streams

__all__ = ["Sampler", "Step", "final", "trajectory"]


class Step(NamedTuple):
    """The state after a step."""

    number: int  # 0 is the initial noise
    t: Tensor  # scalar float64, the time that x stands at
    x: Tensor  # (B, ...)
    evaluations: int  # of the denoiser, per sample, so far


class Sampler(ABC):
    """One step from time t to an earlier time s.

    Steps use sums and products alone, no batch-wide quantity and no transcendental of the data: as far as the sampler
    goes, a sample's bits do not depend on its neighbours. Networks add rounding, since matrix products of another batch
    size may sum in another order.
    """

    evaluations: ClassVar[int]  # denoiser calls a step
    stochastic: ClassVar[bool]

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams) -> Tensor:
        """The state at time s < t: (B, ...) from x_t (B, ...), scalar times, labels (B,) and a stream per sample."""


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
    with torch.no_grad():
        noise = streams.normal(shape)
        x = expand(sampler.schedule.sigma(grid[0]), noise) * noise
        evaluations = 0
        yield Step(0, grid[0], x, evaluations)
        for number, (t, s) in enumerate(pairwise(grid), start=1):
            x = sampler.step(x, t, s, y, streams)
            evaluations += sampler.evaluations
            yield Step(number, s, x, evaluations)
        yield Step(len(grid), grid[-1], sampler.denoiser(x, grid[-1], y), evaluations + 1)


def final(steps: Iterator[Step]) -> Step:
    """Runs a trajectory to its end."""
    return deque(steps, maxlen=1).pop()
