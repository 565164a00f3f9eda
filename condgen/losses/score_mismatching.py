r"""Score mismatching (SMM; Ye & Liu, arXiv 2309.11043) trains a generator G against a *critic* S that predicts noise.

At a few small noise levels, :math:`\tilde x = x + \sigma n`,

.. math::
    L_S &= E \lVert S(x_r + \sigma n, \sigma, y) - n \rVert^2
         + E \lVert S(G(z, y) + \sigma n, \sigma, y) - n' \rVert^2 \\
    L_G &= E \lVert S(G(z, y) + \sigma n, \sigma, y) - n \rVert^2

with n' drawn apart from n: the critic learns to denoise real images and to know nothing of generated ones, and the
generator looks for images that the critic can denoise. Unlike in the paper, both networks are told the class.

Per dimension, a critic that says nothing has losses of one. In a healthy training the critic's loss on real data is
least, the generator's above it, both below one, and the critic's loss on generated data above one.

The objective is biased. The best critic is :math:`S = w\, E[n \mid \tilde x]`, where w is the probability that noised
data are real; where generated and real data agree it is one half, and the generator still gains by moving towards the
modes, the less the smaller the noise levels are (`tests/benchmarks/fixed_points.py`).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from condgen.denoiser import precondition
from condgen.losses.base import Losses
from condgen.networks import AnyDenoiserNet
from condgen.schedules import EDM, Density, Levels, linear_beta_levels, perturb
from condgen.settings import Settings


class ScoreMismatching(Settings):
    loss: Literal["smm"] = "smm"
    network: AnyDenoiserNet = Field(description="the critic's network")
    levels: tuple[PositiveFloat, ...] | None = Field(
        default=None, min_length=1, description="noise levels, for points in two standard deviations; default: ten"
    )
    critic_steps: int = Field(default=3, gt=0, description="critic updates per generator update")
    draws: int = Field(default=2, gt=0, description="noised copies of each generated image in the generator's loss")
    critic_lr: float = Field(default=1e-3, gt=0, description="the critic's learning rate")


class Critic(nn.Module):
    """The noise predictor S(x~, sigma, y), x~ = x + sigma n; levels are in units of `scale`, 1 for images."""

    def __init__(self, settings: ScoreMismatching, shape: tuple[int, ...], n_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.net = settings.network.build_denoiser(shape, n_classes)
        self.scale = scale
        levels = tuple(scale * level for level in settings.levels or linear_beta_levels(10).tolist())
        self.schedule = EDM(sigma_min=min(levels), sigma_max=max(levels) * (1 + 1e-6))  # also where there is one alone
        self.density: Density = Levels(levels=levels)

    def forward(self, noised: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The predicted noise, (B, ...)."""
        level = self.schedule.noise_level(t) / self.scale
        noise = precondition(level, 1.0).c_noise.to(device=noised.device, dtype=noised.dtype)
        return self.net(noised / self.scale, noise, y)


def _squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).square().flatten(1).mean(1)


def critic_loss(
    critic: Critic, real: Tensor, fake: Tensor, y: Tensor, t: tuple[Tensor, Tensor], noise: Sequence[Tensor]
) -> Losses:
    """The critic's loss per dimension, the sum of those on real and on generated data of labels y, each (B,).

    Noise n is that of the real data, that of the fake, which have no graph, and n', the target of the fake.
    """
    noised = [perturb(critic.schedule, x, at, n) for x, at, n in zip((real, fake), t, noise[:2], strict=True)]
    predicted_real, predicted_fake = critic(torch.cat(noised), torch.cat(t), torch.cat([y, y])).chunk(2)
    on_real = _squared_error(predicted_real, noise[0])
    on_fake = _squared_error(predicted_fake, noise[2])
    return {"loss": on_real + on_fake, "critic_real": on_real, "critic_fake": on_fake}


def mismatching_loss(critic: Critic, fake: Tensor, y: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """The critic's denoising error on generated data at times t, (B,), per dimension; its gradient runs through it."""
    return _squared_error(critic(perturb(critic.schedule, fake, t, noise), t, y), noise)
