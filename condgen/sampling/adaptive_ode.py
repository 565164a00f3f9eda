r"""The probability flow with adaptive steps, by the embedded pair of Bogacki & Shampine (1989), of orders 3 and 2.

In :math:`u = x_t / \alpha_t` and the noise level l the flow of every schedule is :math:`du/dl = (u - D)/l`. The last of
four slopes is the first of the next step, so an accepted step costs three evaluations, and a rejected one three more.
The length of a step is controlled as a ratio of noise levels, which varies little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from condgen.noise import expand
from condgen.rng import Streams
from condgen.sampling.adaptive import AdaptiveSampler, Flight
from condgen.sampling.control import Controller, Tolerance
from condgen.sampling.loop import About

__all__ = ["AdaptiveODE"]

_NODES = (0.5, 0.75, 1.0)  # where in a step the second, third and fourth slopes are
_WEIGHTS = ((0.5,), (0.0, 0.75), (2 / 9, 1 / 3, 4 / 9))  # of the slopes so far, for the states at the nodes
_ERROR = (-5 / 72, 1 / 12, 1 / 9, -1 / 8)  # order 3 less order 2


@dataclass(frozen=True, eq=False)
class AdaptiveODE(AdaptiveSampler):
    """Bogacki-Shampine 3(2) on the probability-flow ODE with a step per sample."""

    about = About(3, 3, "no", None, "Bogacki & Shampine 1989, on Karras et al. 2022, arXiv 2206.00364, eq. 3")

    safety: Annotated[float, Field(gt=0, lt=1, description="the next step is shorter by it than it might be")] = 0.9
    first_step: Annotated[float, Field(gt=0, lt=1, description="as a share of the greatest noise level")] = 0.3
    shrink: Annotated[float, Field(gt=0, lt=1, description="a step is at least so many times the one before it")] = 0.2
    growth: Annotated[float, Field(gt=1, description="and at most so many times")] = 5.0

    def launch(self, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> Flight:
        return _Stages(self, streams, y, shape)


class _Stages(Flight):
    def __init__(self, sampler: AdaptiveODE, streams: Streams, y: Tensor | None, shape: Sequence[int]) -> None:
        super().__init__(sampler.schedule, streams, y, shape)
        self.controller = Controller(sampler.safety, 1 / 3, sampler.shrink, sampler.growth)
        self.tolerance = Tolerance(sampler.absolute, sampler.relative)
        self.least, greatest = sampler.schedule.noise_range
        self.level = torch.full_like(self.t, greatest)
        self.h = torch.full_like(self.t, -math.log1p(-sampler.first_step))  # of the logarithm of the level
        self.stage = torch.zeros_like(self.accepted)  # slopes known of the step that is tried
        self.u = self.x / expand(self.schedule.alpha(self.t), self.x)
        self.slopes = self.x.new_zeros(len(self.x), 4, *shape)

    def answer(self, rows: list[int], denoised: Tensor) -> None:
        """A slope; the fourth judges the step."""
        x, t, stage = self.question[rows], self.time[rows], self.stage[rows]
        u = x / expand(self.schedule.alpha(t), x)
        self.slopes[rows, stage.tolist()] = (u - denoised) / expand(self.schedule.noise_level(t), x)
        self.stage[rows] = stage + 1
        full = [row for row in rows if self.stage[row] == 4]
        if full:
            self._judge(full, u[[i for i, row in enumerate(rows) if row in set(full)]])
        for known in (1, 2, 3):
            going = [row for row in rows if self.stage[row] == known and not self.last[row]]
            if going:
                self._go_on(going, known)

    def _go_on(self, rows: list[int], known: int) -> None:
        """Asks at the next node, in rows that know so many slopes of their step."""
        landing, h = self._landing(rows)
        moves = [weight * self.slopes[rows, i] for i, weight in enumerate(_WEIGHTS[known - 1]) if weight]
        u = self.u[rows] - expand(h, self.x) * sum(moves[1:], moves[0])
        level = landing if known == 3 else self.level[rows] - _NODES[known - 1] * h
        t = self._time(level)
        self.ask(rows, expand(self.schedule.alpha(t), u) * u, t)

    def _landing(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """The noise levels where the steps in some rows end, and their lengths."""
        level = self.level[rows]
        landing = (level * (-self.h[rows]).exp()).clamp_min(self.least)
        return landing, level - landing

    def _time(self, level: Tensor) -> Tensor:
        t = self.schedule.t_of_noise_level(level)
        return torch.where(level <= self.least, self.schedule.t_min, t)  # the end exactly, free of the round trip

    def _judge(self, rows: list[int], u: Tensor) -> None:
        landing, h = self._landing(rows)
        parts = [weight * self.slopes[rows, i] for i, weight in enumerate(_ERROR)]
        errors = self.tolerance.measure(expand(h, u) * sum(parts[1:], parts[0]), u, self.u[rows])
        yes = [i for i, error in enumerate(errors) if error <= 1]
        taken = [rows[i] for i in yes]
        self.u[taken], self.level[taken], self.t[taken] = u[yes], landing[yes], self._time(landing[yes])
        self.slopes[taken, 0] = self.slopes[taken, 3]
        self.accepted[taken] += 1
        self.rejected[[row for row in rows if row not in set(taken)]] += 1
        self.broken[rows] |= torch.tensor([not math.isfinite(error) for error in errors]) & (self.h[rows] < 1e-8)
        self.h[rows] *= torch.tensor([self.controller.factor(error) for error in errors], dtype=torch.float64)
        self.stage[rows] = 1
        arrived = [row for row in taken if self.level[row] <= self.least]
        self.x[arrived] = expand(self.schedule.alpha(self.t[arrived]), u) * self.u[arrived]
        self.arrive(arrived)
