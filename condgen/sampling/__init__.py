"""Samplers, and the loops that drive them."""

from condgen.sampling.annealed import AnnealedLangevin, ConsistentAnnealed
from condgen.sampling.catalogue import SAMPLERS, SamplerName, build_sampler, grid_for, options_of, points_within
from condgen.sampling.fixed import DDIM, Ancestral, EulerMaruyama, PredictorCorrector, ReverseDiffusion
from condgen.sampling.heun import EDMStochastic, Heun, Restart
from condgen.sampling.loop import About, Past, Sampler, Step, evaluations_on, final, trajectory
from condgen.sampling.multistep import DPM2M, DPM2MSDE, DPM3MSDE, UniPC

__all__ = [
    "DDIM",
    "DPM2M",
    "DPM2MSDE",
    "DPM3MSDE",
    "SAMPLERS",
    "About",
    "Ancestral",
    "AnnealedLangevin",
    "ConsistentAnnealed",
    "EDMStochastic",
    "EulerMaruyama",
    "Heun",
    "Past",
    "PredictorCorrector",
    "Restart",
    "ReverseDiffusion",
    "Sampler",
    "SamplerName",
    "Step",
    "UniPC",
    "build_sampler",
    "evaluations_on",
    "final",
    "grid_for",
    "options_of",
    "points_within",
    "trajectory",
]
