r"""Multistep samplers: one evaluation a step, of high order by remembering earlier estimates.

In units of signal and of :math:`\lambda = -\log l` the probability flow is :math:`du/d\lambda = D - u`, and a reverse
SDE with :math:`\eta` times its usual noise differs from it by a factor :math:`1 + \eta` and a Brownian term. Over a
step :math:`h = \lambda_s - \lambda_t`, with :math:`H = (1 + \eta) h`,

.. math:: u_s = e^{-H} u + H \int_0^1 e^{-H (1 - r)} D(\lambda_t + r h)\,dr + l_s \sqrt{1 - e^{-2 \eta h}}\, z.

A constant D makes the first-order step (`renoise` with :math:`k = e^{-H}`). A polynomial through D at times
:math:`\lambda_t + r_k h` adds :math:`\sum_k w_k (D_k - D)`, where the weights satisfy

.. math:: \sum_k w_k r_k^n = c_n = H \int_0^1 e^{-H (1 - r)} r^n dr, \qquad c_0 = 1 - e^{-H},\ \ c_n = 1 - n c_{n-1}/H.

One earlier time, :math:`r_1 < 0`, makes DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095). A corrector
uses the estimate at the new time, :math:`r = 1`, as well; UniPC (Zhao et al. 2023, arXiv 2302.04867) has it before the
next step begins and so needs no evaluation more. Its functions B(h) cancel from the weights, but where one node is left
UniPC and DPM-Solver++ take B(h)/2 for :math:`c_1`, which differs from it by :math:`O(h^2)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.samplers.base import Context, Estimate, Sampler, SamplerInfo, noise_factors, renoise, signal_of, state_of
from condgen.schedules import Schedule, expand

FirstMoment: TypeAlias = Literal["bh1", "bh2"]


def _weights(nodes: Sequence[Tensor], h: Tensor, single: FirstMoment) -> Tensor:
    """The weights w of nodes r for a step of length h; c_1 of a single one is h/2 (bh1) or (1 - e^-h)/2 (bh2)."""
    r, c = torch.stack(list(nodes)), [-torch.expm1(-h)]
    if len(nodes) == 1:
        return 0.5 * (h if single == "bh1" else c[0]) / r
    for n in range(1, len(nodes) + 1):
        c.append(1 - n * c[-1] / h)
    powers = torch.arange(1, len(nodes) + 1, dtype=r.dtype)
    return torch.linalg.solve(r ** powers[:, None], torch.stack(c[1:]))


def _log_ratio(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """The step of lambda from t to s: positive where the noise falls."""
    return 0.5 * (schedule.log_snr(s) - schedule.log_snr(t))


def _step(
    schedule: Schedule,
    start: Estimate,
    s: Tensor,
    others: Sequence[Estimate],
    context: Context,
    eta: float = 0.0,
    single: FirstMoment = "bh2",
) -> Tensor:
    """The state at s from one at another time, its estimate, and the estimates at further times."""
    u = signal_of(schedule, start.x, start.t)
    keep, fresh = noise_factors(schedule.noise_level(start.t), schedule.noise_level(s), 1 + eta)
    u_s = renoise(u, start.denoised, keep, fresh, context.streams)
    if others:
        h = _log_ratio(schedule, start.t, s)
        nodes = [_log_ratio(schedule, start.t, other.t) / h for other in others]
        weights = _weights(nodes, (1 + eta) * h, single)
        terms = [expand(w, u) * (other.denoised - start.denoised) for w, other in zip(weights, others, strict=True)]
        u_s = u_s + reduce(torch.add, terms)
    return state_of(schedule, u_s, s)


@dataclass(frozen=True, eq=False)
class DPM2M(Sampler):
    """DPM-Solver++(2M): the line through the estimates at this time and the one before."""

    info = SamplerInfo(2, 1, "no", "log-snr", "Lu et al. 2022, arXiv 2211.01095, algorithm 2")
    eta = 0.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        now = Estimate(t, x_t, self.denoiser(x_t, t, context.y))
        earlier = list(context.history)[-1:]
        context.history.append(now)
        return _step(self.schedule, now, s, earlier, context, self.eta)


@dataclass(frozen=True, eq=False)
class DPM2MSDE(DPM2M):
    """DPM-Solver++(2M) for the reverse SDE, its "midpoint" form (`sample_dpmpp_2m_sde` of k-diffusion)."""

    info = SamplerInfo(2, 1, "if eta > 0", "log-snr", "k-diffusion, on Lu et al. 2022, arXiv 2211.01095")

    eta: Annotated[float, Field(ge=0, le=2, description="0: the flow without noise; 1: as the reverse SDE's")] = 1.0


@dataclass(frozen=True, eq=False)
class UniPC(Sampler):
    """UniPC: a multistep predictor, whose result is corrected where the next step begins; the last one is not."""

    info = SamplerInfo(3, 1, "no", "log-snr", "Zhao et al. 2023, arXiv 2302.04867, algorithms 5-6")

    order: Annotated[Literal[2, 3], Field(description="of the predictor; the corrector has one more")] = 2
    variant: Annotated[Literal["bh1", "bh2"], Field(description="the paper's B(h): bh1 is h, bh2 is e^h - 1")] = "bh2"

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, context: Context) -> Tensor:
        now, history = Estimate(t, x_t, self.denoiser(x_t, t, context.y)), context.history
        if history:
            *earlier, last = history
            others = [*earlier[::-1][: self.order - 1], now]
            now = now._replace(x=_step(self.schedule, last, t, others, context, single=self.variant))
        earlier = list(history)[::-1][: self.order - 1]
        history.append(now)
        return _step(self.schedule, now, s, earlier, context, single=self.variant)
