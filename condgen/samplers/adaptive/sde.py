r"""The adaptive solver of the reverse SDE: "Gotta Go Fast" (Jolicoeur-Martineau et al. 2021, arXiv 2105.14080).

With the reverse drift :math:`F(x, t) = f(t)\,x - g(t)^2 s(x, t)`, a step of length h backwards in time and the
Brownian increment W over it, two proposals share the noise and the first slope:

.. math:: K_1 = -h F(x, t) + g(t) W, \quad x' = x + K_1, \quad K_2 = -h F(x', t - h) + g(t - h) W, \quad
          x'' = x + \tfrac{1}{2}(K_1 + K_2)

(Euler-Maruyama, and the stochastic improved Euler method of Roberts 2012). The error is :math:`x'' - x'`, measured
against :math:`\max(\epsilon_{abs}, \epsilon_{rel} \max(|x'|, |x'_{prev}|))`; an accepted step goes to :math:`x''`.

The published controller knows the error of the last step alone, and lets a step double. Where time is the noise level
(EDM), one step may then leap from high noise to the end, and is accepted where chance makes its error small: such
samples are far from any data. So a step here divides the noise level by two at most.

Where the published code draws new noise after a rejection, which makes the samples of low-dimensional data far too wide
(in one dimension by half and more), here the path stays the same path (`BrownianPath`). The estimate at the start
of a step is kept when the step is rejected.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Steps, Trial
from condgen.samplers.base import SamplerInfo
from condgen.schedules import expand, score_from_denoised


@dataclass(frozen=True, eq=False)
class AdaptiveSDE(AdaptiveSampler):
    """Gotta Go Fast: stochastic improved Euler with a step per sample."""

    info = SamplerInfo(2, 2, "every step", None, "Jolicoeur-Martineau et al. 2021, arXiv 2105.14080, algorithm 1")

    safety: Annotated[
        float, Field(gt=0, lt=1, description="theta, by which the next step is shorter than it might be")
    ] = 0.9
    exponent: Annotated[float, Field(ge=0.5, le=1, description="r: the next step is longer by error^-r")] = 0.9
    first_step: Annotated[float, Field(gt=0, le=1, description="as a share of all time")] = 0.01
    least_step: Annotated[
        float, Field(gt=0, lt=1, description="as a share of all time; so short a step is accepted")
    ] = 1e-8
    shrink: Annotated[float, Field(gt=0, lt=1, description="a step is at least so many times the one before it")] = 0.1
    growth: Annotated[float, Field(gt=1, description="and at most so many times")] = 2.0
    redraw: Annotated[
        bool,
        Field(description="draw new noise after a rejection, as the published code does: biased in few dimensions"),
    ] = False

    @property
    def _span(self) -> float:
        return self.schedule.t_max - self.schedule.t_min

    @property
    def controller(self) -> Controller:
        return Controller(self.safety, self.exponent, self.shrink, self.growth, self.least_step * self._span)

    @property
    def first_length(self) -> float:
        return self.first_step * self._span

    def start(self, x: Tensor) -> dict[str, Tensor]:
        return {"low": x}

    def step(self, batch: Batch) -> Steps:
        schedule, x, t = self.schedule, batch.x, batch.t
        halved = self.time(schedule.noise_level(t) / 2)
        h, s = torch.minimum(batch.length, t - halved), torch.maximum(t - batch.length, halved)
        if self.redraw:
            for path in batch.paths:
                path.forget()
        increment = batch.increments(h)
        slope = self._reverse_drift(x, t, batch.denoised)
        low = x - expand(h, x) * slope + expand(schedule.diffusion(t), x) * increment
        slope = self._reverse_drift(low, s, (yield low, s))
        high = 0.5 * (x + low - expand(h, x) * slope + expand(schedule.diffusion(s), x) * increment)
        error = self.error(high - low, low, batch.memory["low"])
        return Trial(high, s, error, h, {"low": low})

    def _reverse_drift(self, x: Tensor, t: Tensor, denoised: Tensor) -> Tensor:
        alpha, sigma = expand(self.schedule.alpha(t), x), expand(self.schedule.sigma(t), x)
        score = score_from_denoised(denoised, x, alpha, sigma)
        return expand(self.schedule.drift(t), x) * x - expand(self.schedule.diffusion(t) ** 2, x) * score
