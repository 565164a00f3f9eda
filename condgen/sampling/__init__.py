"""Samplers, and the loops that drive them."""

from condgen.sampling.catalogue import SAMPLERS, SamplerName, build_sampler, grid_for, options_of, points_within
from condgen.sampling.fixed import Ancestral, EulerMaruyama, Heun
from condgen.sampling.loop import About, Past, Sampler, Step, evaluations_on, final, trajectory

__all__ = [
    "SAMPLERS",
    "About",
    "Ancestral",
    "EulerMaruyama",
    "Heun",
    "Past",
    "Sampler",
    "SamplerName",
    "Step",
    "build_sampler",
    "evaluations_on",
    "final",
    "grid_for",
    "options_of",
    "points_within",
    "trajectory",
]
