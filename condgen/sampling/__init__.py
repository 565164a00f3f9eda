"""Samplers, and the loops that drive them."""

from condgen.sampling.adaptive import AdaptiveSampler
from condgen.sampling.adaptive_multistep import AdaptiveMultistep
from condgen.sampling.adaptive_ode import AdaptiveODE
from condgen.sampling.adaptive_sde import AdaptiveSDE
from condgen.sampling.annealed import AnnealedLangevin, ConsistentAnnealed
from condgen.sampling.catalogue import (
    ADAPTIVE,
    FIXED,
    SAMPLERS,
    SamplerName,
    build_sampler,
    grid_for,
    options_of,
    points_within,
)
from condgen.sampling.draw import draw
from condgen.sampling.finite import Broken, finite_rows, out_of_range
from condgen.sampling.fixed import DDIM, Ancestral, EulerMaruyama, PredictorCorrector, ReverseDiffusion
from condgen.sampling.frames import Frame, Path, Watcher, frames, pick_frames, unit_scale
from condgen.sampling.heun import EDMStochastic, Heun, Restart
from condgen.sampling.loop import About, Finished, Past, Sampler, Step, evaluations_on, final, trajectory
from condgen.sampling.multistep import DPM2M, DPM2MSDE, DPM3MSDE, UniPC

__all__ = [
    "ADAPTIVE",
    "DDIM",
    "DPM2M",
    "DPM2MSDE",
    "DPM3MSDE",
    "FIXED",
    "SAMPLERS",
    "About",
    "AdaptiveMultistep",
    "AdaptiveODE",
    "AdaptiveSDE",
    "AdaptiveSampler",
    "Ancestral",
    "AnnealedLangevin",
    "Broken",
    "ConsistentAnnealed",
    "EDMStochastic",
    "EulerMaruyama",
    "Finished",
    "Frame",
    "Heun",
    "Past",
    "Path",
    "PredictorCorrector",
    "Restart",
    "ReverseDiffusion",
    "Sampler",
    "SamplerName",
    "Step",
    "UniPC",
    "Watcher",
    "build_sampler",
    "draw",
    "evaluations_on",
    "final",
    "finite_rows",
    "frames",
    "grid_for",
    "options_of",
    "out_of_range",
    "pick_frames",
    "points_within",
    "trajectory",
    "unit_scale",
]
