r"""The error of samplers on exact targets: the width of a Gaussian, and two modes of weights .7 and .3.

    uv run tests/benchmarks/sampler_bias.py --full --json assets/sampler-bias.json      (10 minutes; quick: 30 s)

For data N(0, STD^2) with their exact denoiser, a sampler on a grid is linear in the noise that it draws, a sample is
sum_i w_i z_i, and its standard deviation (sum_i w_i^2)^(1/2). A batch whose row i has z_i = 1 and no other noise gives
all the weights, so that these widths are exact, in any number of dimensions; those of adaptive samplers are sampled,
with a standard error of 1/sqrt(2 n d). A solver that draws new noise after a rejected step, as the published code of
"Gotta Go Fast" does (`Redrawing`), makes samples too wide. The modes are at -1 and 1, of std .2,
on EDM noise: the Kolmogorov-Smirnov distance of n samples has a median of .83/sqrt(n), and the light mode's share a
standard error of .46/sqrt(n).
"""

import math

import torch
from bench import Figure, Full, JsonFile, finish, run
from scipy.stats import kstest, norm

from condgen import EDM, VE, VP, Oracle, Sampler, build_sampler, trajectory
from condgen.samplers.adaptive.brownian import BrownianPath
from condgen.samplers.adaptive.solvers import AdaptiveSDE
from condgen.samplers.base import evaluations_on
from condgen.samplers.catalogue import ADAPTIVE, FIXED, SAMPLERS, grid_for
from condgen.samplers.draw import draw

STD, SCHEDULES, MOST = 0.5, (EDM(), VE(), VP()), 600  # points of a grid that are tried
MEANS, MODE_STD, WEIGHTS = (-1.0, 1.0), 0.2, (0.7, 0.3)


class UnitNoise:
    """In place of random streams: row i draws one in its draw i, and zero in all others."""

    def __init__(self, rows: int) -> None:
        self.rows, self.drawn = rows, 0

    def normal(self, shape, dtype=None):
        out = torch.zeros(self.rows, *shape, dtype=torch.float64)
        out[self.drawn : self.drawn + 1] = 1
        self.drawn += 1
        return out


class Redrawing(AdaptiveSDE):
    """Draws new noise after a rejection."""

    def step(self, batch):
        fresh = [BrownianPath(path.streams, path.shape) for path in batch.paths]
        return super().step(batch._replace(paths=fresh))


def gaussian_denoiser(schedule, dimensions: int = 1) -> Oracle:
    """The exact denoiser of N(0, STD^2 I)."""
    return Oracle(schedule, torch.zeros(1, dimensions), torch.zeros(1, dtype=torch.int64), 1, stds=STD)


def width_error(sampler: Sampler, points: int | None = None) -> float:
    """The relative error of the standard deviation of samples."""
    grid, count = grid_for(sampler, points), UnitNoise(1)
    *_, _ = trajectory(sampler, grid, count, None, (1,))
    *_, last = trajectory(sampler, grid, UnitNoise(count.drawn), None, (1,))
    return float(last.x.norm()) / STD - 1


def sampled_width_error(sampler, n: int, dimensions: int) -> tuple[float, float]:
    """The same from n samples of an adaptive sampler, and their mean evaluations."""
    done = [one for finished in draw(sampler, None, range(n), None, (dimensions,), n) for one in finished]
    x = torch.stack([one.x for one in done]).double()
    return float(x.square().mean().sqrt()) / STD - 1, sum(one.evaluations for one in done) / n


def evaluations_within(samplers: list[Sampler], tolerance: float) -> float:
    """Evaluations with which a sampler is within a tolerance on every schedule, in multiples of its default points."""
    points = samplers[0].info.points
    for count in range(points, MOST + 1, points):
        if all(abs(width_error(sampler, count)) <= tolerance for sampler in samplers):
            return evaluations_on(samplers[0], grid_for(samplers[0], count))
    return math.nan


def two_modes(name: str, n: int) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance from the mixture, and the share of the light mode."""
    means, labels = torch.tensor(MEANS)[:, None], torch.zeros(2, dtype=torch.int64)
    oracle = Oracle(EDM(), means, labels, 1, stds=MODE_STD, weights=torch.tensor(WEIGHTS))
    sampler = build_sampler(name, oracle)
    grid = grid_for(sampler) if isinstance(sampler, Sampler) else None
    x = torch.stack([one.x for done in draw(sampler, grid, range(n), None, (1,), n) for one in done])[:, 0].numpy()

    def law(value):
        return sum(weight * norm.cdf(value, mean, MODE_STD) for weight, mean in zip(WEIGHTS, MEANS, strict=True))

    return float(kstest(x, law).statistic), float((x > 0).mean())


def main(json: JsonFile = None, full: Full = False) -> None:
    n, figures = 2000 if full else 100, []
    for name in FIXED:
        samplers = [FIXED[name](gaussian_denoiser(schedule)) for schedule in SCHEDULES]
        figures += [Figure("width", name, one.schedule.kind, "%", 100 * width_error(one)) for one in samplers]
        figures.append(Figure("evaluations", name, "default", "", evaluations_on(samplers[0], grid_for(samplers[0]))))
        if full:
            figures.append(Figure("evaluations within 2%", name, "", "", evaluations_within(samplers, 0.02)))
    for name, adaptive in (ADAPTIVE | {"adaptive-sde, redraw": Redrawing}).items():
        for schedule in SCHEDULES:
            for dimensions in (1, 2, 16, 256):
                sampler = adaptive(gaussian_denoiser(schedule, dimensions))
                count = max(50, n // dimensions)
                error, mean = sampled_width_error(sampler, count, dimensions)
                what = f"{schedule.kind}, d = {dimensions}, s.e. {100 / math.sqrt(2 * count * dimensions):.1f}"
                figures.append(Figure("width", name, what, "%", 100 * error))
            figures.append(Figure("evaluations", name, schedule.kind, "", mean))
    for name in SAMPLERS:
        distance, share = two_modes(name, n)
        figures += [Figure("distance of two modes", name, f"n = {n}", "", distance)]
        figures += [Figure("share of the light mode", name, f"n = {n}", "", share)]
    finish(figures, json)


if __name__ == "__main__":
    run(main)
