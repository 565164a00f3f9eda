r"""Multistep samplers: one evaluation a step, of high order by remembering earlier estimates.

In units of signal and of :math:`\lambda = -\log l` the probability flow is :math:`du/d\lambda = D - u`, and a reverse
SDE with :math:`\eta` times its usual noise differs from it by a factor :math:`1 + \eta` and a Brownian term. Over a
step :math:`h = \lambda_s - \lambda_t`, with :math:`H = (1 + \eta) h`,

.. math:: u_s = e^{-H} u + H \int_0^1 e^{-H (1 - r)} D(\lambda_t + r h)\,dr + l_s \sqrt{1 - e^{-2 \eta h}}\, z.

A constant D makes the first-order step (`moves.redraw` with :math:`k = e^{-H}`). A polynomial through D at times
:math:`\lambda_t + r_k h` adds :math:`\sum_k w_k (D_k - D)`, where the weights satisfy

.. math:: \sum_k w_k r_k^n = c_n = H \int_0^1 e^{-H (1 - r)} r^n dr, \qquad c_0 = 1 - e^{-H},\ \ c_n = 1 - n c_{n-1}/H.

One earlier time, :math:`r_1 < 0`, makes DPM-Solver++(2M), two make 3M (Lu et al. 2022, arXiv 2211.01095). A corrector
uses the estimate at the new time, :math:`r = 1`, as well; UniPC (Zhao et al. 2023, arXiv 2302.04867) has it before the
next step begins and so needs no evaluation more. Its functions B(h) cancel from the weights, but where one node is left
UniPC and DPM-Solver++ take B(h)/2 for :math:`c_1`, which differs from it by :math:`O(h^2)`.

Extrapolation wants even steps of :math:`\lambda`: on 20 points of Karras's grid, the standard deviation of a Gaussian
comes out about three times as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.rng import Streams
from condgen.samplers.base import Estimate, History, Sampler, SamplerInfo
from condgen.samplers.moves import kept, redraw, signal_of, state_of
from condgen.schedules import Schedule, expand

__all__ = ["DPM2M", "DPM2MSDE", "DPM3MSDE", "UniPC"]

FirstMoment: TypeAlias = Literal["exact", "bh1", "bh2"]


def _weights(nodes: Sequence[Tensor], h: Tensor, single: FirstMoment) -> Tensor:
    """The weights w of the nodes r, float64, for a step of length h (the H above).

    Args:
        nodes: the r_k, scalars; none is zero.
        h: the length of the step, scalar.
        single: the c_1 of a single node: as it is, h/2 (bh1), or (1 - e^-h)/2 (bh2).
    """
    r, c = torch.stack(list(nodes)), [-torch.expm1(-h)]
    if len(nodes) == 1 and single != "exact":
        return 0.5 * (h if single == "bh1" else c[0]) / r
    for n in range(1, len(nodes) + 1):
        c.append(1 - n * c[-1] / h)
    powers = torch.arange(1, len(nodes) + 1, dtype=r.dtype)
    solution: Tensor = torch.linalg.solve(r ** powers[:, None], torch.stack(c[1:]))
    return solution


def _log_ratio(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """The step of lambda from t to s: positive where the noise falls."""
    return 0.5 * (schedule.log_snr(s) - schedule.log_snr(t))


def _bend(
    schedule: Schedule,
    now: Estimate,
    s: Tensor,
    others: Sequence[Estimate],
    single: FirstMoment,
    eta: float = 0.0,
) -> Tensor | float:
    """What the estimates at other times add to the first-order step from `now` to s: the sum of w_k (D_k - D)."""
    if not others:
        return 0.0
    h = _log_ratio(schedule, now.t, s)
    nodes = [_log_ratio(schedule, now.t, other.t) / h for other in others]
    weights = _weights(nodes, (1 + eta) * h, single)
    terms = [expand(w, now.x) * (other.denoised - now.denoised) for w, other in zip(weights, others, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _multistep(
    sampler: Sampler, now: Estimate, s: Tensor, eta: float, order: int, streams: Streams, history: History
) -> Tensor:
    schedule = sampler.schedule
    earlier = list(history)[::-1][: order - 1]
    u = signal_of(schedule, now.x, now.t)
    keep, fresh = kept(schedule.noise_level(now.t), schedule.noise_level(s), 1 + eta)
    u_s = redraw(u, now.denoised, keep, fresh, streams)
    bend = _bend(schedule, now, s, earlier, "bh2" if order == 2 else "exact", eta)
    history.append(now)
    return state_of(schedule, u_s + bend, s)


_PAPER = "Lu et al. 2022, arXiv 2211.01095, algorithm 2"
_Eta = Annotated[
    float, Field(ge=0, le=2, description="noise of the reverse SDE: 0 is the flow without noise, 1 the usual SDE")
]


@dataclass(frozen=True, eq=False)
class DPM2M(Sampler):
    """DPM-Solver++(2M): the line through the estimates at this time and the one before."""

    info = SamplerInfo(2, 1, "no", "log-snr", _PAPER)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, history: History) -> Tensor:
        """A step of second order; the first of a trajectory is DDIM's."""
        return _multistep(self, Estimate(t, x_t, self.denoiser(x_t, t, y)), s, 0.0, 2, streams, history)


@dataclass(frozen=True, eq=False)
class DPM2MSDE(Sampler):
    """DPM-Solver++(2M) for the reverse SDE, its "midpoint" form (`sample_dpmpp_2m_sde` of k-diffusion)."""

    info = SamplerInfo(
        2, 1, "if eta > 0", "log-snr", "k-diffusion, on Lu et al. 2022, arXiv 2211.01095 (SDE-DPM-Solver++)"
    )

    eta: _Eta = 1.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, history: History) -> Tensor:
        """As `DPM2M`, with noise."""
        return _multistep(self, Estimate(t, x_t, self.denoiser(x_t, t, y)), s, self.eta, 2, streams, history)


@dataclass(frozen=True, eq=False)
class DPM3MSDE(Sampler):
    """DPM-Solver++(3M) for the reverse SDE: the parabola through three estimates.

    `sample_dpmpp_3m_sde` of k-diffusion gives the second difference half the weight that integrates a parabola, and is
    of second order for it; this is of third without noise.
    """

    info = SamplerInfo(
        3, 1, "if eta > 0", "log-snr", "k-diffusion, on Lu et al. 2022, arXiv 2211.01095 (SDE-DPM-Solver++)"
    )

    eta: _Eta = 1.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, history: History) -> Tensor:
        """A step of third order; the first two of a trajectory are of first and second."""
        return _multistep(self, Estimate(t, x_t, self.denoiser(x_t, t, y)), s, self.eta, 3, streams, history)


@dataclass(frozen=True, eq=False)
class UniPC(Sampler):
    """UniPC: a multistep predictor, whose result is corrected once the estimate there is known.

    The loop sees predicted states; the corrected one is where the next step begins, and what the history remembers. The
    corrector of the last step would come with the final estimate, which is taken at the predicted state instead.
    """

    info = SamplerInfo(3, 1, "no", "log-snr", "Zhao et al. 2023, arXiv 2302.04867, algorithms 5-6")

    order: Annotated[Literal[2, 3], Field(description="of the predictor; the corrector has one more")] = 2
    variant: Annotated[
        Literal["bh1", "bh2"],
        Field(description="the paper's B(h), for steps that know one other time: bh1 is h, bh2 is e^h - 1"),
    ] = "bh2"

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None, streams: Streams, history: History) -> Tensor:
        """Corrects the state at t, then predicts the one at s."""
        now = Estimate(t, x_t, self.denoiser(x_t, t, y))
        if history:
            known = list(history)[::-1]
            now = now._replace(x=self._carry(known[0], t, [*known[1 : self.order], now]))
        history.append(now)
        known = list(history)[::-1]
        return self._carry(now, s, known[1 : self.order])

    def _carry(self, start: Estimate, s: Tensor, others: Sequence[Estimate]) -> Tensor:
        """The state at s from the corrected one at an earlier time and the estimates at others."""
        keep, _ = kept(self.schedule.noise_level(start.t), self.schedule.noise_level(s), 1)
        u = signal_of(self.schedule, start.x, start.t)
        u_s = start.denoised + expand(keep, u) * (u - start.denoised)
        return state_of(self.schedule, u_s + _bend(self.schedule, start, s, others, self.variant), s)
