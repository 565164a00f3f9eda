r"""Samplers on a time grid: what a step is, and the one loop that drives all of them.

In units of signal, :math:`u = x_t / \alpha_t` and noise level :math:`l = \sigma_t / \alpha_t`, every schedule reads
:math:`u = x + l \epsilon`. From level :math:`l_t` down to :math:`l_s = \gamma\, l_t`, a step either integrates the
probability flow :math:`du/dl = (u - D)/l` (`heun`, `multistep`), or keeps part of the noise :math:`u - D` and makes up
the rest with fresh noise (`renoise`),

.. math:: u_s = D + k\,(u - D) + f z, \qquad k^2 l_t^2 + f^2 = l_s^2.

The choice :math:`k = \gamma^p` (`noise_factors`) is the flow's Euler step, or DDIM, at p = 1; ancestral sampling, or
DDPM, at p = 2; and a reverse SDE with :math:`\eta` times its usual noise, exact under a constant D, at
:math:`p = 1 + \eta` (Song et al. 2021, arXiv 2010.02502, eq. 12; Ho et al. 2020, arXiv 2006.11239, eq. 6-7; Lu et al.
2022, arXiv 2211.01095, section 5).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.rng import Streams
from condgen.schedules import GridName, Schedule, expand


class SamplerInfo(NamedTuple):
    order: int  # of convergence of its deterministic part; 0 where it does not converge to the law of the data
    evaluations: int  # denoiser calls a step, at its default options
    noise: str  # when it draws fresh noise: "no", "every step", ...
    grid: GridName | None  # the time grid that suits it; None where it chooses its own steps
    paper: str
    points: int = 20  # default number of points of that grid


class Estimate(NamedTuple):
    t: Tensor  # scalar float64
    x: Tensor  # (B, ...), the state
    denoised: Tensor  # (B, ...)


@dataclass(frozen=True, eq=False)
class Context:
    y: Tensor | None  # labels, (B,), or None
    streams: Streams  # one random stream per sample
    history: deque[Estimate] = field(default_factory=lambda: deque(maxlen=3))  # earlier estimates, the latest last


class Step(NamedTuple):
    number: int  # 0 is the initial noise
    t: Tensor  # scalar float64, the time of x
    x: Tensor  # (B, ...)
    evaluations: int  # of the denoiser, per sample, so far


class Finished(NamedTuple):
    number: int  # its place among the seeds
    x: Tensor  # (...)
    evaluations: int  # of the denoiser
    accepted: int  # steps
    rejected: int
    problem: str | None  # why x cannot be used


def not_finite(evaluation: int, noise_level: float) -> str:
    """The problem of a sample that is not finite from an evaluation on; the level, sigma / alpha, is the last good."""
    return f"its numbers are not finite from evaluation {evaluation:,} on, at noise level {noise_level:.3g}"


@dataclass(frozen=True, eq=False)
class Sampler(ABC):
    """A step from time t to an earlier time s; the other fields of a subclass are its options.

    Steps use sums and products alone, no batch-wide quantity and no transcendental of the data: as far as the sampler
    goes, a sample's bits do not depend on the batch.
    """

    info: ClassVar[SamplerInfo] = SamplerInfo(1, 1, "not stated", "karras", "not stated")

    denoiser: Denoiser

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        """The state (B, ...) at time s, from that at time t > s; both are scalars, float64."""

    def evaluations(self, t: Tensor, s: Tensor) -> int:
        """Denoiser calls of the step from t to s."""
        return self.info.evaluations


def evaluations_on(sampler: Sampler, grid: Tensor) -> int:
    """Denoiser calls per sample, with the last one, which denoises."""
    return sum(sampler.evaluations(t, s) for t, s in pairwise(grid)) + 1


@torch.no_grad()
def trajectory(
    sampler: Sampler, grid: Tensor, streams: Streams, y: Tensor | None, shape: Sequence[int]
) -> Iterator[Step]:
    """Samples along a grid of falling times, (N,) float64, from pure noise on.

    The last one is the denoised estimate at the grid's last time, which costs one more evaluation: Heun's method spends
    the 2N - 1 of Karras et al. 2022.
    """
    context, noise, evaluations = Context(y, streams), streams.normal(shape), 0
    x = expand(sampler.schedule.sigma(grid[0]), noise) * noise
    yield Step(0, grid[0], x, evaluations)
    for number, (t, s) in enumerate(pairwise(grid), start=1):
        x = sampler.step(x, t, s, context)
        evaluations += sampler.evaluations(t, s)
        yield Step(number, s, x, evaluations)
    yield Step(len(grid), grid[-1], sampler.denoiser(x, grid[-1], y), evaluations + 1)


def signal_of(schedule: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
    """The state in units of signal, x_t / alpha_t."""
    return x_t / expand(schedule.alpha(t), x_t)


def state_of(schedule: Schedule, u: Tensor, t: Tensor) -> Tensor:
    return expand(schedule.alpha(t), u) * u


def noise_factors(level_t: Tensor, level_s: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """The factors k = gamma^p of the old noise and f of the fresh, for `renoise`: scalars, float64."""
    gamma = level_s / level_t
    return gamma**power, level_s * (1 - gamma ** (2 * (power - 1))).sqrt()


def renoise(u: Tensor, denoised: Tensor, keep: Tensor, fresh: Tensor, streams: Streams) -> Tensor:
    """D + keep (u - D) + fresh z, where z is drawn if fresh is not zero; u is in units of signal, (B, ...)."""
    u_s = denoised + expand(keep, u) * (u - denoised)
    return u_s + expand(fresh, u) * streams.normal(u.shape[1:], u.dtype) if float(fresh) > 0 else u_s
