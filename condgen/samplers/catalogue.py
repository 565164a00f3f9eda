"""Every sampler by name, its options as validated settings, and the time grid that suits it."""

import bisect
import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import create_model
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.adaptive.solvers import AdaptiveODE, AdaptiveSDE
from condgen.samplers.base import Sampler, evaluations_on
from condgen.samplers.euler import DDIM, Ancestral, EulerMaruyama, PredictorCorrector, ReverseDiffusion
from condgen.samplers.heun import EDMStochastic, Heun
from condgen.samplers.langevin import AnnealedLangevin, ConsistentAnnealed
from condgen.samplers.multistep import DPM2M, DPM2MSDE, UniPC
from condgen.schedules import GRIDS, GridName
from condgen.settings import Settings, import_target, parse

_CATALOGUE: dict[str, tuple[type[Sampler] | type[AdaptiveSampler], float, int | None]] = {
    "heun": (Heun, 4.8, 79),
    "edm": (EDMStochastic, 1.5, 99),
    "ddim": (DDIM, -5.9, 150),
    "dpm++2m": (DPM2M, 1.7, 20),
    "unipc": (UniPC, 1.2, 20),
    "dpm++2m-sde": (DPM2MSDE, 3.9, 40),
    "ancestral": (Ancestral, -6.1, 400),
    "euler-maruyama": (EulerMaruyama, 1.3, 200),
    "reverse-diffusion": (ReverseDiffusion, 2.7, 400),
    "predictor-corrector": (PredictorCorrector, 1.1, 399),
    "annealed-langevin": (AnnealedLangevin, 16.7, None),
    "consistent-annealed": (ConsistentAnnealed, -4.1, 300),
    "adaptive-ode": (AdaptiveODE, -2.7, None),
    "adaptive-sde": (AdaptiveSDE, 1.1, None),
}
"""By name: the class; the greatest error of the width of a Gaussian on EDM, VE and VP noise by default options, in
percent; and evaluations from which it is within 2% (tests/benchmarks/sampler_bias.py; of adaptive samplers ± 0.6, in
256 dimensions)."""

SAMPLERS = {name: sampler for name, (sampler, _, _) in _CATALOGUE.items()}
WIDTH_ERRORS = {name: (error, enough) for name, (_, error, enough) in _CATALOGUE.items()}
FIXED = {name: sampler for name, sampler in SAMPLERS.items() if issubclass(sampler, Sampler)}  # on a time grid
ADAPTIVE = {name: sampler for name, sampler in SAMPLERS.items() if issubclass(sampler, AdaptiveSampler)}


def sampler_class(name: str) -> type[Sampler] | type[AdaptiveSampler]:
    """The sampler of a name, or of an import path "package.module:Class"; UserError where there is none."""
    if name not in SAMPLERS and ":" not in name:
        known = ", ".join(SAMPLERS)
        raise UserError(f"there is no sampler {name!r}; choose one of {known}, or your own as package.module:Class")
    found = SAMPLERS[name] if name in SAMPLERS else import_target(name)
    if not (isinstance(found, type) and issubclass(found, Sampler | AdaptiveSampler)):
        raise UserError(f"{name} is no sampler: derive it from condgen.Sampler")
    return found


def options_of(name: str) -> type[Settings]:
    """The options of a sampler as a settings class: their types, bounds, defaults and descriptions."""
    sampler = sampler_class(name)
    hints = get_type_hints(sampler, include_extras=True)
    fields: dict[str, Any] = {
        field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(sampler)
        if field.name != "denoiser"
    }
    return create_model(f"options of {name}", __base__=Settings, **fields)


def build_sampler(name: str, denoiser: Denoiser, options: Mapping[str, Any] | None = None) -> Sampler | AdaptiveSampler:
    """A sampler by its name; UserError for an option that it does not have, or a value out of its bounds."""
    settings = parse(options_of(name), dict(options or {}), f"sampler {name}")
    return sampler_class(name)(denoiser, **{field: getattr(settings, field) for field in type(settings).model_fields})


def grid_for(
    sampler: Sampler, points: int | None = None, grid: GridName | None = None, nfe: int | None = None
) -> Tensor:
    """A time grid of so many points, or at most so many evaluations; by default it suits the sampler."""
    points = points if nfe is None else points_within(sampler, nfe, grid)
    name, n = grid or sampler.info.grid, points or sampler.info.points
    assert name is not None
    if n < 2:
        raise UserError(f"a time grid needs at least 2 points, more than {n}")
    return GRIDS[name](sampler.schedule, n)


def points_within(sampler: Sampler, evaluations: int, grid: GridName | None = None) -> int:
    """The most points of a time grid on which a sampler makes at most so many evaluations; UserError for too few."""

    def cost(points: int) -> int:
        return evaluations_on(sampler, grid_for(sampler, points, grid))

    if cost(2) > evaluations:
        raise UserError(f"{evaluations} evaluations are too few for this sampler with its options: ask for more")
    return bisect.bisect_right(range(2, evaluations + 1), evaluations, key=cost) + 1
