r"""A multistep solver that chooses its own steps at one evaluation a step; a proposal of this project.

In units of signal, :math:`u = x_t / \alpha_t`, with noise level l and :math:`\lambda = -\log l`, the reverse SDE whose
noise is scaled by :math:`\eta` (0: the probability flow, 1: the reverse SDE) has the exact solution

.. math:: u_s = \tfrac{l_s}{l_t} e^{-\eta h} u_t + (1 + \eta) \int_0^h e^{-(1 + \eta)(h - r)} D(\lambda_t + r)\, dr
          + l_s \sqrt{1 - e^{-2 \eta h}}\, z, \qquad h = \lambda_s - \lambda_t

(Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, eq. 14, in these units). With D constant over the step it gives order
1; with D on the line through the last two estimates, :math:`h_-` apart, it gives order 2. The two differ by

.. math:: e(h) = \frac{1}{h_-} \Big( h - \frac{1 - e^{-(1 + \eta) h}}{1 + \eta} \Big) (D_t - D_{t-})

which is known *before* the step and free of the noise that the step will draw. So the longest step within the tolerance
is computed, not tried: nothing is ever rejected, no noise is seen before it is used, and a step costs one evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.rng import Streams
from condgen.samplers.adaptive.loop import AdaptiveSampler, AdaptiveState
from condgen.samplers.base import SamplerInfo, signal_of, state_of
from condgen.schedules import expand

__all__ = ["AdaptiveMultistep"]


@dataclass(frozen=True, eq=False)
class AdaptiveMultistep(AdaptiveSampler):
    """Embedded orders 1 and 2 in log-SNR, one evaluation a step, a step per sample."""

    info = SamplerInfo(2, 1, "if eta > 0", None, "this project, on Lu et al. 2022, arXiv 2211.01095")

    relative: Annotated[
        float, Field(gt=0, lt=1, description="tolerated error as a share of the state: 0.01 is precise, 0.05 fast")
    ] = 0.02
    eta: Annotated[float, Field(ge=0, le=1, description="0 is the probability flow, 1 the reverse SDE")] = 1.0
    first_step: Annotated[float, Field(gt=0, description="in the logarithm of the noise level")] = 0.3
    growth: Annotated[float, Field(gt=1, description="a step is at most so many times the one before it")] = 1.5
    longest: Annotated[float, Field(gt=0, description="step in the logarithm of the noise level")] = 0.7

    def start(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> AdaptiveState:
        return _MultistepState(self, streams, y, shape)


def _longest(share: float, rate: float) -> float:
    """The h at which h - (1 - exp(-rate h)) / rate reaches `share`, by Newton's method."""
    h = share + 1 / rate  # right of the root of a convex function, from where Newton's method only falls
    while (excess := h + math.expm1(-rate * h) / rate - share) > 1e-12 * share:
        lower = h + excess / math.expm1(-rate * h)
        if lower >= h:
            break
        h = lower
    return h


class _MultistepState(AdaptiveState):
    def __init__(self, sampler: AdaptiveMultistep, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        super().__init__(sampler.schedule, streams, y, shape)
        self.sampler = sampler
        self.least, greatest = sampler.schedule.noise_range
        self.level = torch.full_like(self.t, greatest)
        self.h = torch.zeros_like(self.t)  # the last step; zero before the first
        self.estimate = torch.zeros_like(self.x)  # where it began
        self.before = self.x.clone()  # u there

    def advance(self, rows: Tensor, denoised: Tensor) -> None:
        rate = 1 + self.sampler.eta
        level, last = self.level[rows], self.h[rows]
        u = signal_of(self.schedule, self.query[rows], self.query_t[rows])
        change = denoised - self.estimate[rows]
        errors = self.sampler.error(change, u, self.before[rows])
        steps = [self._length(last_h, error) for last_h, error in zip(last.tolist(), errors.tolist(), strict=True)]
        end = (level * (-torch.tensor(steps, dtype=torch.float64)).exp()).clamp_min(self.least)
        h = (level / end).log()
        slope_factor = torch.where(last > 0, (h + (-rate * h).expm1() / rate) / last.where(last > 0, 1), 0)
        moved = (
            expand((-rate * h).exp(), u) * u
            + expand(-(-rate * h).expm1(), u) * denoised
            + expand(slope_factor, u) * change
        )
        if self.sampler.eta > 0:
            spread = end * (-(-2 * self.sampler.eta * h).expm1()).sqrt()
            moved = moved + expand(spread, u) * self.streams.normal(u.shape[1:], u.dtype, rows.tolist())
        self.before[rows], self.estimate[rows], self.level[rows], self.h[rows] = u, denoised, end, h
        self.t[rows] = torch.where(end <= self.least, self.schedule.t_min, self.schedule.t_of_noise_level(end))
        self.x[rows] = state_of(self.schedule, moved, self.t[rows])
        self.not_finite[rows] |= ~errors.isfinite()
        self.accepted[rows] += 1
        self.set_query(rows, self.x[rows], self.t[rows])
        self.finish(rows[end <= self.least])

    def _length(self, last: float, error: float) -> float:
        """The longest step within the tolerance, given the last one and the error that its change would make."""
        if last == 0 or not math.isfinite(error):
            return self.sampler.first_step
        limit = min(self.sampler.growth * last, self.sampler.longest)
        return min(limit, _longest(last / error, 1 + self.sampler.eta)) if error > 0 else limit
