r"""Whether samplers keep a Gaussian as wide as it is: the simplest law that a sampler can break.

The target is :math:`\mathcal{N}(0, 0.5^2 I)` in d dimensions with its exact denoiser. Samples have independent
coordinates of mean zero, so their std is estimated from n d numbers with a standard error of :math:`1/\sqrt{2 n d}` of
it. A solver that looks at the noise of a step before taking it, and draws anew when it does not like it, makes the
std too large, the more so the fewer the dimensions: `adaptive-sde` with `redraw` shows how much.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from benchmarks.seeds import Fact, rows_over_seeds
from condgen.oracle import Oracle
from condgen.samplers import (
    Sampler,
    SamplerName,
    build_sampler,
    draw,
    grid_for,
    points_within,
)
from condgen.schedules import VE, VP, Schedule

__all__ = ["ALLOWED", "CASES", "STD", "Case", "bias_rows"]

STD = 0.5
ALLOWED = 0.02  # relative, beside three standard errors: what discretisation may add


class Case(NamedTuple):
    """A sampler with the evaluations that suit it; None where it chooses its own steps."""

    sampler: SamplerName
    evaluations: int | None
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def variant(self) -> str:
        """What tables call it."""
        options = [f"{name}={value}" for name, value in self.options.items()]
        return ", ".join([self.sampler, *options])


CASES = (
    Case("heun", 100),
    Case("edm", 100),
    Case("restart", 100),
    Case("ddim", 500),
    Case("dpm++2m", 100),
    Case("unipc", 100),
    Case("dpm++2m-sde", 100),
    Case("dpm++3m-sde", 100),
    Case("ancestral", 500),
    Case("euler-maruyama", 1000),
    Case("reverse-diffusion", 500),
    Case("predictor-corrector", 500),
    Case("annealed-langevin", 500),
    Case("consistent-annealed", 500),
    Case("adaptive-ode", None),
    Case("adaptive-ode", None, {"relative": 0.01}),
    Case("adaptive-multistep", None),
    Case("adaptive-multistep", None, {"relative": 0.01}),
    Case("adaptive-sde", None),
    Case("adaptive-sde", None, {"redraw": True}),
)
_SCHEDULES: dict[str, Schedule] = {"VE": VE(), "VP": VP()}
SAMPLES = {1: 1000, 2: 1000, 16: 250, 256: 50}  # by dimensions


def bias_rows(
    cases: Sequence[Case] = CASES, samples: Mapping[int, int] = SAMPLES, seed: int = 0
) -> Generator[str, None, list[dict[str, Any]]]:
    """The relative bias of the std of every sampler in every dimension, on VE and VP noise.

    Args:
        cases: samplers and their evaluations.
        samples: how many, by dimensions.
        seed: of the first sample.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them: "bias of the std", the same as "bias beyond tolerance" where it exceeds
        three standard errors and `ALLOWED`, and the mean "evaluations".
    """
    facts: list[Fact] = []
    for name, schedule in _SCHEDULES.items():
        for case in cases:
            for dimensions, n in samples.items():
                yield f"{name}, {case.variant}, {dimensions} dimensions"
                oracle = Oracle(schedule, torch.zeros(1, dimensions), torch.zeros(1, dtype=torch.int64), 1, stds=STD)
                sampler = build_sampler(case.sampler, oracle, case.options)
                grid = None
                if isinstance(sampler, Sampler):
                    assert case.evaluations is not None
                    grid = grid_for(sampler, points_within(sampler, case.evaluations))
                y = torch.zeros(n, dtype=torch.int64)
                drawn = draw(sampler, grid, range(seed, seed + n), y, (dimensions,), n)
                done = [one for batch in drawn for one in batch]
                x = torch.stack([one.x for one in done]).double()
                bias, error = float(x.square().mean().sqrt()) / STD - 1, 1 / math.sqrt(2 * x.numel())
                where = f"{name}, d = {dimensions}, n = {n}"
                facts.append(Fact("bias of the std", case.variant, where, "relative", bias))
                if abs(bias) > 3 * error + ALLOWED:
                    facts.append(Fact("bias beyond tolerance", case.variant, where, "relative", bias))
                facts.append(Fact("evaluations", case.variant, where, "mean", sum(d.evaluations for d in done) / n))
    return rows_over_seeds(facts)
