r"""The two terms of Bayes' rule, as interfaces.

.. math:: \nabla \log p(x_t \mid y) = \nabla \log p(x_t) + \nabla \log p(y \mid x_t)

A `Denoiser` gives the first term, or with y the left side; a `Likelihood` gives the second. Networks, exact oracles and
guidance are all one or the other. `Preconditioned` stands between a network and either.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.errors import UserError
from condgen.heads import categorical
from condgen.schedules import Schedule, expand, score_from_denoised


class Denoiser(nn.Module, ABC):
    r"""An estimate of :math:`E[x \mid x_t]`, or of :math:`E[x \mid x_t, y]` where labels are given and understood."""

    schedule: Schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The posterior mean, (B, ...), for x_t (B, ...), float64 t, scalar or (B,), and y (B,), which some ignore."""

    def score(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The same estimate as a score, :math:`(\alpha_t D - x_t) / \sigma_t^2`."""
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return score_from_denoised(self(x_t, t, y), x_t, alpha, sigma)

    def eps(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The same estimate as noise, :math:`(x_t - \alpha_t D) / \sigma_t`."""
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return (x_t - alpha * self(x_t, t, y)) / sigma


class Likelihood(nn.Module, ABC):
    r"""An estimate of :math:`\log p(y \mid x_t)`, by default for each of `n_classes` classes."""

    schedule: Schedule
    n_classes: int

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities of the classes, (B, K), for x_t (B, ...) and t scalar or (B,); or those of another head."""

    def log_prob(self, parameters: Tensor, y: Tensor) -> Tensor:
        r""":math:`\log p(y \mid x_t)`, (B,), from what `forward` gives, for labels y (B,), or what the head takes."""
        return categorical(parameters, y)

    def score(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        r"""The likelihood score :math:`\nabla_{x_t} \log p(y \mid x_t)`, of the shape of x_t, for labels y (B,).

        Where x_t has a graph and gradients are enabled, the score has one too, in x_t.
        """
        if torch.is_inference_mode_enabled():
            raise UserError("a likelihood score is a gradient: use torch.no_grad() instead of torch.inference_mode()")
        differentiable = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x_t = x_t if differentiable else x_t.detach().requires_grad_()
            chosen = self.log_prob(self(x_t, t), y).sum()
            (gradient,) = torch.autograd.grad(chosen, x_t, create_graph=differentiable)
        return gradient


def refuse_other_schedules(*models: Denoiser | Likelihood) -> None:
    """ValueError where models are on different schedules: one time is another noise level to each."""
    first, *others = (model.schedule for model in models)
    for other in others:
        if other != first:
            raise ValueError(f"two models differ in schedule: {first!r}, {other!r}")


@contextmanager
def evaluated(*models: nn.Module) -> Iterator[None]:
    """Models as they are used, without dropout or statistics of batches; then as they were."""
    training = [module for model in models for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class Coefficients(NamedTuple):
    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def precondition(level: Tensor, sigma_data: float) -> Coefficients:
    r"""The coefficients of Karras et al. 2022 (table 1) at noise levels of any shape, for data of this deviation.

    With :math:`u = x_t / \alpha_t` at noise level :math:`s = \sigma_t / \alpha_t`,

    .. math:: D = c_{skip}(s)\, u + c_{out}(s)\, F(c_{in}(s)\, u,\ c_{noise}(s)), \qquad c_{noise} = \tfrac{1}{4} \log s

    so that the network's inputs and targets have unit variance at every noise level.
    """
    total = (level**2 + sigma_data**2).sqrt()
    return Coefficients((sigma_data / total) ** 2, level * sigma_data / total, 1 / total, level.log() / 4)


class Preconditioned(nn.Module):
    """A network `net(x, noise, ...)` of scaled data (B, ...) and log(sigma / alpha) / 4 of each, (B,).

    `sigma_data` is the standard deviation of the data.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, sigma_data: float) -> None:
        super().__init__()
        self.net, self.schedule, self.sigma_data = net, schedule, sigma_data

    def coefficients(self, x_t: Tensor, t: Tensor) -> Coefficients:
        """Those by which x_t (B, ...) is multiplied at times t, scalar or (B,), in its dtype; the noise is (B,)."""
        alpha = self.schedule.alpha(t)
        c = precondition(self.schedule.noise_level(t), self.sigma_data)
        c_noise = c.c_noise.to(device=x_t.device, dtype=x_t.dtype).expand(len(x_t))
        return Coefficients(expand(c.c_skip / alpha, x_t), expand(c.c_out, x_t), expand(c.c_in / alpha, x_t), c_noise)


def refuse_infinite(scores: Mapping[str, Tensor], schedule: Schedule, t: Tensor) -> None:
    """UserError where a score, (B, ...) by what it is, is not finite at times t, scalar or (B,)."""
    for what, score in scores.items():
        bad = ~score.flatten(1).isfinite().all(1).cpu()
        if bool(bad.any()):
            level = float(schedule.noise_level(t.double().cpu().expand(len(bad))[bad][0]))
            dtype = str(score.dtype).removeprefix("torch.")
            where = f"in {dtype} at noise level {level:.4g}, in {int(bad.sum())} of {len(bad)} queries"
            raise UserError(f"the {what} is not finite {where}: choose another noise level, or look at the model")
