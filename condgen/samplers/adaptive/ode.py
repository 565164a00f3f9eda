r"""The probability flow with adaptive steps, by the embedded pair of Bogacki & Shampine (1989), of orders 3 and 2.

In :math:`u = x_t / \alpha_t` and the noise level l the flow of every schedule is :math:`du/dl = (u - D)/l`. The last of
four slopes is the first of the next step, so an accepted step costs three evaluations, and a rejected one three more.
The length of a step is controlled as a ratio of noise levels, which varies little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.rng import Streams
from condgen.samplers.adaptive.loop import AdaptiveSampler, AdaptiveState, Controller
from condgen.samplers.base import SamplerInfo, signal_of, state_of
from condgen.schedules import expand

__all__ = ["AdaptiveODE"]

_SLOPES = 4
_NODES = torch.tensor([0.5, 0.75, 1.0], dtype=torch.float64)  # where in a step the second to fourth slopes are
_WEIGHTS = torch.tensor(  # of the slopes known by then, for the states at the nodes
    [[1 / 2, 0, 0, 0], [0, 3 / 4, 0, 0], [2 / 9, 1 / 3, 4 / 9, 0]], dtype=torch.float64
)
_ERROR = torch.tensor([-5 / 72, 1 / 12, 1 / 9, -1 / 8], dtype=torch.float64)  # order 3 less order 2
_SHORTEST = 1e-8  # a ratio of noise levels so near to one that a shorter step would not mend an undefined number


@dataclass(frozen=True, eq=False)
class AdaptiveODE(AdaptiveSampler):
    """Bogacki-Shampine 3(2) on the probability-flow ODE with a step per sample."""

    info = SamplerInfo(3, 3, "no", None, "Bogacki & Shampine 1989, on Karras et al. 2022, arXiv 2206.00364, eq. 3")

    relative: Annotated[
        float,
        Field(gt=0, lt=1, description="tolerated error of a step as a share of the state: errors add up along the way"),
    ] = 0.005
    safety: Annotated[float, Field(gt=0, lt=1, description="the next step is shorter by it than it might be")] = 0.9
    first_step: Annotated[float, Field(gt=0, lt=1, description="as a share of the greatest noise level")] = 0.3
    shrink: Annotated[float, Field(gt=0, lt=1, description="a step is at least so many times the one before it")] = 0.2
    growth: Annotated[float, Field(gt=1, description="and at most so many times")] = 5.0

    def start(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> AdaptiveState:
        return _ODEState(self, streams, y, shape)


class _ODEState(AdaptiveState):
    def __init__(self, sampler: AdaptiveODE, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        super().__init__(sampler.schedule, streams, y, shape)
        self.controller = Controller(sampler.safety, 1 / 3, sampler.shrink, sampler.growth)
        self.sampler = sampler
        self.least, greatest = sampler.schedule.noise_range
        self.level = torch.full_like(self.t, greatest)
        self.h = torch.full_like(self.t, -math.log1p(-sampler.first_step))  # of the logarithm of the level
        self.stage = torch.zeros_like(self.accepted)  # slopes known of the step that is tried
        self.u = signal_of(self.schedule, self.x, self.t)
        self.slopes = self.x.new_zeros(len(self.x), _SLOPES, *shape)

    def advance(self, rows: Tensor, denoised: Tensor) -> None:
        t, stage = self.query_t[rows], self.stage[rows]
        u = signal_of(self.schedule, self.query[rows], t)
        self.slopes[rows, stage] = (u - denoised) / expand(self.schedule.noise_level(t), u)
        self.stage[rows] = stage + 1
        self._finish_step(rows[self.stage[rows] == _SLOPES])
        self._query_stage(rows[~self.is_final[rows]])

    def _query_stage(self, rows: Tensor) -> None:
        """Sets the queries at the next nodes of the steps in some rows."""
        known, (end, h) = self.stage[rows], self._end(rows)
        u = self.u[rows] - expand(h, self.u) * self._combine(rows, _WEIGHTS[known - 1])
        level = torch.where(known == _SLOPES - 1, end, self.level[rows] - _NODES[known - 1] * h)
        t = self._time(level)
        self.set_query(rows, state_of(self.schedule, u, t), t)

    def _combine(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Sums of the slopes in some rows, with weights (n, 4) float64."""
        slopes = self.slopes[rows]
        return reduce(torch.add, (expand(weights[:, i], self.u) * slopes[:, i] for i in range(_SLOPES)))

    def _end(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The noise levels where the steps in some rows end, and their lengths."""
        level = self.level[rows]
        end = (level * (-self.h[rows]).exp()).clamp_min(self.least)
        return end, level - end

    def _time(self, level: Tensor) -> Tensor:
        t = self.schedule.t_of_noise_level(level)
        return torch.where(level <= self.least, self.schedule.t_min, t)  # the end exactly, free of the round trip

    def _finish_step(self, rows: Tensor) -> None:
        """Accepts the steps whose error is within the tolerance, and sets the next lengths."""
        end, h = self._end(rows)
        u = signal_of(self.schedule, self.query[rows], self.query_t[rows])
        difference = expand(h, u) * self._combine(rows, _ERROR.expand(len(rows), -1))
        errors = self.sampler.error(difference, u, self.u[rows])
        accepts = errors <= 1
        accepted = rows[accepts]
        self.u[accepted], self.level[accepted] = u[accepts], end[accepts]
        self.t[accepted] = self._time(end[accepts])
        self.slopes[accepted, 0] = self.slopes[accepted, _SLOPES - 1]
        self.accepted[accepted] += 1
        self.rejected[rows[~accepts]] += 1
        self.not_finite[rows] |= ~errors.isfinite() & (self.h[rows] < _SHORTEST)
        self.h[rows] *= self.controller.factors(errors)
        self.stage[rows] = 1
        arrived = rows[accepts & (end <= self.least)]
        self.x[arrived] = state_of(self.schedule, self.u[arrived], self.t[arrived])
        self.finish(arrived)
