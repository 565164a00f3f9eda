r"""The two terms of Bayes' rule, as interfaces.

.. math:: \nabla \log p(x_t \mid y) = \nabla \log p(x_t) + \nabla \log p(y \mid x_t)

A `Denoiser` gives the first term (or, when it is told y, the left side); a `Likelihood` gives the second. Networks,
exact oracles and guidance all speak these two words, so any of them may stand where another does.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from condgen.errors import UserError
from condgen.schedules import Schedule, eps_from_denoised, expand, score_from_denoised

__all__ = ["Denoiser", "Likelihood", "refuse_infinite"]


class Denoiser(nn.Module, ABC):
    r"""An estimate of :math:`E[x \mid x_t]`, or of :math:`E[x \mid x_t, y]` where labels are given and understood."""

    schedule: Schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The denoised estimate.

        Args:
            x_t: noised data, (B, ...).
            t: times, scalar or (B,), float64.
            y: labels, (B,) integers. Ignored by unconditional denoisers.

        Returns:
            The posterior mean of x, of the shape of x_t.
        """

    def score(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The same estimate as a score, :math:`(\alpha_t D - x_t) / \sigma_t^2`."""
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return score_from_denoised(self(x_t, t, y), x_t, alpha, sigma)

    def eps(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The same estimate as noise, :math:`(x_t - \alpha_t D) / \sigma_t`."""
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return eps_from_denoised(self(x_t, t, y), x_t, alpha, sigma)


class Likelihood(nn.Module, ABC):
    r"""An estimate of :math:`\log p(y \mid x_t)` for each of `n_classes` classes."""

    schedule: Schedule
    n_classes: int

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities of the classes, (B, K), for x_t (B, ...) and t scalar or (B,)."""

    def score(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        r"""The likelihood score :math:`\nabla_{x_t} \log p(y \mid x_t)`, of the shape of x_t.

        Args:
            x_t: noised data, (B, ...).
            t: times, scalar or (B,).
            y: labels, (B,).

        Where x_t has a graph and gradients are enabled, the score has one too, in x_t.
        """
        differentiable = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x_t = x_t if differentiable else x_t.detach().requires_grad_()
            chosen = self(x_t, t).gather(1, y[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, x_t, create_graph=differentiable)
        return gradient


def refuse_infinite(scores: Mapping[str, Tensor], schedule: Schedule, t: Tensor) -> None:
    """Raises UserError where an exact score is not finite: which, and at which noise level. Waits for the device.

    Args:
        scores: by name, each (B, ...).
        schedule: of the times.
        t: scalar or (B,).
    """
    found = {name: score.flatten(1).isfinite().all(1) for name, score in scores.items()}
    if bool(torch.stack(list(found.values())).all()):
        return
    name, finite = next((name, finite) for name, finite in found.items() if not bool(finite.all()))
    level = float(schedule.noise_level(t.double().cpu().expand(len(finite))[~finite.cpu()][0]))
    dtype = str(scores[name].dtype).removeprefix("torch.")
    wider = "" if dtype == "float64" else ", or ask for float64"
    raise UserError(
        f"the oracle's {f'{name} score'.strip()} is not finite in {dtype} at noise level {level:.4g}, in "
        f"{int((~finite).sum())} of {len(finite)} queries: choose a noise level that is further from zero{wider}; or "
        "the queries are not finite themselves"
    )
