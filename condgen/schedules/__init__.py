"""The noise core: schedules, time grids, training densities."""

from condgen.schedules.densities import AnyDensity, Density, Levels, LogNormal, LogUniform, UniformTime
from condgen.schedules.grids import (
    GRIDS,
    GridName,
    geometric_grid,
    karras_grid,
    karras_levels,
    linear_beta_levels,
    uniform_grid,
)
from condgen.schedules.schedules import (
    EDM,
    VE,
    VP,
    AnySchedule,
    Cosine,
    Schedule,
    denoised_from_eps,
    denoised_from_score,
    eps_from_denoised,
    expand,
    perturb,
    score_from_denoised,
)

__all__ = [
    "EDM",
    "GRIDS",
    "VE",
    "VP",
    "AnyDensity",
    "AnySchedule",
    "Cosine",
    "Density",
    "GridName",
    "Levels",
    "LogNormal",
    "LogUniform",
    "Schedule",
    "UniformTime",
    "denoised_from_eps",
    "denoised_from_score",
    "eps_from_denoised",
    "expand",
    "geometric_grid",
    "karras_grid",
    "karras_levels",
    "linear_beta_levels",
    "perturb",
    "score_from_denoised",
    "uniform_grid",
]
