r"""The adaptive solver of the reverse SDE: "Gotta Go Fast" (Jolicoeur-Martineau et al. 2021, arXiv 2105.14080).

With the reverse drift :math:`F(x, t) = f(t)\,x - g(t)^2 s(x, t)`, a step of length h backwards in time and the
Brownian increment W over it, two proposals share the noise and the first slope:

.. math:: K_1 = -h F(x, t) + g(t) W, \quad x' = x + K_1, \quad K_2 = -h F(x', t - h) + g(t - h) W, \quad
          x'' = x + \tfrac{1}{2}(K_1 + K_2)

(Euler-Maruyama, and the stochastic improved Euler method of Roberts 2012). The error is :math:`x'' - x'`, measured
against :math:`\max(\epsilon_{abs}, \epsilon_{rel} \max(|x'|, |x'_{prev}|))`; an accepted step goes to :math:`x''`.

Where the published code draws new noise after a rejection, which makes the samples of low-dimensional data far too wide
(in one dimension by half and more), here the path stays the same path (`BrownianMemory`). The slope at the start of a
step is kept when the step is rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.rng import Streams
from condgen.samplers.adaptive.brownian import BrownianMemory
from condgen.samplers.adaptive.loop import AdaptiveSampler, AdaptiveState, Controller
from condgen.samplers.base import SamplerInfo
from condgen.schedules import expand, score_from_denoised

__all__ = ["AdaptiveSDE"]


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

    def start(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> AdaptiveState:
        return _SDEState(self, streams, y, shape)


class _SDEState(AdaptiveState):
    def __init__(self, sampler: AdaptiveSDE, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        super().__init__(sampler.schedule, streams, y, shape)
        self.sampler = sampler
        self.controller = Controller(sampler.safety, sampler.exponent, sampler.shrink, sampler.growth)
        self.span = sampler.schedule.t_max - sampler.schedule.t_min
        self.paths = BrownianMemory(streams, shape, self.x.dtype)
        self.h = torch.full_like(self.t, sampler.first_step * self.span)
        self.trying = torch.zeros_like(self.is_final)  # the query is the far end of an attempt
        self.drift = torch.zeros_like(self.x)  # F(x, t)
        self.increment = torch.zeros_like(self.x)  # W
        self.low = torch.zeros_like(self.x)  # x'
        self.previous = self.x.clone()  # x' of the last accepted step

    def advance(self, rows: Tensor, denoised: Tensor) -> None:
        trying = self.trying[rows]
        starting = rows[~trying]
        self.drift[starting] = self._reverse_drift(self.x[starting], self.t[starting], denoised[~trying])
        rejected = self._finish_step(rows[trying], denoised[trying])
        if len(starting) + len(rejected):
            self._propose(torch.cat((starting, rejected)).sort().values)

    def _reverse_drift(self, x: Tensor, t: Tensor, denoised: Tensor) -> Tensor:
        schedule = self.schedule
        score = score_from_denoised(denoised, x, expand(schedule.alpha(t), x), expand(schedule.sigma(t), x))
        return expand(schedule.drift(t), x) * x - expand(schedule.diffusion(t) ** 2, x) * score

    def _end(self, rows: Tensor) -> Tensor:
        """Where the steps in some rows end: at the least noise exactly, where they reach it."""
        t, h = self.t[rows], self.h[rows]
        return torch.where(h < t - self.schedule.t_min, t - h, self.schedule.t_min)

    def _propose(self, rows: Tensor) -> None:
        x, h, g = self.x[rows], self.h[rows], self.schedule.diffusion(self.t[rows])
        increment = self.paths.increments(rows.tolist(), h.tolist())
        low = x - expand(h, x) * self.drift[rows] + expand(g, x) * increment
        self.increment[rows], self.low[rows], self.trying[rows] = increment, low, True
        self.set_query(rows, low, self._end(rows))

    def _finish_step(self, rows: Tensor, denoised: Tensor) -> Tensor:
        """Accepts attempts or not, sets the next lengths, and returns the rows that must try again."""
        h, s, low = self.h[rows], self._end(rows), self.low[rows]
        slope = self._reverse_drift(low, s, denoised)
        g = expand(self.schedule.diffusion(s), low)
        high = 0.5 * (self.x[rows] + low - expand(h, low) * slope + g * self.increment[rows])
        errors = self.sampler.error(high - low, low, self.previous[rows])
        least, finite = self.sampler.least_step * self.span, errors.isfinite()
        accepts = finite & ((errors <= 1) | (h <= least))
        accepted, rejected = rows[accepts], rows[~accepts]
        self.paths.advance(accepted.tolist(), h[accepts].tolist())
        self.x[accepted], self.previous[accepted], self.t[accepted] = high[accepts], low[accepts], s[accepts]
        self.trying[accepted] = False
        self.accepted[accepted] += 1
        self.rejected[rejected] += 1
        if self.sampler.redraw:
            self.paths.forget(rejected.tolist())
        self.not_finite[rows] |= ~finite & (h <= least)
        left = self.t[rows] - self.schedule.t_min
        self.h[rows] = torch.minimum((h * self.controller.factors(errors)).clamp_min(least), left)
        self.finish(rows[accepts & (left <= 0)])
        going_on = rows[accepts & (left > 0)]
        self.set_query(going_on, self.x[going_on], self.t[going_on])
        return rejected
