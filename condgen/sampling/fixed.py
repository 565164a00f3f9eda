r"""Samplers on a fixed grid.

All three are written from the denoised estimate D. In the variables :math:`u = x_t / \alpha_t` and noise level
:math:`l = \sigma_t / \alpha_t` the probability flow of every schedule is :math:`du/dl = (u - D)/l`.
"""

from dataclasses import dataclass

from torch import Tensor

from condgen.noise import expand, score_from_denoised
from condgen.rng import Streams
from condgen.sampling.loop import About, Past, Sampler

__all__ = ["Ancestral", "EulerMaruyama", "Heun"]


@dataclass(frozen=True, eq=False)
class Heun(Sampler):
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithm 1)."""

    about = About(2, 2, "no", "karras", "Karras et al. 2022, arXiv 2206.00364, algorithm 1")

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, past: Past) -> Tensor:
        """An Euler step, then the mean of the slopes at its two ends."""
        alpha_t, alpha_s = expand(self.schedule.alpha(t), x_t), expand(self.schedule.alpha(s), x_t)
        level_t, level_s = expand(self.schedule.noise_level(t), x_t), expand(self.schedule.noise_level(s), x_t)
        u = x_t / alpha_t
        slope_t = (u - self.denoiser(x_t, t, y)) / level_t
        u_euler = u + (level_s - level_t) * slope_t
        slope_s = (u_euler - self.denoiser(alpha_s * u_euler, s, y)) / level_s
        slope: Tensor = 0.5 * (slope_t + slope_s)
        return alpha_s * (u + (level_s - level_t) * slope)


@dataclass(frozen=True, eq=False)
class EulerMaruyama(Sampler):
    r"""Euler-Maruyama on the reverse SDE (Song et al. 2021, eq. 6): :math:`dx = (f x - g^2 s)\,dt + g\,dw`."""

    about = About(1, 1, "every step", "geometric", "Song et al. 2021, arXiv 2011.13456, eq. 6")

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, past: Past) -> Tensor:
        """One explicit step of length t - s backwards in time."""
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        f, g = self.schedule.drift(t), self.schedule.diffusion(t)
        score = score_from_denoised(self.denoiser(x_t, t, y), x_t, alpha, sigma)
        noise = streams.normal(x_t.shape[1:], x_t.dtype)
        drift = expand((s - t) * f, x_t) * x_t - expand((s - t) * g**2, x_t) * score
        return x_t + drift + expand(g * (t - s).sqrt(), x_t) * noise


@dataclass(frozen=True, eq=False)
class Ancestral(Sampler):
    r"""Ancestral sampling from :math:`q(x_s \mid x_t, x = D)` (Ho et al. 2020, eq. 6-7), for any schedule."""

    about = About(1, 1, "every step", "karras", "Ho et al. 2020, arXiv 2006.11239, eq. 6-7")

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, past: Past) -> Tensor:
        """The Gaussian posterior of x_s given x_t and the denoised estimate, in units of signal."""
        level_t, level_s = self.schedule.noise_level(t), self.schedule.noise_level(s)
        keep = (level_s / level_t) ** 2
        fresh = level_s * (1 - keep).sqrt()
        denoised: Tensor = self.denoiser(x_t, t, y)
        u = x_t / expand(self.schedule.alpha(t), x_t)
        noise = streams.normal(x_t.shape[1:], x_t.dtype)
        u_s = denoised + expand(keep, x_t) * (u - denoised) + expand(fresh, x_t) * noise
        return expand(self.schedule.alpha(s), x_t) * u_s
