"""Samplers on time grids and samplers that choose their own steps, by name or import path."""

from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import (
    Context,
    Finished,
    Sampler,
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

__all__ = [
    "ADAPTIVE",
    "FIXED",
    "SAMPLERS",
    "AdaptiveSampler",
    "Context",
    "Finished",
    "Sampler",
    "SamplerName",
    "build_sampler",
    "draw",
    "evaluations_on",
    "final",
    "grid_for",
    "options_of",
    "points_within",
    "sampler_class",
    "trajectory",
]
