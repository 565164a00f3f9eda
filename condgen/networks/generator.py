"""A convolutional generator: each stage doubles the image (Miyato & Koyama 2018), the latent enters every block."""

from typing import Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import BOUND, GroupNorm, Resample, ResidualBlock, check_image
from condgen.networks.embedding import ClassEmbedding, initialise_


class ConvGeneratorSettings(NetworkSettings):
    kind: Literal["convgen"] = "convgen"
    channels: int = Field(default=64, ge=4, description="the unit of width")
    multipliers: tuple[PositiveInt, ...] = Field(
        default=(4, 2, 1), min_length=1, description="width of each stage in channels, coarsest first"
    )
    blocks: int = Field(default=1, ge=1, description="residual blocks per stage, of which the first doubles the image")
    embedding: int = Field(default=4, ge=1, description="width of the embedding, in units of channels")

    def build_generator(self, shape: tuple[int, ...], n_classes: int, latent: int) -> nn.Module:
        return ConvGenerator(self, shape, n_classes, latent)


class ConvGenerator(nn.Module):
    """z (B, latent), labels (B,) -> (B, C, H, W), bounded."""

    def __init__(self, settings: ConvGeneratorSettings, shape: tuple[int, ...], n_classes: int, latent: int) -> None:
        super().__init__()
        stages = len(settings.multipliers)
        check_image(settings.kind, shape, halvings=stages)
        widths = [settings.channels * multiplier for multiplier in settings.multipliers]
        embedding = settings.channels * settings.embedding
        self.smallest = (widths[0], shape[1] >> stages, shape[2] >> stages)
        self.label = ClassEmbedding(n_classes, embedding)
        self.latent = initialise_(nn.Linear(latent, embedding))
        channels, height, width = self.smallest
        self.enter = initialise_(nn.Linear(latent, channels * height * width))
        self.blocks = nn.ModuleList()
        for stage_width in widths:
            for index in range(settings.blocks):
                resample: Resample = "up" if index == 0 else "same"
                self.blocks.append(ResidualBlock(channels, stage_width, embedding, resample=resample))
                channels = stage_width
        self.leave = nn.Sequential(
            GroupNorm(channels, activation=True), initialise_(nn.Conv2d(channels, shape[0], 3, padding=1))
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        embedding = F.silu(self.label(y) + self.latent(z))
        h = self.enter(z).reshape(-1, *self.smallest)
        for block in self.blocks:
            h = block(h, embedding)
        return BOUND * self.leave(h).tanh()
