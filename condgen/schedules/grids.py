"""Time grids for samplers: n times in float64, strictly falling from t_max to t_min."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from condgen.schedules.schedules import Schedule

__all__ = ["GRIDS", "GridName", "geometric_grid", "karras_grid", "karras_levels", "linear_beta_levels", "uniform_grid"]


def _check_points(n: int) -> None:
    if n < 2:
        raise ValueError(f"a time grid needs at least 2 points, not {n}")


def uniform_grid(schedule: Schedule, n: int) -> Tensor:
    """Equal steps of t."""
    _check_points(n)
    return torch.linspace(schedule.t_max, schedule.t_min, n, dtype=torch.float64)


def _grid_from_levels(schedule: Schedule, levels: Tensor) -> Tensor:
    grid = schedule.t_of_noise_level(levels)
    grid[0], grid[-1] = schedule.t_max, schedule.t_min  # the ends exactly, free of the round trip
    return grid


def geometric_grid(schedule: Schedule, n: int) -> Tensor:
    """Equal ratios of the noise level, which is equal steps of log-SNR."""
    _check_points(n)
    low, high = schedule.noise_range
    levels = torch.linspace(math.log(high), math.log(low), n, dtype=torch.float64).exp()
    return _grid_from_levels(schedule, levels)


def karras_levels(low: float, high: float, n: int, rho: float = 7.0) -> Tensor:
    """Noise levels that fall from high to low by equal steps of their rho-th root (Karras et al. 2022, eq. 5)."""
    _check_points(n)
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=torch.float64) ** rho


def karras_grid(schedule: Schedule, n: int, rho: float = 7.0) -> Tensor:
    """The times of `karras_levels` over the whole schedule."""
    low, high = schedule.noise_range
    return _grid_from_levels(schedule, karras_levels(low, high, n, rho))


def linear_beta_levels(n: int, low: float = 1e-4, high: float = 0.02) -> Tensor:
    r"""Rising levels :math:`\sqrt{1 - \prod (1 - \beta)}` of n betas from low to high by equal steps (n,), float64.

    These are the sigmas of a discrete diffusion (Ho et al. 2020). Score mismatching (Ye & Liu 2024) adds noise of these
    levels to images that it does not scale down: there they are noise levels sigma / alpha.
    """
    betas = torch.linspace(low, high, n, dtype=torch.float64)
    return (1 - (1 - betas).cumprod(0)).sqrt()


GridName: TypeAlias = Literal["uniform", "geometric", "karras", "log-snr"]

GRIDS: dict[GridName, Callable[[Schedule, int], Tensor]] = {
    "uniform": uniform_grid,
    "geometric": geometric_grid,
    "karras": karras_grid,
    "log-snr": geometric_grid,  # the same grid by its other name
}
