r"""Denoising score matching, :math:`\lambda(s) \lVert D(\alpha x + \sigma\epsilon, t) - x \rVert^2 / d`.

The weight :math:`\lambda = (s^2 + s_d^2) / (s\, s_d)^2` makes the loss of an untrained network one at every noise level
(Karras et al. 2022, section 5); up to it this is Vincent's (2011) denoising score matching.

In adversarial score matching (Jolicoeur-Martineau et al., arXiv 2009.05475) a discriminator C is trained by least
squares (LSGAN: Mao et al. 2017, labels 1 and -1) on data and denoised estimates, and the score model against it:

.. math::
    L_C = E (C(x) - 1)^2 + E (C(D(x_t, t)) + 1)^2, \qquad
    L = E \left[ \lambda(s) \frac{\lVert D(x_t, t) - x \rVert^2}{d} + \frac{2w}{d} (C(D(x_t, t)) - 1)^2 \right]

At w = 1 this is 2/d times the paper's loss of a sample, :math:`\lVert D - x \rVert^2 / (2 s^2) + (C(D) - 1)^2`, plus
:math:`\lVert D - x \rVert^2 / (d s_d^2)`, by which :math:`\lambda = 1/s^2 + 1/s_d^2` exceeds 1/s^2. So the balance is
the paper's where the noise is below the data's standard deviation, and leans to score matching above. The optimum is
no longer E[x | x_t]: where the loss is least, :math:`D - E[x | x_t] = 2 (w / \lambda) (1 - C) \nabla C`, whose factor
grows with the noise level, up to :math:`2 w s_d^2`.
"""

from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Preconditioned
from condgen.losses.base import Losses
from condgen.networks import AnyDiscriminatorNet
from condgen.schedules import perturb
from condgen.score import ScoreModel
from condgen.settings import Settings

Momentum: TypeAlias = Annotated[float, Field(gt=-1, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def score_matching_loss(model: ScoreModel, x: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
    """The loss of each sample, (B,), for clean x (B, ...), t (B,) float64, standard normal eps and labels y (B,)."""
    return weighted_error(model, model(perturb(model.schedule, x, t, eps), t, y), x, t)


def weighted_error(model: ScoreModel, denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
    level, sigma_data = model.schedule.noise_level(t), model.sigma_data
    weight = (level**2 + sigma_data**2) / (level * sigma_data) ** 2
    error = denoised - x
    return weight.to(error.device, error.dtype) * error.square().flatten(1).mean(1)


class AdversarialScoreMatching(Settings):
    """The defaults are the paper's."""

    network: AnyDiscriminatorNet = Field(description="the discriminator's network")
    weight: float = Field(default=1.0, ge=0, description="1 is the paper's balance at low noise")
    told_noise: bool = Field(default=False, description="whether the discriminator sees the noise level")
    discriminator_steps: int = Field(default=1, gt=0, description="discriminator updates per score model update")
    discriminator_lr: float = Field(default=1e-4, gt=0, description="its learning rate")
    discriminator_betas: tuple[Momentum, Decay] = Field(default=(-0.5, 0.9), description="of its Adam")
    score_betas: tuple[Momentum, Decay] = Field(default=(0.0, 0.9), description="of the score model's Adam")


class Discriminator(Preconditioned):
    def __init__(self, settings: AdversarialScoreMatching, model: ScoreModel) -> None:
        net = settings.network.build_discriminator(model.shape, told_noise=settings.told_noise)
        super().__init__(net, model.schedule, model.sigma_data)
        self.bounded = len(model.shape) == 3

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """One number a sample, (B,), for x (B, ...) and the times t (B,) of the denoised estimates.

        Images are clamped to the range of pixels, [-1, 1]: outside, an estimate would be told from data by that alone.
        """
        return self.net((x.clamp(-1, 1) if self.bounded else x) / self.sigma_data, self.coefficients(x, t).c_noise)


def discriminator_loss(discriminator: Discriminator, real: Tensor, fake: Tensor, t: Tensor) -> Losses:
    """The discriminator's loss and its two terms, each (B,); t (B,) are the times of the denoised estimates `fake`."""
    on_real, on_fake = discriminator(torch.cat([real, fake]), torch.cat([t, t])).chunk(2)
    on_real, on_fake = (on_real - 1).square(), (on_fake + 1).square()
    return {"loss": on_real + on_fake, "discriminator_real": on_real, "discriminator_fake": on_fake}


def adversarial_loss(
    model: ScoreModel,
    discriminator: Discriminator,
    x: Tensor,
    t: Tensor,
    eps: Tensor,
    y: Tensor | None = None,
    weight: float = 1.0,
) -> Losses:
    """The score model's loss and its two terms, each (B,): "dsm", weighted, and "adversarial", (C(D) - 1)^2."""
    denoised: Tensor = model(perturb(model.schedule, x, t, eps), t, y)
    dsm = weighted_error(model, denoised, x, t)
    adversarial = (discriminator(denoised, t) - 1).square()
    return {"loss": dsm + 2 * weight / x[0].numel() * adversarial, "dsm": dsm, "adversarial": adversarial}
