r"""Generated data that are free to move, each sample along its own gradient, under judges that are exact.

This is a generator without a network: what its objective does to a distribution, nothing else stands in the way of. The
generated data are a set of points, whose exact denoiser is known as well as that of the real data, so that after every
step the judges are the best there can be (see `fixed_points`).
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.fixed_points import LEVELS, Objective, exact_loss, schedule_of
from benchmarks.seeds import Fact
from condgen.data import Moons, load
from condgen.metrics.sliced import directions, sliced_wasserstein
from condgen.metrics.variety import class_spread
from condgen.oracle import Oracle
from condgen.rng import keyed_generator

__all__ = ["FRESH", "Mixture", "Plane", "follow", "line_facts", "moons", "normal", "plane_facts", "two_modes"]

FRESH = "[fresh data]"
_START = 0.5  # std of the particles at first, of the data's
_START_DRAWS, _STEP_DRAWS, _REAL_DRAWS, _DIRECTIONS = range(4)  # purposes of keyed generators
_RIGHT = 0.3  # weight of the right one of two modes
_WITHIN = 0.3  # std of each
_ON_LINE = ("0.2 0.5 1", "1 2 3", "of T = 10")
_ON_PLANE = ("of T = 10", "0.2 0.5 1")
_MOVES = (Objective("smm"), Objective("dmd"), Objective("sid", 1.0))


class Mixture(NamedTuple):
    """Real data: Gaussians with labels, on any schedule."""

    means: Tensor  # (N, D) float64
    labels: Tensor  # (N,)
    std: float
    weights: Tensor  # (N,)

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.labels.max()) + 1

    def oracle(self, levels: Sequence[float]) -> Oracle:
        """Its exact scores at these noise levels."""
        return Oracle(schedule_of(levels), self.means, self.labels, self.n_classes, stds=self.std, weights=self.weights)


def normal() -> Mixture:
    """N(0, 1)."""
    return Mixture(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64), 1.0, torch.ones(1))


def two_modes() -> Mixture:
    """0.7 of N(-1, 0.3^2) and 0.3 of N(1, 0.3^2), of one class."""
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    return Mixture(means, torch.zeros(2, dtype=torch.int64), _WITHIN, torch.tensor([1 - _RIGHT, _RIGHT]))


def moons() -> Mixture:
    """Two half circles, each of 100 Gaussians side by side, of standard deviation one in all."""
    data = load(Moons(n=200), "train")
    means = data.floats().double() / data.standard_deviation()
    return Mixture(means, data.y, 0.1, torch.ones(len(means)))


def follow(
    objective: Objective, real: Mixture, levels: Sequence[float], n: int, steps: int, seed: int, rate: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Lets n particles of alternating classes move from N(0, 0.5^2) by Adam, each by a draw of noise a step.

    Args:
        objective: what they minimise.
        real: the real data.
        levels: noise levels.
        n: particles.
        steps: of Adam; its rate falls to zero over the second half.
        seed: of start and noise, the same for every objective.
        rate: at first.

    Returns:
        Where they end, (n, D) float64, and their labels (n,).
    """
    oracle, shape = real.oracle(levels), real.means.shape[1:]
    y = torch.arange(n) % real.n_classes
    start = torch.randn(n, *shape, generator=keyed_generator(seed, _START_DRAWS), dtype=torch.float64)
    x = (_START * start).requires_grad_()
    adam = torch.optim.Adam([x], lr=rate, betas=(0.5, 0.99))
    for step in range(steps):
        draws = keyed_generator(seed, _STEP_DRAWS, step)
        u = (torch.randperm(n, generator=draws) + torch.rand((), generator=draws, dtype=torch.float64)) / n
        eps = torch.randn(n, *shape, generator=draws, dtype=torch.float64)
        fake = Oracle(oracle.schedule, x.detach().clone(), y, real.n_classes)
        loss = exact_loss(objective, oracle, fake, levels, x, u, eps, y)
        (x.grad,) = torch.autograd.grad(loss.sum(), x)
        adam.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        adam.step()
    return x.detach(), y


def line_facts(
    seeds: Sequence[int],
    n: int = 600,
    steps: int = 150,
    objectives: Sequence[Objective] = _MOVES,
    levels: Sequence[str] = _ON_LINE,
) -> Generator[str, None, list[Fact]]:
    """Where particles on a line end whose data are a normal distribution, or have two modes.

    Args:
        seeds: one run each.
        n: particles.
        steps: of each run.
        objectives: what they minimise.
        levels: names of `LEVELS`.

    Yields:
        What comes next.

    Returns:
        Of the first "std" and "largest |x|", of the second "weight of the right mode" and "std around the modes".
    """
    facts = []
    for name in levels:
        for objective in objectives:
            for seed in seeds:
                where = f"{n} particles of N(0, 1); sigma {name}"
                yield f"{objective.variant}, {where}, seed {seed}"
                x, _ = follow(objective, normal(), LEVELS[name], n, steps, seed)
                facts.append(Fact("std", objective.variant, where, "std of the data", float(x.std())))
                facts.append(Fact("largest |x|", objective.variant, where, "std of the data", float(x.abs().max())))
                where = f"{n} particles of two modes, 0.7 and 0.3; sigma {name}"
                yield f"{objective.variant}, {where}, seed {seed}"
                x, _ = follow(objective, two_modes(), LEVELS[name], n, steps, seed)
                facts.append(
                    Fact("weight of the right mode", objective.variant, where, "1", float((x > 0).double().mean()))
                )
                spread = float((x - x.sign()).square().mean().sqrt()) / _WITHIN
                facts.append(Fact("std around the modes", objective.variant, where, "std of the data", spread))
    return facts


class Plane(NamedTuple):
    """Particles on the plane, to be drawn.

    Attributes:
        data: real data, (n, 2), and labels, (n,).
        found: the particles of the first seed and their labels, by noise levels and objective.
    """

    data: tuple[Tensor, Tensor]
    found: dict[tuple[str, str], tuple[Tensor, Tensor]]


def plane_facts(
    seeds: Sequence[int],
    n: int = 400,
    steps: int = 150,
    objectives: Sequence[Objective] = _MOVES,
    levels: Sequence[str] = _ON_PLANE,
) -> Generator[str, None, tuple[list[Fact], Plane]]:
    """Where particles of two classes end whose data are two moons.

    Args:
        seeds: one run each, and one draw of real data.
        n: particles, and real data.
        steps: of each run.
        objectives: what they minimise.
        levels: names of `LEVELS`.

    Yields:
        What comes next.

    Returns:
        "std within a class", relative to the data's, and the sliced Wasserstein distance "SW to the data", for the
        particles and for as many fresh data; and particles and data of the first seed.
    """
    real, along, facts = moons(), directions(2, 64, keyed_generator(_DIRECTIONS)), []
    oracle = real.oracle((1.0,))
    data: list[tuple[Tensor, Tensor]] = []
    found: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    for seed in seeds:
        draws = keyed_generator(seed, _REAL_DRAWS)
        data.append(oracle.sample(n, draws))
        fresh, _ = oracle.sample(n, draws)
        where = f"{n} particles of two moons"
        facts.append(
            Fact("SW to the data", FRESH, where, "std of the data", sliced_wasserstein(fresh, data[-1][0], along))
        )
    for name in levels:
        for objective in objectives:
            where = f"{n} particles of two moons; sigma {name}"
            for seed, (x_real, y_real) in zip(seeds, data, strict=True):
                yield f"{objective.variant}, {where}, seed {seed}"
                x, y = follow(objective, real, LEVELS[name], n, steps, seed)
                found.setdefault((name, objective.variant), (x, y))
                spread = class_spread(x, y, 2).value / class_spread(x_real, y_real, 2).value
                distance = sliced_wasserstein(x, x_real, along)
                facts.append(Fact("std within a class", objective.variant, where, "relative", float(spread.mean())))
                facts.append(Fact("SW to the data", objective.variant, where, "std of the data", distance))
    return facts, Plane(data[0], found)
