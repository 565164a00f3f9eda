r"""The probability flow with adaptive steps, by the embedded pair of Bogacki & Shampine (1989), of orders 3 and 2.

In :math:`u = x_t / \alpha_t` and the noise level l the flow of every schedule is :math:`du/dl = (u - D)/l`. The last of
four slopes is the first of the next step, so a step costs three evaluations, whether it is accepted or not. The length
of a step is controlled as a ratio of noise levels, which varies little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Steps, Trial
from condgen.samplers.base import SamplerInfo, signal_of, state_of
from condgen.schedules import expand

_STAGES = (  # where in a step the next slope is, and the weights of those before it
    (0.5, (1 / 2,)),
    (0.75, (0.0, 3 / 4)),
    (1.0, (2 / 9, 1 / 3, 4 / 9)),
)
_ERROR = (-5 / 72, 1 / 12, 1 / 9, -1 / 8)  # order 3 less order 2


def _combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, (weight * slope for weight, slope in zip(weights, slopes, strict=True)))


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

    @property
    def controller(self) -> Controller:
        return Controller(self.safety, 1 / 3, self.shrink, self.growth)

    @property
    def first_length(self) -> float:
        return -math.log1p(-self.first_step)

    def step(self, batch: Batch) -> Steps:
        level = self.schedule.noise_level(batch.t)
        end = (level * (-batch.length).exp()).clamp_min(self.schedule.noise_range[0])
        u = signal_of(self.schedule, batch.x, batch.t)
        h, u_s, x, t, denoised = expand(level - end, u), u, batch.x, batch.t, batch.denoised
        slopes = [(u - denoised) / expand(level, u)]
        for node, weights in _STAGES:
            u_s = u - h * _combine(weights, slopes)
            between = end if node == 1 else level - node * (level - end)
            t = self.time(between)
            x = state_of(self.schedule, u_s, t)
            denoised = yield x, t
            slopes.append((u_s - denoised) / expand(between, u))
        error = self.error(h * _combine(_ERROR, slopes), u_s, u)
        return Trial(x, t, error, batch.length, {}, denoised)
