r"""Objectives of two denoisers: of real data, D_r, and of generated data, D_g.

By Tweedie's formula their difference is, up to a factor of the noise level, that of the scores of the two noised
distributions, whose expectation is the gradient of a divergence between them:

* distribution matching (DMD: Yin et al. 2024, arXiv 2311.18828), for the Kullback-Leibler divergence: every
  generated sample x is moved along :math:`D_r - D_g`, evaluated at x with noise;
* score identity distillation (SiD: Zhou et al. 2024, arXiv 2404.04057), for the Fisher divergence:
  :math:`(D_r - D_g) \cdot [(D_r - x) - a (D_r - D_g)]`, differentiated through both networks. With a = 1/2 it is half
  the difference of their denoising errors, :math:`\lVert D_r - x \rVert^2 - \lVert D_g - x \rVert^2`.

Both vanish where the two agree: unlike score mismatching, they have no bias. Each sample's term is divided by
:math:`\operatorname{mean} \lvert x - D_r \rvert`, as in DMD. D_r learns too, or is a frozen teacher, guided or not.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, refuse_other_schedules
from condgen.networks import AnyDenoiserNet
from condgen.schedules import AnyDensity, LogNormal, LogUniform, perturb
from condgen.settings import Settings, Target, import_target


class MatchingLoss(Settings, ABC):
    loss: str
    network: AnyDenoiserNet | None = Field(
        default=None, description="of the denoisers that learn; with a teacher its own, whose weights they start from"
    )
    density: AnyDensity = Field(default=LogUniform(), description="of the noise levels at which they are compared")
    denoiser_density: AnyDensity = Field(default=LogNormal(), description="of the noise levels that they learn")
    denoiser_steps: int = Field(default=2, gt=0, description="their updates per generator update")
    denoiser_lr: float = Field(default=1e-3, gt=0, description="their learning rate")

    @abstractmethod
    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        """The loss of generated data x (B, ...) at times t (B,), with noise eps and labels y (B,): (B,)."""


class DistributionMatching(MatchingLoss):
    loss: Literal["dmd"] = "dmd"

    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        return distribution_matching_loss(real, generated, x, t, eps, y)


class ScoreIdentity(MatchingLoss):
    loss: Literal["sid"] = "sid"
    alpha: float = Field(default=1.0, description="1/2 is UID, the difference of denoising errors; the paper: 1 or 1.2")

    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        return score_identity_loss(real, generated, x, t, eps, y, self.alpha)


class ImportedMatching(MatchingLoss):
    """A function (real, generated, x, t, eps, y, **options) of two denoisers with one number a sample, (B,)."""

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def __call__(self, real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
        return import_target(self.target)(real, generated, x, t, eps, y, **self.options)


class LikelihoodTerm(Settings):
    """A frozen noise-aware classifier's opinion of noised samples, added to any objective."""

    weight: float = Field(default=0.01, gt=0, description="of -log p(y | x_t)")
    density: AnyDensity = Field(default=LogUniform(), description="of the noise levels")


def _inverse_distance(x: Tensor, denoised: Tensor) -> Tensor:
    """1 / mean |x - D|, one number a sample, of a shape that broadcasts over x, without a graph."""
    distance = (x - denoised).detach().abs().flatten(1).mean(1).clamp_min(1e-5)
    return distance.reciprocal().reshape(-1, *(1,) * (x.ndim - 1))


def distribution_matching_loss(
    real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor
) -> Tensor:
    r"""A loss (B,) whose gradient in x is :math:`(D_g - D_r) / \operatorname{mean}|x - D_r|`, over the dimensions.

    x (B, ...) is generated data with a graph, t (B,) float64, eps standard normal noise, y (B,) labels.
    """
    refuse_other_schedules(real, generated)
    with torch.no_grad():
        x_t = perturb(real.schedule, x, t, eps)
        towards = real(x_t, t, y)
        step = (generated(x_t, t, y) - towards) * _inverse_distance(x, towards)
    return 0.5 * (x - (x - step).detach()).square().flatten(1).mean(1)


def score_identity_loss(
    real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor, alpha: float = 1.0
) -> Tensor:
    """The loss (B,) of score identity distillation, a mean over dimensions; arguments as above, and alpha is a."""
    refuse_other_schedules(real, generated)
    x_t = perturb(real.schedule, x, t, eps)
    towards, away = real(x_t, t, y), generated(x_t, t, y)
    difference = towards - away
    terms = difference * ((towards - x) - alpha * difference)
    return (terms * _inverse_distance(x, towards)).flatten(1).mean(1)
