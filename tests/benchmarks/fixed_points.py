r"""Where the objectives of a one-step generator come to rest when the networks that judge it are exact.

    uv run tests/benchmarks/fixed_points.py --full --json assets/generator-bias.json       (1 minute; quick: 20 s)

A Gaussian generator x = g z is to learn N(0, 1). Real and generated data are Gaussians, whose denoisers are known; the
best critic of score mismatching is S = w E[n | x_t], w the probability that noised data are real. The losses are those
that generators are trained with; the judges follow g at once and are held fixed in the gradient, an integral over z and
the noise. It rests where that rises through zero; positive down to the least g it collapses (0); above a g where it
falls through zero it runs away.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from bench import Figure, Full, JsonFile, finish, run
from scipy.optimize import brentq
from torch import Tensor, nn

from condgen import EDM, MLPSettings, Oracle, distribution_matching_loss, score_identity_loss
from condgen.losses.score_mismatching import Critic, ScoreMismatching, mismatching_loss
from condgen.schedules import Levels, linear_beta_levels


class Objective(NamedTuple):
    loss: str
    alpha: float = 1.0  # of score identity distillation

    def __str__(self) -> str:
        return f"sid, alpha {self.alpha:g}" if self.loss == "sid" else self.loss


def ten_levels(steps: int) -> tuple[float, ...]:
    """Ten of the noise levels of a diffusion of so many steps, from the first to the last."""
    return tuple(linear_beta_levels(steps)[torch.linspace(0, steps - 1, 10).round().long()].tolist())


OBJECTIVES = (Objective("smm"), Objective("dmd"), Objective("sid", 0.5), Objective("sid", 1.0), Objective("sid", 1.2))
LEVELS = {"0.2 0.5 1": (0.2, 0.5, 1.0), "1 2 3": (1.0, 2.0, 3.0)}  # in standard deviations of the data
LEVELS |= {f"of T = {steps}": ten_levels(steps) for steps in (10, 20, 50, 100)}  # those of T = 10 are the paper's


def schedule_of(levels) -> EDM:
    """A schedule that holds the levels, on which the time is the noise level."""
    return EDM(sigma_min=min(levels), sigma_max=max(levels) * (1 + 1e-6))


class BestCritic(nn.Module):
    """The network of a critic that has learnt all there is to learn."""

    def __init__(self, real: Oracle, fake: Oracle) -> None:
        super().__init__()
        self.real, self.fake = real, fake

    def forward(self, noised: Tensor, noise: Tensor, y: Tensor) -> Tensor:
        t = (4 * noise.double()).exp()
        log_odds = self.real.log_prob(noised, t, y) - self.fake.log_prob(noised, t, y)
        return log_odds.sigmoid().reshape(-1, *(1,) * (noised.ndim - 1)) * self.real.eps(noised, t, y)


def exact_loss(objective: Objective, real: Oracle, fake: Oracle, levels, x, u, eps, y) -> Tensor:
    """The generator's loss (B,) at its samples x (B, ...) under exact judges; u (B,) in [0, 1) picks the levels."""
    t = Levels(levels=tuple(levels)).quantile(real.schedule, u)
    match objective.loss:
        case "smm":
            settings = ScoreMismatching(network=MLPSettings(width=1, depth=1, embedding=1), levels=tuple(levels))
            critic = Critic(settings, real.shape, real.n_classes)
            critic.net = BestCritic(real, fake)
            return mismatching_loss(critic, x, y, t, eps)
        case "dmd":
            return distribution_matching_loss(real, fake, x, t, eps, y)
        case "sid":
            return score_identity_loss(real, fake, x, t, eps, y, objective.alpha)
    raise ValueError(f"there is no loss {objective.loss!r}")


def quadrature(level: float, g: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""Nodes z, noise, and weights (sum 1) over both.

    The losses of two denoisers are divided by |x - D_r|, a multiple of one normal coordinate q of (z, noise): its nodes
    are equally spaced in log q, to resolve the division down to where it is cut off; those at right angles are equally
    spaced. One sign of q will do, since the loss is even.
    """
    log_q = torch.linspace(math.log(1e-7), math.log(8.0), 56, dtype=torch.float64)
    p, q = torch.linspace(-7.5, 7.5, 121, dtype=torch.float64), log_q.exp()
    weight = (q * (-0.5 * q**2).exp())[:, None] * (-0.5 * p**2).exp()
    along = torch.tensor([g * level, -1.0], dtype=torch.float64)
    cos, sin = (along / along.norm()).tolist()
    z, eps = cos * q[:, None] - sin * p, sin * q[:, None] + cos * p
    return z.flatten(), eps.flatten(), (weight / weight.sum()).flatten()


def gaussian(schedule: EDM, std: float) -> Oracle:
    centre, label = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    return Oracle(schedule, centre, label, 1, stds=std, held=2**17)


def gradient(objective: Objective, levels, g: float) -> float:
    """The derivative by g of the loss of x = g z, while its judges are held fixed."""
    z, eps, weight = (torch.cat(parts) for parts in zip(*(quadrature(level, g) for level in levels), strict=True))
    each = len(weight) // len(levels)
    u = ((torch.arange(len(levels)) + 0.5) / len(levels)).repeat_interleave(each)
    scale = torch.tensor(g, dtype=torch.float64, requires_grad=True)
    schedule, y = schedule_of(levels), torch.zeros(len(weight), dtype=torch.int64)
    real, fake = gaussian(schedule, 1.0), gaussian(schedule, g)
    loss = exact_loss(objective, real, fake, levels, (scale * z)[:, None], u, eps[:, None], y)
    (found,) = torch.autograd.grad((weight * loss).sum() / len(levels), scale)
    return float(found)


def rest(objective: Objective, levels, points: int = 20) -> tuple[float | None, float | None]:
    """Where a generator ends that begins at g = 1 (0: collapsed; None: run away), and above which g it runs away."""
    spread = torch.linspace(math.log(0.01), math.log(8.0), points, dtype=torch.float64).tolist()
    grid = sorted([*spread, math.log(0.95), math.log(1.05)])  # on both sides of one, to miss no rest there
    slopes = [gradient(objective, levels, math.exp(at)) for at in grid]
    stable, unstable = [], []
    for (a, below), (b, above) in pairwise(zip(grid, slopes, strict=True)):
        if below * above < 0:
            zero = brentq(lambda at: gradient(objective, levels, math.exp(at)), a, b, xtol=1e-4)
            (stable if below < 0 else unstable).append(math.exp(zero))
    push = gradient(objective, levels, 1.0)
    reached = [g for g in stable if abs(g - 1) < 1e-3 or (g < 1) == (push > 0)]
    g = min(reached, key=lambda g: abs(math.log(g)), default=0.0 if push > 0 else None)
    return g, min((edge for edge in unstable if edge > (g or 1)), default=None)


def main(json: JsonFile = None, full: Full = False) -> None:
    figures = []
    for name, levels in list(LEVELS.items())[: None if full else 2]:
        size = f"Gaussian generator of N(0, 1), noise levels {name}"
        for objective in OBJECTIVES:
            g, edge = rest(objective, levels, 20 if full else 8)
            for what, value in (("resting std", g), ("runs away above", edge)):
                if value is not None:
                    figures.append(Figure(what, str(objective), size, "", value))
    finish(figures, json)


if __name__ == "__main__":
    run(main)
