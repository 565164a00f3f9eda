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
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Steps, Trial
from condgen.samplers.base import SamplerInfo, signal_of, state_of
from condgen.schedules import expand


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

    @property
    def controller(self) -> Controller:
        return Controller(1.0, 1.0, 1 / self.growth, self.growth)

    @property
    def first_length(self) -> float:
        return self.first_step

    def start(self, x: Tensor) -> dict[str, Tensor]:
        return {"u": x, "denoised": torch.zeros_like(x), "h": torch.zeros((), dtype=torch.float64)}

    def step(self, batch: Batch) -> Steps:
        yield from ()  # no estimate is needed but that where the step begins
        rate, schedule = 1 + self.eta, self.schedule
        level, last = schedule.noise_level(batch.t), batch.memory["h"]
        u = signal_of(schedule, batch.x, batch.t)
        change = batch.denoised - batch.memory["denoised"]
        errors = self.error(change, u, batch.memory["u"])
        steps = [self._length(*one) for one in zip(batch.length.tolist(), last.tolist(), errors.tolist(), strict=True)]
        end = (level * (-torch.tensor(steps, dtype=torch.float64)).exp()).clamp_min(schedule.noise_range[0])
        h = (level / end).log()
        slope = torch.where(last > 0, (h + (-rate * h).expm1() / rate) / last.where(last > 0, 1), 0)
        u_s = expand((-rate * h).exp(), u) * u
        u_s = u_s + expand(-(-rate * h).expm1(), u) * batch.denoised + expand(slope, u) * change
        if self.eta > 0:
            spread = end * (-(-2 * self.eta * h).expm1()).sqrt()
            u_s = u_s + expand(spread / h.sqrt(), u) * batch.increments(h)
        t = self.time(end)
        memory = {"u": u, "denoised": batch.denoised, "h": h}
        return Trial(state_of(schedule, u_s, t), t, errors.where(~errors.isfinite(), 0), h, memory)

    def _length(self, longest: float, last: float, error: float) -> float:
        """The longest step within the tolerance, given the last one and the error that its change would make."""
        if last == 0 or error == 0 or not math.isfinite(error):
            return min(longest, self.longest)
        return min(longest, self.longest, _longest(last / error, 1 + self.eta))


def _longest(share: float, rate: float) -> float:
    """The h at which h - (1 - exp(-rate h)) / rate reaches `share`, by Newton's method."""
    h = share + 1 / rate  # right of the root of a convex function, from where Newton's method only falls
    while (excess := h + math.expm1(-rate * h) / rate - share) > 1e-12 * share:
        lower = h + excess / math.expm1(-rate * h)
        if lower >= h:
            break
        h = lower
    return h
