r"""The class-conditional one-step generator and its first objective, score mismatching.

Score mismatching (SMM; Ye & Liu, arXiv 2309.11043) trains a generator G against a *critic* S that predicts noise. At a
few small noise levels, :math:`\tilde x = x + \sigma n`,

.. math::
    L_S &= E \lVert S(x_r + \sigma n, \sigma, y) - n \rVert^2
         + E \lVert S(G(z, y) + \sigma n, \sigma, y) - n' \rVert^2 \\
    L_G &= E \lVert S(G(z, y) + \sigma n, \sigma, y) - n \rVert^2

with n' drawn apart from n: the critic learns to denoise real images and to know nothing of generated ones, and the
generator looks for images that the critic can denoise. The published method is unconditional; here both networks are
told the class, so a generated image of the wrong class is punished as unreal. The objective is biased: where generated
and real images agree it still pulls towards the modes, which is why its noise levels must stay small.
"""

import math
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from condgen.nets import AnyDenoiserNet, AnyGeneratorNet, build_denoiser, build_generator
from condgen.noise import expand
from condgen.settings import Settings
from condgen.weights import load_model

__all__ = [
    "Critic",
    "Generator",
    "GeneratorConfig",
    "GeneratorObjective",
    "critic_loss",
    "generator_loss",
    "mismatching_levels",
]


class GeneratorConfig(Settings):
    """All that is needed to rebuild a generator."""

    kind: Literal["generator"] = "generator"
    network: AnyGeneratorNet
    shape: tuple[int, ...]
    names: tuple[str, ...]
    latent: int = Field(default=64, gt=0)
    scale: float = Field(default=1.0, gt=0, description="what the network's output is multiplied by; 1 for images")


class Generator(nn.Module):
    """A map (z, y) -> x in one pass."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.net = build_generator(config.network, config.shape, len(config.names), config.latent)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Generated data, (B, ...), for latents z (B, latent) and labels y (B,)."""
        generated: Tensor = self.net(z, y)
        return self.config.scale * generated

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "Generator":
        """Rebuilds the generator of a run folder, ready to be evaluated."""
        return load_model(folder, "generator", lambda config: cls(GeneratorConfig.model_validate(config)), device)


class GeneratorObjective(Settings):
    """What a generator is trained on."""

    loss: Literal["smm"] = "smm"
    network: AnyDenoiserNet = Field(description="the critic's network")
    levels: tuple[PositiveFloat, ...] | None = Field(default=None, description="the ten of the paper by default")
    critic_steps: int = Field(default=3, gt=0, description="critic updates per generator update")
    draws: int = Field(default=2, gt=0, description="noised copies of each generated image in the generator's loss")
    critic_lr: float = Field(default=1e-3, gt=0)


def mismatching_levels(n: int = 10) -> tuple[float, ...]:
    r"""The noise levels of score mismatching, :math:`\sqrt{1 - \prod (1 - \beta)}` for n betas from 1e-4 to 0.02.

    Unlike in a diffusion, the clean image is not scaled down: x~ = x + sigma n.
    """
    kept, levels = 1.0, []
    for i in range(n):
        kept *= 1 - (1e-4 + (0.02 - 1e-4) * (i / (n - 1) if n > 1 else 0.0))
        levels.append(math.sqrt(1 - kept))
    return tuple(levels)


class Critic(nn.Module):
    """The noise predictor S(x~, sigma, y) of score mismatching.

    Args:
        network: its network.
        shape: the shape of a sample.
        n_classes: the number of classes.
        levels: noise levels, relative to `scale`.
        scale: the standard deviation that noise level 1 stands for; 1 for images in [-1, 1].
    """

    levels: Tensor

    def __init__(
        self,
        network: AnyDenoiserNet,
        shape: tuple[int, ...],
        n_classes: int,
        levels: tuple[float, ...],
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.net = build_denoiser(network, shape, n_classes)
        self.scale = scale
        self.register_buffer("levels", torch.tensor(levels))

    def noised(self, x: Tensor, u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """Data at the noise levels that uniform u (B,) picks: (x~ (B, ...), sigma (B,))."""
        index = (u * len(self.levels)).long().clamp_max(len(self.levels) - 1)
        sigma = self.levels[index.to(self.levels.device)]
        return x + self.scale * expand(sigma, x) * n, sigma

    def forward(self, noised: Tensor, sigma: Tensor, y: Tensor) -> Tensor:
        """The predicted noise, (B, ...)."""
        predicted: Tensor = self.net(noised / self.scale, sigma.log() / 4, y)
        return predicted


def _squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).square().flatten(1).mean(1)


def critic_loss(
    critic: Critic,
    real: Tensor,
    fake: Tensor,
    y: Tensor,
    u: tuple[Tensor, Tensor],
    noise: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """The two halves of the critic's loss, each (B,), per dimension.

    Args:
        critic: the noise predictor.
        real: real data, (B, ...).
        fake: generated data of the same labels, without a graph.
        y: labels, (B,).
        u: two uniform draws (B,) that pick the noise levels of real and fake.
        noise: n for the real, n for the fake, and the independent n' that is the fake's target.
    """
    noised_real, sigma_real = critic.noised(real, u[0], noise[0])
    noised_fake, sigma_fake = critic.noised(fake, u[1], noise[1])
    predicted = critic(torch.cat([noised_real, noised_fake]), torch.cat([sigma_real, sigma_fake]), torch.cat([y, y]))
    predicted_real, predicted_fake = predicted.chunk(2)
    return _squared_error(predicted_real, noise[0]), _squared_error(predicted_fake, noise[2])


def generator_loss(critic: Critic, fake: Tensor, y: Tensor, u: Tensor, noise: Tensor) -> Tensor:
    """The critic's denoising error on generated data, (B,), per dimension; its gradient runs through the critic."""
    noised, sigma = critic.noised(fake, u, noise)
    return _squared_error(critic(noised, sigma, y), noise)
