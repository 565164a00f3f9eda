r"""By how much samplers get the width of a Gaussian wrong, exactly.

For data :math:`N(0, s^2)` with their exact denoiser, a sampler on a time grid is linear in the noise that it draws: a
sample is :math:`\sum_i w_i z_i`, and its standard deviation :math:`(\sum_i w_i^2)^{1/2}`. A batch whose row i has
:math:`z_i = 1` and no other noise gives all the weights :math:`w_i`, so no error of sampling is left, and the result
holds in any number of dimensions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import Sampler, evaluations_on, final, trajectory
from condgen.samplers.catalogue import ADAPTIVE, FIXED, grid_for
from condgen.samplers.draw import draw
from condgen.schedules import EDM, VE, VP, Schedule

STD = 0.5  # of the data
SCHEDULES: tuple[Schedule, ...] = (EDM(), VE(), VP())
MOST = 600  # points of a grid, of those that `evaluations_within` tries


class _UnitNoise(Streams):
    """Row i draws one in its draw i, and zero in all others."""

    def __init__(self, rows: int) -> None:
        super().__init__([0] * rows)
        self.drawn = 0

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        out = torch.zeros(len(self), *shape, dtype=dtype)
        if self.drawn < len(self):
            out[self.drawn] = 1
        self.drawn += 1
        return out


def gaussian_denoiser(schedule: Schedule, dimensions: int = 1) -> Oracle:
    """The exact denoiser of N(0, STD^2 I)."""
    return Oracle(schedule, torch.zeros(1, dimensions), torch.zeros(1, dtype=torch.int64), 1, stds=STD)


def width_error(sampler: Sampler, grid: Tensor) -> float:
    """The relative error of the standard deviation of samples, for a sampler around `gaussian_denoiser`.

    Args:
        sampler: one whose steps do not depend on the samples, as those of "predictor-corrector" with length "norms" do.
        grid: of falling times, (N,) float64.
    """
    count = _UnitNoise(1)
    final(trajectory(sampler, grid, count, None, (1,)))
    weights = final(trajectory(sampler, grid, _UnitNoise(count.drawn), None, (1,))).x.double()
    return float(weights.square().sum().sqrt()) / STD - 1


def sampled_width_error(
    sampler: Sampler | AdaptiveSampler, grid: Tensor | None, n: int, dimensions: int
) -> tuple[float, float]:
    """The same from n samples, with a standard error of (2 n dimensions)^(-1/2), and their mean evaluations."""
    done = [one for finished in draw(sampler, grid, range(n), None, (dimensions,), n) for one in finished]
    x = torch.stack([one.x for one in done]).double()
    return float(x.square().mean().sqrt()) / STD - 1, sum(one.evaluations for one in done) / n


def width_errors(name: str, points: int | None = None) -> tuple[dict[str, float], float]:
    """The errors of a sampler with default options by schedule, exact but for adaptive ones (± 0.6%); evaluations."""
    found, evaluations = {}, 0.0
    for schedule in SCHEDULES:
        if name in ADAPTIVE:
            adaptive = ADAPTIVE[name](gaussian_denoiser(schedule, 256))
            found[schedule.kind], evaluations = sampled_width_error(adaptive, None, 64, 256)
        else:
            sampler = FIXED[name](gaussian_denoiser(schedule))
            grid = grid_for(sampler, points)
            found[schedule.kind], evaluations = width_error(sampler, grid), evaluations_on(sampler, grid)
    return found, evaluations


def evaluations_within(name: str, tolerance: float) -> int | None:
    """Evaluations with which a sampler on a grid is within a tolerance on every schedule.

    Tried are its default number of points, twice as many, and so on; None where `MOST` do not suffice.
    """
    samplers = [FIXED[name](gaussian_denoiser(schedule)) for schedule in SCHEDULES]
    points = samplers[0].info.points
    for count in range(points, MOST + 1, points):
        if all(abs(width_error(sampler, grid_for(sampler, count))) <= tolerance for sampler in samplers):
            return evaluations_on(samplers[0], grid_for(samplers[0], count))
    return None
