r"""Whether samplers keep a Gaussian as wide as it is: the std of samples of N(0, 0.5^2 I) with its exact denoiser.

    uv run tests/benchmarks/sampler_bias.py --full --json assets/sampler-bias.json      (2 minutes; quick: 30 s)

The standard error of the std from n samples in d dimensions is 1/sqrt(2 n d) of it. A solver that draws new noise
after a rejected step, as the published code of "Gotta Go Fast" does (`adaptive-sde` with `redraw=true`), makes the std
too large.
"""

import math

import torch
from bench import Figure, Full, JsonFile, finish, run

from condgen.oracle import Oracle
from condgen.samplers import Sampler, build_sampler, draw, grid_for, points_within
from condgen.schedules import EDM, VE, VP

STD = 0.5
SCHEDULES = {"EDM": EDM(), "VE": VE(), "VP": VP()}
CASES = (  # a sampler, its evaluations (None where it chooses its own steps), options
    *((name, 100, {}) for name in ("heun", "edm", "restart", "dpm++2m", "unipc", "dpm++2m-sde", "dpm++3m-sde")),
    *((name, 500, {}) for name in ("ddim", "ancestral", "reverse-diffusion", "predictor-corrector")),
    *((name, 500, {}) for name in ("annealed-langevin", "consistent-annealed")),
    ("euler-maruyama", 1000, {}),
    *((name, None, {}) for name in ("adaptive-ode", "adaptive-multistep", "adaptive-sde")),
    ("adaptive-sde", None, {"redraw": True}),
)


def std_bias(schedule, case, dimensions: int, n: int) -> tuple[float, float]:
    """The relative bias of the std, and the mean number of evaluations."""
    name, evaluations, options = case
    oracle = Oracle(schedule, torch.zeros(1, dimensions), torch.zeros(1, dtype=torch.int64), 1, stds=STD)
    sampler = build_sampler(name, oracle, options)
    grid = grid_for(sampler, points_within(sampler, evaluations)) if isinstance(sampler, Sampler) else None
    y = torch.zeros(n, dtype=torch.int64)
    done = [one for batch in draw(sampler, grid, range(n), y, (dimensions,), n) for one in batch]
    x = torch.stack([one.x for one in done]).double()
    return float(x.square().mean().sqrt()) / STD - 1, sum(one.evaluations for one in done) / n


def main(json: JsonFile = None, full: Full = False, samples: int | None = None) -> None:
    sizes = {1: 4000, 2: 4000, 16: 1000, 256: 100} if full else {1: 500, 16: 250}
    if samples is not None:
        sizes = dict.fromkeys(sizes, samples)
    figures = []
    for schedule_name, schedule in SCHEDULES.items():
        if not full and schedule_name == "EDM":
            continue
        for name, evaluations, options in CASES:
            variant = ", ".join([name, *(f"{option}={value}" for option, value in options.items())])
            for dimensions, n in sizes.items():
                bias, mean = std_bias(schedule, (name, evaluations, options), dimensions, n)
                error = 1 / math.sqrt(2 * n * dimensions)
                what = f"d = {dimensions}, n = {n}, s.e. {100 * error:.1f}"
                figures.append(Figure(what, variant, schedule_name, "%", 100 * bias))
            figures.append(Figure("evaluations", variant, schedule_name, "", mean))
    finish(figures, json)


if __name__ == "__main__":
    run(main)
