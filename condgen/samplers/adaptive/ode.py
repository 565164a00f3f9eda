r"""The probability flow with adaptive steps, by the embedded pair of Bogacki & Shampine (1989), of orders 3 and 2.

In :math:`u = x_t / \alpha_t` and the noise level l the flow is :math:`du/dl = (u - D)/l`. The last of four slopes is
the first of the next step. The length of a step is minus the log of the ratio of its noise levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Relative, Steps, Trial
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
    controller = Controller(exponent=1 / 3, shrink=0.2, growth=5.0, first=-math.log1p(-0.3))

    relative: Relative = 0.005  # errors add up over the steps

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
        return Trial(x, t, error, batch.length, batch.memory, denoised)
