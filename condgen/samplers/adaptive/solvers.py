"""The two samplers that choose their own steps: of the probability flow, and of the reverse SDE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Relative, Steps, Trial
from condgen.samplers.base import SamplerInfo, signal_of, state_of
from condgen.schedules import expand, score_from_denoised

_STAGES = (  # where in a step of the flow the next slope is, and the weights of those before it
    (0.5, (1 / 2,)),
    (0.75, (0.0, 3 / 4)),
    (1.0, (2 / 9, 1 / 3, 4 / 9)),
)
_ERROR = (-5 / 72, 1 / 12, 1 / 9, -1 / 8)  # order 3 less order 2


def _combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, (weight * slope for weight, slope in zip(weights, slopes, strict=True)))


@dataclass(frozen=True, eq=False)
class AdaptiveODE(AdaptiveSampler):
    r"""Bogacki-Shampine 3(2) on the probability-flow ODE with a step per sample.

    The embedded pair of Bogacki & Shampine (1989) has the orders 3 and 2. In :math:`u = x_t / \alpha_t` and the noise
    level l the flow is :math:`du/dl = (u - D)/l`. The last of four slopes is the first of the next step. The length of
    a step is minus the log of the ratio of its noise levels.
    """

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


@dataclass(frozen=True, eq=False)
class AdaptiveSDE(AdaptiveSampler):
    r"""Gotta Go Fast: stochastic improved Euler with a step per sample.

    With the reverse drift :math:`F(x, t) = f(t)\,x - g(t)^2 s(x, t)`, a step of length h backwards in time and the
    Brownian increment W over it, two proposals share the noise and the first slope:

    .. math:: K_1 = -h F(x, t) + g(t) W, \quad x' = x + K_1, \quad K_2 = -h F(x', t - h) + g(t - h) W, \quad
              x'' = x + \tfrac{1}{2}(K_1 + K_2)

    (Euler-Maruyama, and the stochastic improved Euler method of Roberts 2012). The error is :math:`x'' - x'`, measured
    against :math:`\max(\epsilon_{abs}, \epsilon_{rel} \max(|x'|, |x'_{prev}|))`; an accepted step goes to :math:`x''`.

    The published code lets a step double, so that on EDM's time it may leap from high noise to the end, and be accepted
    by chance: here a step divides the noise level by two at most. It draws new noise after a rejection, by which the
    samples of low-dimensional data become far too wide: here the path stays the same path (`BrownianPath`).
    """

    info = SamplerInfo(2, 2, "every step", None, "Jolicoeur-Martineau et al. 2021, arXiv 2105.14080, algorithm 1")
    controller = Controller(exponent=0.9, shrink=0.1, growth=2.0, first=0.01)

    @property
    def unit(self) -> float:
        return self.schedule.t_max - self.schedule.t_min

    def step(self, batch: Batch) -> Steps:
        schedule, x, t = self.schedule, batch.x, batch.t
        halved = self.time(schedule.noise_level(t) / 2)
        h, s = torch.minimum(batch.length, t - halved), torch.maximum(t - batch.length, halved)
        increment = torch.stack([path.increment(each) for path, each in zip(batch.paths, h.tolist(), strict=True)])
        slope = self._reverse_drift(x, t, batch.denoised)
        low = x - expand(h, x) * slope + expand(schedule.diffusion(t), x) * increment
        slope = self._reverse_drift(low, s, (yield low, s))
        high = 0.5 * (x + low - expand(h, x) * slope + expand(schedule.diffusion(s), x) * increment)
        return Trial(high, s, self.error(high - low, low, batch.memory), h, low)

    def _reverse_drift(self, x: Tensor, t: Tensor, denoised: Tensor) -> Tensor:
        alpha, sigma = expand(self.schedule.alpha(t), x), expand(self.schedule.sigma(t), x)
        score = score_from_denoised(denoised, x, alpha, sigma)
        return expand(self.schedule.drift(t), x) * x - expand(self.schedule.diffusion(t) ** 2, x) * score
