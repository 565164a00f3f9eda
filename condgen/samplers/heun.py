r"""Heun's method on the probability flow, :math:`du/dl = (u - D)/l`, and EDM's churn, which adds noise to it.

Noise repairs errors of the denoiser at higher levels: `EDMStochastic` adds a little before every step.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.samplers.base import Context, Sampler, SamplerInfo, signal_of, state_of
from condgen.schedules import expand


def _slope(denoiser: Denoiser, u: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    denoised: Tensor = denoiser(state_of(denoiser.schedule, u, t), t, y)
    return (u - denoised) / expand(denoiser.schedule.noise_level(t), u)


def heun_step(denoiser: Denoiser, u: Tensor, t: Tensor, s: Tensor, y: Tensor | None) -> Tensor:
    """An Euler step along the flow, then one by the mean of the slopes at its ends; u (B, ...), in units of signal."""
    schedule = denoiser.schedule
    change = expand(schedule.noise_level(s), u) - expand(schedule.noise_level(t), u)
    slope_t = _slope(denoiser, u, t, y)
    return u + change * (0.5 * (slope_t + _slope(denoiser, u + change * slope_t, s, y)))


@dataclass(frozen=True, eq=False)
class Heun(Sampler):
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithm 1)."""

    info = SamplerInfo(2, 2, "no", "karras", "Karras et al. 2022, arXiv 2206.00364, algorithm 1")

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        u_s = heun_step(self.denoiser, signal_of(self.schedule, x_t, t), t, s, context.y)
        return state_of(self.schedule, u_s, s)


@dataclass(frozen=True, eq=False)
class EDMStochastic(Sampler):
    r"""Heun's step from a noise level that is raised with fresh noise first: EDM's churn.

    The level l is raised to :math:`(1 + \gamma)\,l`, never above the schedule's highest (Karras et al. 2022, algorithm
    2). The default interval is the paper's for ImageNet-64, where :math:`\gamma = 40/256`.
    """

    info = SamplerInfo(2, 2, "before each step", "karras", "Karras et al. 2022, arXiv 2206.00364, algorithm 2", 50)

    gamma: Annotated[
        float, Field(ge=0, le=math.sqrt(2) - 1, description="raises the noise level by this share: S_churn / points")
    ] = 0.15
    s_min: Annotated[float, Field(ge=0, description="noise is added from this noise level on")] = 0.05
    s_max: Annotated[float, Field(gt=0, description="noise is added up to this noise level")] = 50.0
    s_noise: Annotated[float, Field(gt=0, description="std of the noise: 1 is exact, the paper's are to 1.007")] = 1.0

    def __post_init__(self) -> None:
        if self.s_min > self.s_max:
            raise UserError(f"noise is added from s_min to s_max, which {self.s_min:g} and {self.s_max:g} leave empty")

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        u, level, highest = signal_of(self.schedule, x_t, t), self.schedule.noise_level(t), self.schedule.noise_range[1]
        raised = (level * (1 + self.gamma)).clamp(max=highest)
        if self.gamma > 0 and self.s_min <= float(level) <= self.s_max and float(raised) > float(level):
            added = self.s_noise * (raised**2 - level**2).sqrt()
            u = u + expand(added, u) * context.streams.normal(u.shape[1:], u.dtype)
            t = self.schedule.t_of_noise_level(raised).clamp(max=self.schedule.t_max)
        return state_of(self.schedule, heun_step(self.denoiser, u, t, s, context.y), s)
