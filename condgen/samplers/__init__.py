"""Samplers, and the loops that drive them."""

from condgen.samplers.adaptive import AdaptiveSampler
from condgen.samplers.adaptive_multistep import AdaptiveMultistep
from condgen.samplers.adaptive_ode import AdaptiveODE
from condgen.samplers.adaptive_sde import AdaptiveSDE
from condgen.samplers.annealed import AnnealedLangevin, ConsistentAnnealed
from condgen.samplers.catalogue import (
    ADAPTIVE,
    FIXED,
    SAMPLERS,
    SamplerName,
    build_sampler,
    grid_for,
    options_of,
    points_within,
)
from condgen.samplers.draw import draw
from condgen.samplers.finite import Broken, finite_rows, out_of_range
from condgen.samplers.fixed import DDIM, Ancestral, EulerMaruyama, PredictorCorrector, ReverseDiffusion
from condgen.samplers.frames import Frame, Path, Watcher, frames, pick_frames, unit_scale
from condgen.samplers.heun import EDMStochastic, Heun, Restart
from condgen.samplers.loop import About, Finished, Past, Sampler, Step, evaluations_on, final, trajectory
from condgen.samplers.multistep import DPM2M, DPM2MSDE, DPM3MSDE, UniPC

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
