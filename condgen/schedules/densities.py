"""Training densities: how often training visits each noise level."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from condgen.errors import UserError
from condgen.schedules.schedules import Schedule
from condgen.settings import Settings

__all__ = ["AnyDensity", "Density", "Levels", "LogNormal", "LogUniform", "UniformTime"]


class Density(Settings, ABC):
    """A distribution of training times, given by its quantile function: t = quantile(schedule, u) for uniform u."""

    @abstractmethod
    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Times for float64 `u` in [0, 1), of any shape."""


def _span(schedule: Schedule) -> str:
    low, high = schedule.noise_range
    return f"noise levels {low:g} to {high:g}"


class UniformTime(Density):
    """Uniform t, as in the papers on VE and VP diffusions."""

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
            raise UserError(
                f"density: no noise level lies between {low:g} and {high:g}; the schedule has {_span(schedule)}"
            )
        return schedule.t_of_noise_level((math.log(low) + u * math.log(high / low)).exp())


class LogNormal(Density):
    """Normal logarithm of the noise level, cut to the schedule's range (Karras et al. 2022, table 1)."""

    kind: Literal["log-normal"] = "log-normal"
    mean: float = -1.2
    std: float = Field(default=1.2, gt=0)

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        ends = torch.tensor(schedule.noise_range, dtype=torch.float64)
        low, high = torch.special.ndtr((ends.log() - self.mean) / self.std).tolist()
        if high - low < 1e-6:
            raise UserError(f"density: exp(mean) = {math.exp(self.mean):g} lies too far outside {_span(schedule)}")
        z = torch.special.ndtri(low + u * (high - low))
        return schedule.t_of_noise_level((self.mean + self.std * z).exp().clamp(ends[0], ends[1]))


class Levels(Density):
    """A list of noise levels, each as likely as any other."""

    kind: Literal["levels"] = "levels"
    levels: tuple[PositiveFloat, ...] = Field(min_length=1)

    def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
        low, high = schedule.noise_range
        outside = [level for level in self.levels if not low * (1 - 1e-9) <= level <= high * (1 + 1e-9)]
        if outside:
            raise UserError(f"density: noise level {outside[0]:g} is outside the schedule, which has {_span(schedule)}")
        levels = torch.tensor(self.levels, dtype=torch.float64, device=u.device)
        return schedule.t_of_noise_level(levels[(u * len(levels)).long().clamp_max(len(levels) - 1)].clamp(low, high))


AnyDensity: TypeAlias = Annotated[UniformTime | LogUniform | LogNormal | Levels, Field(discriminator="kind")]
