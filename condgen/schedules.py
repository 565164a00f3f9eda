r"""Schedules of noise, and what is made from them: estimates in three views, grids and densities of time.

A schedule turns data :math:`x` into :math:`x_t = \alpha_t x + \sigma_t \epsilon` with
:math:`\epsilon \sim \mathcal{N}(0, I)`, the marginal of the diffusion :math:`dx = f(t)\,x\,dt + g(t)\,dw` with

.. math:: f = \frac{d \log \alpha_t}{dt}, \qquad g^2 = \frac{d \sigma_t^2}{dt} - 2 f \sigma_t^2

(Kingma et al. 2021, "Variational Diffusion Models", eq. 16; Song et al. 2021, "Score-Based Generative Modeling
through SDEs", eq. 29). Only the *noise level* :math:`\sigma_t / \alpha_t` matters to a denoiser: two schedules at the
same noise level differ by a rescaling of :math:`x_t`. The log-SNR is :math:`\lambda_t = -2 \log(\sigma_t / \alpha_t)`.

Times, and everything computed from them, are float64 here; callers cast the results to the dtype of their images.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from condgen.errors import UserError
from condgen.settings import Settings

_ROUNDING = 1e-9  # relative, of noise levels that come through logarithms


class Schedule(Settings, ABC):
    """A map from time to (alpha, sigma). Every method takes a tensor of times of any shape and keeps that shape."""

    kind: str

    @property
    def t_range(self) -> tuple[float, float]:
        """The times of least and of most noise."""
        return 0.0, 1.0

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        r""":math:`\log \alpha_t`."""

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        r"""Log signal-to-noise ratio :math:`\log(\alpha_t^2 / \sigma_t^2)`, strictly falling in t."""

    @abstractmethod
    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The exact inverse of `log_snr`."""

    @abstractmethod
    def drift(self, t: Tensor) -> Tensor:
        r"""The linear drift :math:`f(t) = d \log \alpha_t / dt`."""

    @abstractmethod
    def diffusion(self, t: Tensor) -> Tensor:
        r"""The diffusion coefficient :math:`g(t) \geq 0`."""

    @property
    def t_min(self) -> float:
        return self.t_range[0]

    @property
    def t_max(self) -> float:
        return self.t_range[1]

    def alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (self.log_alpha(t) - 0.5 * self.log_snr(t)).exp()

    def noise_level(self, t: Tensor) -> Tensor:
        r"""Noise per unit of signal, :math:`\sigma_t / \alpha_t`: the sigma of the EDM paper."""
        return (-0.5 * self.log_snr(t)).exp()

    def t_of_noise_level(self, level: Tensor) -> Tensor:
        return self.t_of_log_snr(-2 * torch.as_tensor(level, dtype=torch.float64).log())

    @property
    def noise_range(self) -> tuple[float, float]:
        low, high = self.noise_level(torch.tensor([self.t_min, self.t_max], dtype=torch.float64)).tolist()
        return low, high


class _VarianceExploding(Schedule):
    sigma_min: PositiveFloat
    sigma_max: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> "_VarianceExploding":
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        return self

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def drift(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


class VE(_VarianceExploding):
    r"""Variance exploding: :math:`\alpha = 1,\ \sigma = \sigma_{min}^{1-t} \sigma_{max}^t` (Song et al. 2021)."""

    kind: Literal["ve"] = "ve"
    sigma_min: PositiveFloat = 0.01
    sigma_max: PositiveFloat = 50.0

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * (math.log(self.sigma_min) + self._log_ratio * t)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self._log_ratio

    def diffusion(self, t: Tensor) -> Tensor:
        return self.sigma(t) * math.sqrt(2 * self._log_ratio)


class EDM(_VarianceExploding):
    r"""Time is the noise level itself: :math:`\alpha = 1,\ \sigma = t` (Karras et al. 2022)."""

    kind: Literal["edm"] = "edm"
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0

    @property
    def t_range(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * t.log()

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr).exp()

    def diffusion(self, t: Tensor) -> Tensor:
        return (2 * t).sqrt()


class _VariancePreserving(Schedule):
    t_epsilon: float = Field(default=1e-3, gt=0, lt=1)  # sigma vanishes at t = 0, and the score diverges with it

    @property
    def t_range(self) -> tuple[float, float]:
        return self.t_epsilon, 1.0

    def diffusion(self, t: Tensor) -> Tensor:
        """From alpha^2 + sigma^2 = 1 follows g^2 = -2 f."""
        return (-2 * self.drift(t)).sqrt()


class VP(_VariancePreserving):
    r"""Variance preserving (Song et al. 2021): :math:`\beta(t) = \beta_{min} + t(\beta_{max} - \beta_{min})`."""

    kind: Literal["vp"] = "vp"
    beta_min: PositiveFloat = 0.1
    beta_max: PositiveFloat = 20.0

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def log_snr(self, t: Tensor) -> Tensor:
        log_alpha_squared = 2 * self.log_alpha(t)
        return log_alpha_squared - (-torch.expm1(log_alpha_squared)).log()

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        # -2 log alpha = softplus(-log_snr) is a quadratic in t; this form of its root does not cancel at small t. The
        # softplus is spelt out, since torch's has other last bits at other places of a vector.
        c = (-log_snr).clamp_min(0) + (-log_snr.abs()).exp().log1p()
        return 2 * c / (self.beta_min + (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * c).sqrt())

    def drift(self, t: Tensor) -> Tensor:
        return -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))


class Cosine(_VariancePreserving):
    r"""Variance preserving, :math:`\alpha = \cos(\pi t/2)` (Nichol & Dhariwal 2021, without their offset)."""

    kind: Literal["cosine"] = "cosine"

    @property
    def t_range(self) -> tuple[float, float]:
        """The drift diverges at one; at 0.9999, alpha is still 1.6e-4."""
        return self.t_epsilon, 0.9999

    def log_alpha(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * t).cos().log()

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * (0.5 * math.pi * t).tan().log()

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr).exp().atan() * (2 / math.pi)

    def drift(self, t: Tensor) -> Tensor:
        return -0.5 * math.pi * (0.5 * math.pi * t).tan()


class RectifiedFlow(Schedule):
    r"""Straight lines from data to noise: :math:`\alpha = 1 - t,\ \sigma = t` (Liu et al. 2023; Lipman et al. 2023)."""

    kind: Literal["rectified-flow"] = "rectified-flow"
    t_epsilon: float = Field(default=1e-3, gt=0, lt=0.5)  # kept off both ends: sigma vanishes at 0, alpha at 1

    @property
    def t_range(self) -> tuple[float, float]:
        return self.t_epsilon, 1 - self.t_epsilon

    def log_alpha(self, t: Tensor) -> Tensor:
        return (-t).log1p()

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * t.logit()

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr).sigmoid()

    def drift(self, t: Tensor) -> Tensor:
        return -1 / (1 - t)

    def diffusion(self, t: Tensor) -> Tensor:
        return (2 * t / (1 - t)).sqrt()


AnySchedule: TypeAlias = Annotated[VE | VP | Cosine | EDM | RectifiedFlow, Field(discriminator="kind")]


# Noised data, and one estimate in three views. Alpha and sigma are `expand`ed tensors or floats.


def expand(per_sample: Tensor, like: Tensor) -> Tensor:
    """Shapes a scalar or (B,) tensor so that it broadcasts over `like` of shape (B, ...), and casts it to its dtype."""
    per_sample = per_sample.to(device=like.device, dtype=like.dtype)
    return per_sample if per_sample.ndim == 0 else per_sample.reshape(-1, *(1,) * (like.ndim - 1))


def perturb(schedule: Schedule, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    r"""Noised data :math:`x_t = \alpha_t x + \sigma_t \epsilon`, for x and eps (B, ...) and t scalar or (B,)."""
    return expand(schedule.alpha(t), x) * x + expand(schedule.sigma(t), x) * eps


def score_from_denoised(denoised: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    r"""Tweedie's formula: :math:`\nabla \log p(x_t) = (\alpha D - x_t) / \sigma^2`."""
    return (alpha * denoised - x_t) / sigma**2


# Grids: n times in float64, strictly falling from t_max to t_min


def uniform_grid(schedule: Schedule, n: int) -> Tensor:
    return torch.linspace(schedule.t_max, schedule.t_min, n, dtype=torch.float64)


def geometric_grid(schedule: Schedule, n: int) -> Tensor:
    """Equal ratios of the noise level, which is equal steps of log-SNR."""
    low, high = schedule.noise_range
    return _grid_of(schedule, torch.linspace(math.log(high), math.log(low), n, dtype=torch.float64).exp())


def karras_grid(schedule: Schedule, n: int, rho: float = 7.0) -> Tensor:
    return _grid_of(schedule, karras_levels(*schedule.noise_range, n, rho))


def karras_levels(low: float, high: float, n: int, rho: float = 7.0) -> Tensor:
    """Noise levels that fall from high to low by equal steps of their rho-th root (Karras et al. 2022, eq. 5)."""
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=torch.float64) ** rho


def _grid_of(schedule: Schedule, levels: Tensor) -> Tensor:
    grid = schedule.t_of_noise_level(levels)
    grid[0], grid[-1] = schedule.t_max, schedule.t_min  # the ends exactly, free of the round trip
    return grid


GridName: TypeAlias = Literal["uniform", "geometric", "karras", "log-snr"]

GRIDS: dict[GridName, Callable[[Schedule, int], Tensor]] = {
    "uniform": uniform_grid,
    "geometric": geometric_grid,
    "karras": karras_grid,
    "log-snr": geometric_grid,  # the same grid by its other name
}


def linear_beta_levels(n: int) -> Tensor:
    r"""Rising :math:`\sqrt{1 - \prod (1 - \beta)}` for n betas from 1e-4 to 0.02 (Ho et al. 2020), (n,) float64."""
    return (1 - (1 - torch.linspace(1e-4, 0.02, n, dtype=torch.float64)).cumprod(0)).sqrt()


# Densities: how often training visits each noise level


class Density(Settings, ABC):
    """A distribution of training times, given by its quantile function: t = quantile(schedule, u) for uniform u."""

    @abstractmethod
    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Times for float64 `u` in [0, 1), of any shape. Raises UserError where the schedule lacks the noise levels."""


def _missed(schedule: Schedule, what: str) -> UserError:
    low, high = schedule.noise_range
    return UserError(f"density: {what} is outside the schedule, which has noise levels {low:g} to {high:g}")


class UniformTime(Density):
    kind: Literal["uniform"] = "uniform"

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        return schedule.t_min + u * (schedule.t_max - schedule.t_min)


class LogUniform(Density):
    """Uniform logarithm of the noise level, between `low` and `high` or the ends of the schedule."""

    kind: Literal["log-uniform"] = "log-uniform"
    low: float | None = Field(default=None, gt=0)
    high: float | None = Field(default=None, gt=0)

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        low, high = schedule.noise_range
        low, high = max(self.low or low, low), min(self.high or high, high)
        if low >= high:
            raise _missed(schedule, "all from low to high")
        return schedule.t_of_noise_level((math.log(low) + u * math.log(high / low)).exp())


class LogNormal(Density):
    """Normal logarithm of the noise level, cut to the schedule's range (Karras et al. 2022, table 1)."""

    kind: Literal["log-normal"] = "log-normal"
    mean: float = -1.2
    std: PositiveFloat = 1.2

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        ends = torch.tensor(schedule.noise_range, dtype=torch.float64)
        low, high = torch.special.ndtr((ends.log() - self.mean) / self.std).tolist()
        if high - low < 1e-6:
            raise _missed(schedule, f"nearly all around exp(mean) = {math.exp(self.mean):g}")
        z = torch.special.ndtri(low + u * (high - low))
        return schedule.t_of_noise_level((self.mean + self.std * z).exp().clamp(ends[0], ends[1]))


def is_within(level: Tensor, low: float, high: float) -> Tensor:
    """Whether noise levels lie between two of them, ends included, as far as rounding lets this be told."""
    return (low * (1 - _ROUNDING) <= level) & (level <= high * (1 + _ROUNDING))


class Levels(Density):
    """A list of noise levels, each as likely as any other."""

    kind: Literal["levels"] = "levels"
    levels: tuple[PositiveFloat, ...] = Field(min_length=1)

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        low, high = schedule.noise_range
        levels = torch.tensor(self.levels, dtype=torch.float64, device=u.device)
        if len(outside := levels[~is_within(levels, low, high)]):
            raise _missed(schedule, f"noise level {outside[0]:g}")
        return schedule.t_of_noise_level(levels[(u * len(levels)).long().clamp_max(len(levels) - 1)].clamp(low, high))


AnyDensity: TypeAlias = Annotated[UniformTime | LogUniform | LogNormal | Levels, Field(discriminator="kind")]
