r"""The error of samplers on exact targets: the width of a Gaussian, and two modes of weights .7 and .3.

    uv run tests/benchmarks/sampler_bias.py --full --json assets/sampler-bias.json      (10 minutes; quick: 30 s)

Widths on a grid are exact (`condgen.samplers.bias`); those of adaptive samplers are sampled, with a standard error of
1/sqrt(2 n d). A solver that draws new noise after a rejected step, as the published code of "Gotta Go Fast" does
(`adaptive-sde` with `redraw=true`), makes samples too wide. The modes are at -1 and 1, of std .2, on EDM noise: the
Kolmogorov-Smirnov distance of n samples has a median of .83/sqrt(n), and the light mode's share a standard error of
.46/sqrt(n).
"""

import math

import torch
from bench import Figure, Full, JsonFile, finish, run
from scipy.stats import kstest, norm

from condgen.oracle import Oracle
from condgen.samplers import ADAPTIVE, FIXED, SAMPLERS, Sampler, build_sampler, draw, grid_for
from condgen.samplers.bias import SCHEDULES, evaluations_within, gaussian_denoiser, sampled_width_error, width_errors
from condgen.schedules import EDM

MEANS, STD, WEIGHTS = (-1.0, 1.0), 0.2, (0.7, 0.3)


def two_modes(name: str, n: int) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance from the mixture, and the share of the light mode."""
    means, labels = torch.tensor(MEANS)[:, None], torch.zeros(2, dtype=torch.int64)
    oracle = Oracle(EDM(), means, labels, 1, stds=STD, weights=torch.tensor(WEIGHTS))
    sampler = build_sampler(name, oracle)
    grid = grid_for(sampler) if isinstance(sampler, Sampler) else None
    x = torch.stack([one.x for done in draw(sampler, grid, range(n), None, (1,), n) for one in done])[:, 0].numpy()

    def law(value):
        return sum(weight * norm.cdf(value, mean, STD) for weight, mean in zip(WEIGHTS, MEANS, strict=True))

    return float(kstest(x, law).statistic), float((x > 0).mean())


def main(json: JsonFile = None, full: Full = False) -> None:
    n, figures = 2000 if full else 100, []
    for name in FIXED:
        errors, evaluations = width_errors(name)
        figures += [Figure("width", name, schedule, "%", 100 * error) for schedule, error in errors.items()]
        figures.append(Figure("evaluations", name, "default", "", evaluations))
        if full:
            enough = evaluations_within(name, 0.02)
            figures.append(Figure("evaluations within 2%", name, "", "", math.nan if enough is None else enough))
    for name, options in ((name, redraw) for name in ADAPTIVE for redraw in ({}, {"redraw": True})):
        if options and name != "adaptive-sde":
            continue
        variant = name + (", redraw" if options else "")
        for schedule in SCHEDULES:
            for dimensions in (1, 2, 16, 256):
                sampler = build_sampler(name, gaussian_denoiser(schedule, dimensions), options)
                count = max(50, n // dimensions)
                error, mean = sampled_width_error(sampler, None, count, dimensions)
                what = f"{schedule.kind}, d = {dimensions}, s.e. {100 / math.sqrt(2 * count * dimensions):.1f}"
                figures.append(Figure("width", variant, what, "%", 100 * error))
            figures.append(Figure("evaluations", variant, schedule.kind, "", mean))
    for name in SAMPLERS:
        distance, share = two_modes(name, n)
        figures += [Figure("distance of two modes", name, f"n = {n}", "", distance)]
        figures += [Figure("share of the light mode", name, f"n = {n}", "", share)]
    finish(figures, json)


if __name__ == "__main__":
    run(main)
