"""Samplers on time grids and samplers that choose their own steps, by name or import path."""

from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.adaptive.multistep import AdaptiveMultistep
from condgen.samplers.adaptive.ode import AdaptiveODE
from condgen.samplers.adaptive.sde import AdaptiveSDE
from condgen.samplers.base import (
    Context,
    Finished,
    NotFinite,
    Sampler,
    SamplerInfo,
    Step,
    evaluations_on,
    final,
    trajectory,
)
from condgen.samplers.catalogue import (
    ADAPTIVE,
    FIXED,
    SAMPLERS,
    SamplerName,
    build_sampler,
    grid_for,
    options_of,
    points_within,
    sampler_class,
)
from condgen.samplers.draw import draw
from condgen.samplers.euler import DDIM, Ancestral, EulerMaruyama, PredictorCorrector, ReverseDiffusion
from condgen.samplers.heun import EDMStochastic, Heun, Restart
from condgen.samplers.langevin import AnnealedLangevin, ConsistentAnnealed
from condgen.samplers.multistep import DPM2M, DPM2MSDE, DPM3MSDE, UniPC
from condgen.samplers.recording import (
    RecordedTrajectory,
    Recorder,
    TrajectoryPoint,
    record_trajectories,
    thin_out,
    unit_variance,
)

__all__ = [
    "ADAPTIVE",
    "DDIM",
    "DPM2M",
    "DPM2MSDE",
    "DPM3MSDE",
    "FIXED",
    "SAMPLERS",
    "AdaptiveMultistep",
    "AdaptiveODE",
    "AdaptiveSDE",
    "AdaptiveSampler",
    "Ancestral",
    "AnnealedLangevin",
    "ConsistentAnnealed",
    "Context",
    "EDMStochastic",
    "EulerMaruyama",
    "Finished",
    "Heun",
    "NotFinite",
    "PredictorCorrector",
    "RecordedTrajectory",
    "Recorder",
    "Restart",
    "ReverseDiffusion",
    "Sampler",
    "SamplerInfo",
    "SamplerName",
    "Step",
    "TrajectoryPoint",
    "UniPC",
    "build_sampler",
    "draw",
    "evaluations_on",
    "final",
    "grid_for",
    "options_of",
    "points_within",
    "record_trajectories",
    "sampler_class",
    "thin_out",
    "trajectory",
    "unit_variance",
]
