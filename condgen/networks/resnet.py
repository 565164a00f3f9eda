"""The noise-aware residual classifier: ResNet-18 or 34 with pre-activation and the stem for small images.

He et al. 2016 and 2016b, with group normalisation, since batch statistics couple samples, SiLU, and FiLM by the noise.
"""

from typing import Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import GroupNorm, ResidualBlock, check_image
from condgen.networks.embedding import Conditioning, initialise_


class ResNetSettings(NetworkSettings):
    """A residual classifier. Each further stage halves the image and doubles the channels."""

    kind: Literal["resnet"] = "resnet"
    width: int = Field(default=64, ge=4, description="channels of the first stage")
    blocks: tuple[PositiveInt, ...] = Field(
        default=(2, 2, 2, 2), min_length=1, description="of each stage; (3, 4, 6, 3) is a ResNet-34"
    )
    embedding: int = Field(default=4, ge=1, description="width of the noise embedding, in units of width")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in every block, in training")

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return ResNet(self, shape, n_classes)


class ResNet(nn.Module):
    """x (B, C, H, W), noise (B,) -> logits (B, K)."""

    def __init__(self, settings: ResNetSettings, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        check_image(settings.kind, shape, halvings=len(settings.blocks) - 1)
        embedding = settings.width * settings.embedding
        self.conditioning = Conditioning(embedding)
        self.enter = initialise_(nn.Conv2d(shape[0], settings.width, 3, padding=1))
        self.blocks = nn.ModuleList()
        channels = settings.width
        for stage, count in enumerate(settings.blocks):
            width = settings.width << stage
            for index in range(count):
                resample: Literal["same", "down"] = "down" if stage > 0 and index == 0 else "same"
                self.blocks += [ResidualBlock(channels, width, embedding, resample=resample, dropout=settings.dropout)]
                channels = width
        self.activate = GroupNorm(channels, activation=True)
        self.leave = initialise_(nn.Linear(channels, n_classes), gain=0.1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        embedding = self.conditioning(noise)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(self.activate(h).mean(dim=(2, 3)))
