"""First-order samplers of the reverse SDE, which draw fresh noise at every step; DDIM without noise is the flow's."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from condgen.samplers.base import Context, Sampler, SamplerInfo, noise_factors, renoise, signal_of, state_of
from condgen.schedules import expand


@dataclass(frozen=True, eq=False)
class EulerMaruyama(Sampler):
    r"""Euler-Maruyama on the reverse SDE, :math:`dx = (f x - g^2 s)\,dt + g\,dw` (Song et al. 2021, eq. 6)."""

    info = SamplerInfo(1, 1, "every step", "geometric", "Song et al. 2021, arXiv 2011.13456, eq. 6", 200)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        f, g = self.schedule.drift(t), self.schedule.diffusion(t)
        score = self.denoiser.score(x_t, t, context.y)
        noise = context.streams.normal(x_t.shape[1:], x_t.dtype)
        drift = expand((s - t) * f, x_t) * x_t - expand((s - t) * g**2, x_t) * score
        return x_t + drift + expand(g * (t - s).sqrt(), x_t) * noise


@dataclass(frozen=True, eq=False)
class ReverseDiffusion(Sampler):
    r"""The reverse SDE discretised as the forward one is (Song et al. 2021, eq. 46).

    The forward step :math:`x_t = a x_s + b z` has :math:`a = \alpha_t / \alpha_s` and
    :math:`b^2 = \sigma_t^2 - a^2 \sigma_s^2` on every schedule; backwards,
    :math:`x_s = (2 - a)\, x_t + b^2 \nabla \log p(x_t) + b z`.
    """

    info = SamplerInfo(1, 1, "every step", "geometric", "Song et al. 2021, arXiv 2011.13456, eq. 46", 200)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        a = self.schedule.alpha(t) / self.schedule.alpha(s)
        b = (self.schedule.sigma(t) ** 2 - a**2 * self.schedule.sigma(s) ** 2).sqrt()
        score, noise = self.denoiser.score(x_t, t, context.y), context.streams.normal(x_t.shape[1:], x_t.dtype)
        return expand(2 - a, x_t) * x_t + expand(b**2, x_t) * score + expand(b, x_t) * noise


@dataclass(frozen=True, eq=False)
class PredictorCorrector(Sampler):
    r"""A reverse-diffusion step, then steps of Langevin's dynamics at the new level (Song et al. 2021, algorithms 4-5).

    A correction is :math:`x \leftarrow x + \epsilon\, s + \sqrt{2 \epsilon}\, z` with :math:`\epsilon = 2\,(r
    \sigma_s)^2`. The paper's :math:`2\,(r\,|z| / |s|)^2` is near it in high dimensions. Elsewhere its norms tie the
    length to the state: the std of a Gaussian comes out 12% high in 16 dimensions, however fine the grid.
    """

    info = SamplerInfo(1, 2, "every step", "geometric", "Song et al. 2021, arXiv 2011.13456, algorithms 4-5", 200)

    corrections: Annotated[int, Field(ge=1, description="Langevin steps after each predictor step")] = 1
    snr: Annotated[float, Field(gt=0, le=1, description="r, which sets the length of a Langevin step")] = 0.16

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        x = ReverseDiffusion(self.denoiser).step(x_t, t, s, context)
        length = expand(2 * (self.snr * self.schedule.sigma(s)) ** 2, x)
        for _ in range(self.corrections):
            score = self.denoiser.score(x, s, context.y)
            noise = context.streams.normal(x.shape[1:], x.dtype)
            x = x + length * score + (2 * length).sqrt() * noise
        return x

    def evaluations(self, t: Tensor, s: Tensor) -> int:
        return 1 + self.corrections


@dataclass(frozen=True, eq=False)
class Ancestral(Sampler):
    r"""Ancestral sampling, DDPM's, for any schedule: :math:`q(x_s \mid x_t, x = D)` (Ho et al. 2020, eq. 6-7)."""

    info = SamplerInfo(1, 1, "every step", "karras", "Ho et al. 2020, arXiv 2006.11239, eq. 6-7", 100)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        keep, fresh = noise_factors(self.schedule.noise_level(t), self.schedule.noise_level(s), 2)
        u, denoised = signal_of(self.schedule, x_t, t), self.denoiser(x_t, t, context.y)
        return state_of(self.schedule, renoise(u, denoised, keep, fresh, context.streams), s)


@dataclass(frozen=True, eq=False)
class DDIM(Sampler):
    """Fresh noise of eta times the level that ancestral sampling draws (Song et al. 2021, eq. 12 and 16)."""

    info = SamplerInfo(1, 1, "if eta > 0", "karras", "Song et al. 2021, arXiv 2010.02502, eq. 12 and 16", 50)

    eta: Annotated[float, Field(ge=0, le=1, description="0: the flow without noise; 1: ancestral sampling")] = 0.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        level_t, level_s = self.schedule.noise_level(t), self.schedule.noise_level(s)
        fresh = self.eta * noise_factors(level_t, level_s, 2)[1]
        keep = (level_s**2 - fresh**2).sqrt() / level_t
        u, denoised = signal_of(self.schedule, x_t, t), self.denoiser(x_t, t, context.y)
        return state_of(self.schedule, renoise(u, denoised, keep, fresh, context.streams), s)
