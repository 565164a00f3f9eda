r"""The adaptive solver of the reverse SDE: "Gotta Go Fast" (Jolicoeur-Martineau et al. 2021, arXiv 2105.14080).

With the reverse drift :math:`F(x, t) = f(t)\,x - g(t)^2 s(x, t)`, a step of length h backwards in time and the Brownian
increment W over it, two proposals share the noise and the first slope:

.. math:: K_1 = -h F(x, t) + g(t) W, \quad x' = x + K_1, \quad K_2 = -h F(x', t - h) + g(t - h) W, \quad
          x'' = x + \tfrac{1}{2}(K_1 + K_2)

(Euler-Maruyama, and the stochastic improved Euler method of Roberts 2012). The error is :math:`x'' - x'`, measured
against :math:`\max(\epsilon_{abs}, \epsilon_{rel} \max(|x'|, |x'_{prev}|))`; an accepted step goes to :math:`x''`.

The published code lets a step double, so that on EDM's time it may leap from high noise to the end, and be accepted by
chance: here a step divides the noise level by two at most. It draws new noise after a rejection, by which the samples
of low-dimensional data become far too wide: here the path stays the same path (`BrownianPath`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from condgen.samplers.adaptive.loop import AdaptiveSampler, Batch, Controller, Steps, Trial
from condgen.samplers.base import SamplerInfo
from condgen.schedules import expand, score_from_denoised


@dataclass(frozen=True, eq=False)
class AdaptiveSDE(AdaptiveSampler):
    """Gotta Go Fast: stochastic improved Euler with a step per sample."""

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
