r"""Where the objectives of a generator come to rest when the networks that judge it are exact.

A trained generator differs from the data for two reasons: its networks are not yet what they should be, or the
objective does not want the data. Here the networks are perfect, so that the second alone is left. Real and generated
data are mixtures of Gaussians, whose denoisers are known, and the losses are those that generators are trained with.
The best critic of score mismatching is :math:`S = w\, E[n \mid \tilde x]`, with w the probability that noised data are
real and the expectation that of real data. The judges follow the generator at once, and its gradient holds them fixed,
as training does.

A *Gaussian generator*, x = g z, is to learn :math:`\mathcal{N}(0, 1)`. Its gradient is a function of g alone, an
integral over z and the noise. It rests where that rises through zero. Where it is positive down to the least g the
generator collapses; above a g where it falls through zero, it runs away.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from benchmarks.seeds import Fact
from condgen.losses import Critic, distribution_matching_loss, mismatching_loss, score_identity_loss
from condgen.networks import MLPSettings
from condgen.oracle import Oracle
from condgen.schedules import EDM, Levels, linear_beta_levels

__all__ = [
    "LEVELS",
    "OBJECTIVES",
    "Objective",
    "Rest",
    "exact_loss",
    "gaussian_facts",
    "gradient",
    "rest",
    "schedule_of",
]

_LEAST, _MOST, _POINTS = 0.01, 8.0, 20  # of g
_BESIDE = 0.05  # relative: how far from a rest the gradient is told


class Objective(NamedTuple):
    """What a generator minimises: a loss by its name in recipes, and the alpha of score identity distillation."""

    loss: str
    alpha: float = 1.0

    @property
    def variant(self) -> str:
        """What tables call it."""
        return f"sid, alpha {self.alpha:g}" if self.loss == "sid" else self.loss


OBJECTIVES = (Objective("smm"), Objective("dmd"), Objective("sid", 0.5), Objective("sid", 1.0), Objective("sid", 1.2))


def _ten_of(steps: int) -> tuple[float, ...]:
    """Ten of the levels of a diffusion of so many steps, from the first to the last."""
    chosen = torch.linspace(0, steps - 1, 10).round().long()
    return tuple(linear_beta_levels(steps)[chosen].tolist())


LEVELS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"0.2 0.5 1": (0.2, 0.5, 1.0), "1 2 3": (1.0, 2.0, 3.0)}
    | {f"of T = {steps}": _ten_of(steps) for steps in (10, 20, 50, 100)}
)
"""Lists of noise levels, in standard deviations of the data. Those of T = 10 are the paper's numbers, which it takes
for images of a standard deviation of about one half; of longer diffusions they are ten from the first to the last."""


def schedule_of(levels: Sequence[float]) -> EDM:
    """A schedule that holds the levels, on which the time is the noise level."""
    return EDM(sigma_min=min(levels), sigma_max=max(levels) * (1 + 1e-6))


class _BestCritic(nn.Module):
    """The network of a critic that has learnt all there is to learn."""

    def __init__(self, real: Oracle, fake: Oracle) -> None:
        super().__init__()
        self.real, self.fake = real, fake

    def forward(self, noised: Tensor, noise: Tensor, y: Tensor) -> Tensor:
        t = (4 * noise.double()).exp()
        log_odds = self.real.log_prob(noised, t, y) - self.fake.log_prob(noised, t, y)
        probability = log_odds.sigmoid().reshape(-1, *(1,) * (noised.ndim - 1))
        return probability * self.real.eps(noised, t, y)


def exact_loss(
    objective: Objective,
    real: Oracle,
    fake: Oracle,
    levels: Sequence[float],
    x: Tensor,
    u: Tensor,
    eps: Tensor,
    y: Tensor,
) -> Tensor:
    """The generator's loss where its judges are exact, (B,), by the functions that train generators.

    Args:
        objective: which loss.
        real: the real data, on `schedule_of(levels)`.
        fake: the generated data, held fixed, on the same.
        levels: noise levels.
        x: generated data, (B, ...) float64, with a graph.
        u: uniform draws that pick the levels, (B,).
        eps: standard normal noise, of the shape of x.
        y: labels, (B,).

    Raises:
        ValueError: there is no such loss.
    """
    t = Levels(levels=tuple(levels)).quantile(real.schedule, u)
    match objective.loss:
        case "smm":
            critic = Critic(MLPSettings(width=1, depth=1, embedding=1), real.shape, real.n_classes, tuple(levels))
            critic.net = _BestCritic(real, fake)
            return mismatching_loss(critic, x, y, t, eps)
        case "dmd":
            return distribution_matching_loss(real, fake, x, t, eps, y)
        case "sid":
            return score_identity_loss(real, fake, x, t, eps, y, objective.alpha)
    raise ValueError(f"there is no loss {objective.loss!r}")


# ----------------------------------------------------------------------------------------------------
# A Gaussian generator


class _Nodes(NamedTuple):
    z: Tensor  # (N,)
    eps: Tensor  # (N,)
    weight: Tensor  # (N,), sums to one


def _nodes(level: float, g: float) -> _Nodes:
    r"""Quadrature over z and the noise.

    The losses of two denoisers are divided by :math:`|x - D_r|`, here a multiple of one normal coordinate q. Its nodes
    are equally spaced in log q, so that they resolve the division down to where it is cut off; those of the coordinate
    p at right angles to it are equally spaced. One sign of q will do: the loss is the same for -z and -noise.
    """
    log_q = torch.linspace(math.log(1e-7), math.log(8.0), 56, dtype=torch.float64)
    p = torch.linspace(-7.5, 7.5, 121, dtype=torch.float64)
    q = log_q.exp()
    weight = (q * (-0.5 * q**2).exp())[:, None] * (-0.5 * p**2).exp()
    along = torch.tensor([g * level, -1.0], dtype=torch.float64)  # of x - D_r in (z, noise), but for a factor
    cos, sin = (along / along.norm()).tolist()
    z, eps = cos * q[:, None] - sin * p, sin * q[:, None] + cos * p
    return _Nodes(z.flatten(), eps.flatten(), (weight / weight.sum()).flatten())


def _gaussian(schedule: EDM, std: float) -> Oracle:
    centre, label = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    return Oracle(schedule, centre, label, 1, stds=std, held=2**17)


def gradient(objective: Objective, levels: Sequence[float], g: float) -> float:
    """The derivative by g of the loss of the generator x = g z of N(0, 1), while its judges are held fixed."""
    nodes = [_nodes(level, g) for level in levels]
    z, eps, weight = (torch.cat(parts) for parts in zip(*nodes, strict=True))
    each = len(weight) // len(levels)
    u = ((torch.arange(len(levels)) + 0.5) / len(levels)).repeat_interleave(each)
    scale = torch.tensor(g, dtype=torch.float64, requires_grad=True)
    schedule, y = schedule_of(levels), torch.zeros(len(weight), dtype=torch.int64)
    real, fake = _gaussian(schedule, 1.0), _gaussian(schedule, g)
    loss = exact_loss(objective, real, fake, levels, (scale * z)[:, None], u, eps[:, None], y)
    (found,) = torch.autograd.grad((weight * loss).sum() / len(levels), scale)
    return float(found)


class Rest(NamedTuple):
    """Where a Gaussian generator ends that begins as the data are.

    Attributes:
        g: its standard deviation; zero where it collapses, None where it runs away.
        collapses_below: smaller ones collapse, or end at a smaller rest; None where none do.
        runs_away_above: larger ones run away, or end at a larger rest; None where none below 8 do.
    """

    g: float | None
    collapses_below: float | None
    runs_away_above: float | None


def rest(objective: Objective, levels: Sequence[float]) -> Rest:
    """Follows the gradient from g = 1 to the next zero, and to the zeros beyond that, between 0.01 and 8."""

    def slope(log_g: float) -> float:
        return gradient(objective, levels, math.exp(log_g))

    spread = torch.linspace(math.log(_LEAST), math.log(_MOST), _POINTS, dtype=torch.float64).tolist()
    grid = sorted([*spread, math.log1p(-_BESIDE), math.log1p(_BESIDE)])  # on both sides of one, to miss no rest there
    slopes = [slope(at) for at in grid]
    stable: list[float] = []
    unstable: list[float] = []
    for (a, below), (b, above) in pairwise(zip(grid, slopes, strict=True)):
        if below * above < 0:
            zero = math.exp(float(brentq(slope, a, b, xtol=1e-4)))
            (stable if below < 0 else unstable).append(zero)
    push = slope(0.0)
    wanted = [g for g in stable if abs(g - 1) < 1e-3 or (g < 1) == (push > 0)]
    if not wanted:
        return Rest(0.0 if push > 0 else None, None, min((g for g in unstable if g > 1), default=None))
    g = min(wanted, key=lambda g: abs(math.log(g)))
    return Rest(g, max((b for b in unstable if b < g), default=None), min((b for b in unstable if b > g), default=None))


def gaussian_facts(
    objectives: Sequence[Objective] = OBJECTIVES, levels: Mapping[str, Sequence[float]] = LEVELS
) -> Generator[str, None, list[Fact]]:
    """The rests of Gaussian generators, which draw nothing at random.

    Args:
        objectives: what they minimise.
        levels: noise levels by what tables call them.

    Yields:
        What comes next.

    Returns:
        The "resting std", 0 for a collapse; the signs of the "gradient 5% below" and "5% above" it; the std that it
        "runs away above" or "collapses below", where there is one.
    """
    facts = []
    for name, sigmas in levels.items():
        where = f"Gaussian generator of N(0, 1); sigma {name}"
        for objective in objectives:
            yield f"{objective.variant}, {where}"
            found = rest(objective, sigmas)
            marks = {
                "resting std": found.g,
                "collapses below": found.collapses_below,
                "runs away above": found.runs_away_above,
            }
            facts += [
                Fact(what, objective.variant, where, "std of the data", g) for what, g in marks.items() if g is not None
            ]
            for side, factor in (("below", 1 - _BESIDE), ("above", 1 + _BESIDE)):
                if found.g is not None and (found.g > 0 or side == "above"):
                    sign = math.copysign(1, gradient(objective, sigmas, max(found.g * factor, _LEAST)))
                    facts.append(Fact(f"gradient {_BESIDE:.0%} {side}", objective.variant, where, "sign", sign))
    return facts
