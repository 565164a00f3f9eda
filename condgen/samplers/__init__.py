"""Samplers on time grids and samplers that choose their own steps, by name or import path."""

from condgen.samplers.adaptive.loop import AdaptiveSampler as AdaptiveSampler
from condgen.samplers.base import (
    Context as Context,
    Finished as Finished,
    Sampler as Sampler,
    evaluations_on as evaluations_on,
    trajectory as trajectory,
)
from condgen.samplers.catalogue import (
    ADAPTIVE as ADAPTIVE,
    FIXED as FIXED,
    SAMPLERS as SAMPLERS,
    WIDTH_ERRORS as WIDTH_ERRORS,
    build_sampler as build_sampler,
    grid_for as grid_for,
    options_of as options_of,
    points_within as points_within,
    sampler_class as sampler_class,
)
from condgen.samplers.draw import draw as draw
