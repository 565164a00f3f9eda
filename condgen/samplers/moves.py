r"""Moves in units of signal, where all schedules are one.

In the variables :math:`u = x_t / \alpha_t` and noise level :math:`l = \sigma_t / \alpha_t` every schedule reads
:math:`u = x + l \epsilon`. Two moves carry u from level :math:`l_t` down to :math:`l_s = \gamma\, l_t`.

The probability flow :math:`du/dl = (u - D)/l`, by a rule for ordinary differential equations (`heun`).

The re-drawing of noise (`redraw`): :math:`u - D` stands for noise of level :math:`l_t`, of which a part is kept and
the rest is made up with fresh noise,

.. math:: u_s = D + k\,(u - D) + f z, \qquad k^2 l_t^2 + f^2 = l_s^2.

The choice :math:`k = \gamma^p` (`kept`) is the flow's Euler step, or DDIM, at p = 1; ancestral sampling, or DDPM, at
p = 2; and a reverse SDE with :math:`\eta` times its usual noise, which moves exactly under a constant D, at
:math:`p = 1 + \eta` (Song et al. 2021, arXiv 2010.02502, eq. 12; Ho et al. 2020, arXiv 2006.11239, eq. 6-7; Lu et al.
2022, arXiv 2211.01095, section 5).
"""

from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.rng import Streams
from condgen.schedules import Schedule, expand

__all__ = ["estimate", "heun", "kept", "redraw", "signal_of", "state_of"]


def signal_of(schedule: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
    """The state in units of signal, x_t / alpha_t."""
    return x_t / expand(schedule.alpha(t), x_t)


def state_of(schedule: Schedule, u: Tensor, t: Tensor) -> Tensor:
    """The inverse of `signal_of`, alpha_t u."""
    return expand(schedule.alpha(t), u) * u


def estimate(denoiser: Denoiser, u: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    """The denoised estimate for a state in units of signal."""
    denoised: Tensor = denoiser(state_of(denoiser.schedule, u, t), t, y)
    return denoised


def heun(denoiser: Denoiser, u: Tensor, t: Tensor, s: Tensor, y: Tensor | None) -> Tensor:
    """Heun's step along the probability flow: an Euler step, then the mean of the slopes at its two ends."""
    level_t, level_s = expand(denoiser.schedule.noise_level(t), u), expand(denoiser.schedule.noise_level(s), u)
    slope_t = (u - estimate(denoiser, u, t, y)) / level_t
    u_euler = u + (level_s - level_t) * slope_t
    slope_s = (u_euler - estimate(denoiser, u_euler, s, y)) / level_s
    slope: Tensor = 0.5 * (slope_t + slope_s)
    return u + (level_s - level_t) * slope


def kept(level_t: Tensor, level_s: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """The factors k = gamma^p of the old noise and f of the fresh, for `redraw`: scalars, float64."""
    gamma = level_s / level_t
    return gamma**power, level_s * (1 - gamma ** (2 * (power - 1))).sqrt()


def redraw(u: Tensor, denoised: Tensor, keep: Tensor, fresh: Tensor, streams: Streams) -> Tensor:
    """D + keep (u - D) + fresh z, where z is drawn if fresh is not zero.

    Args:
        u: the state in units of signal, (B, ...).
        denoised: the estimate from it, of the same shape.
        keep: the factor of the old noise, scalar.
        fresh: the level of the new noise, scalar.
        streams: one random stream per sample.
    """
    u_s = denoised + expand(keep, u) * (u - denoised)
    return u_s + expand(fresh, u) * streams.normal(u.shape[1:], u.dtype) if float(fresh) > 0 else u_s
