r"""Annealed Langevin sampling and its consistent successor.

Both run in units of signal, :math:`u = x_t / \alpha_t` at noise level :math:`l = \sigma_t / \alpha_t`. With the score
of u, :math:`(D - u)/l^2`, a step of :math:`\eta l^2` is :math:`u \leftarrow D + (1 - \eta)(u - D) + f z`.

* Langevin's :math:`f = \sqrt{2 \eta}\, l` (Song & Ermon 2019, arXiv 1907.05600, algorithm 1) leaves more noise than
  the level says: from noise v it makes :math:`v^2 \leftarrow (1 - \eta)^2 v^2 + 2 \eta l^2`, at best
  :math:`2 l^2 / (2 - \eta)`.
* A consistent f makes the noise that of the next level, :math:`f^2 = l_s^2 - (1 - \eta)^2 l_t^2`
  (Jolicoeur-Martineau et al. 2020, arXiv 2009.05475, algorithm 2). With :math:`\gamma = l_s / l_t`, it exists for
  :math:`1 - \gamma \leq \eta \leq 1 + \gamma`: the lower end is the Euler step of the flow, :math:`1 - \gamma^2` is
  ancestral sampling.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.errors import UserError
from condgen.samplers.base import Context, Sampler, SamplerInfo, noise_factors, renoise, signal_of, state_of


@dataclass(frozen=True, eq=False)
class AnnealedLangevin(Sampler):
    """Langevin updates at every level of the grid but the first; the defaults are the later paper's for CIFAR-10."""

    info = SamplerInfo(0, 1, "every step", "geometric", "Song & Ermon 2019, arXiv 1907.05600, algorithm 1", 232)

    eta: Annotated[float, Field(gt=0, lt=2, description="step size, in units of the squared noise level")] = 0.18
    repeats: Annotated[int, Field(ge=1, description="updates at each noise level")] = 1

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        u = signal_of(self.schedule, x_t, t)
        level = self.schedule.noise_level(s)
        keep, fresh = torch.full_like(level, 1 - self.eta), (2 * self.eta) ** 0.5 * level
        for _ in range(self.repeats):
            denoised = self.denoiser(state_of(self.schedule, u, s), s, context.y)
            u = renoise(u, denoised, keep, fresh, context.streams)
        return state_of(self.schedule, u, s)

    def evaluations(self, t: Tensor, s: Tensor) -> int:
        return self.repeats


@dataclass(frozen=True, eq=False)
class ConsistentAnnealed(Sampler):
    r"""Updates whose noise is the next level's.

    The step is the paper's :math:`\eta`, or :math:`\eta = 1 - \gamma^p`, valid on every grid. On the paper's 232 levels
    from 50 to 0.01 its tuned step of 0.056 is p = 1.56, and p = 1.50 on the 1156 levels with its step of 0.011.
    """

    info = SamplerInfo(
        1, 1, "every step", "geometric", "Jolicoeur-Martineau et al. 2020, arXiv 2009.05475, algorithm 2", 100
    )

    power: Annotated[float, Field(ge=1, description="p: 1 draws no noise, 2 is ancestral sampling")] = 1.56
    eta: Annotated[float | None, Field(gt=0, lt=1, description="the paper's step, in squared noise levels")] = None

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        level_t, level_s = self.schedule.noise_level(t), self.schedule.noise_level(s)
        power = self.power if self.eta is None else math.log1p(-self.eta) / math.log(level_s / level_t)
        if power < 1 - 1e-9:  # beyond rounding
            raise UserError(f"eta is below {1 - level_s / level_t:.4g}, the step without noise: take more steps")
        keep, fresh = noise_factors(level_t, level_s, max(power, 1.0))
        u, denoised = signal_of(self.schedule, x_t, t), self.denoiser(x_t, t, context.y)
        return state_of(self.schedule, renoise(u, denoised, keep, fresh, context.streams), s)
