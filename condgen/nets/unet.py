"""The U-Net denoiser, in the manner of DDPM++ (Song et al. 2021, appendix H; Karras et al. 2022, table 7).

An encoder of residual blocks halves the image between levels, a decoder doubles it again, and every encoder output is
joined to the decoder block at the same depth. Residual sums are divided by sqrt(2), which keeps their variance when
both terms have the same.
"""

import math
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.nets.blocks import GroupNorm, Resample, ResidualBlock, check_image, largest_divisor
from condgen.nets.embed import Conditioning, initialise_
from condgen.settings import Settings

__all__ = ["SelfAttention", "UNet", "UNetSettings"]

_HEAD_WIDTH = 64


class UNetSettings(Settings):
    """A U-Net.

    Attributes:
        channels: the unit of width.
        multipliers: width of each level in units of `channels`, finest first. The image is halved between levels.
        blocks: residual blocks per level of the encoder; the decoder has one more.
        attention: heights of the feature maps at which blocks attend. The middle attends too, unless this is empty.
        dropout: rate of dropout in the residual blocks.
        embedding: width of the embedding of noise level and class, in units of `channels`.
    """

    kind: Literal["unet"] = "unet"
    channels: int = Field(default=64, ge=4)
    multipliers: tuple[int, ...] = Field(default=(1, 2, 2), min_length=1)
    blocks: int = Field(default=2, ge=1)
    attention: tuple[int, ...] = (16,)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embedding: int = Field(default=4, ge=1)


class SelfAttention(nn.Module):
    """The attention of every pixel to every other, (B, C, H, W) to the same shape, without the residual sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = largest_divisor(channels, channels // _HEAD_WIDTH)
        self.normalise = GroupNorm(channels)
        # No bias: a softmax cancels that of the keys.
        self.enter = initialise_(nn.Conv2d(channels, 3 * channels, 1, bias=False))
        self.leave = initialise_(nn.Conv2d(channels, channels, 1), gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.enter(self.normalise(x)), "b (three n c) h w -> three b n (h w) c", three=3, n=self.heads)
        attended = F.scaled_dot_product_attention(*qkv.unbind())
        out: Tensor = self.leave(rearrange(attended, "b n (h w) c -> b (n c) h w", h=x.shape[2]))
        return out


class _Block(nn.Module):
    def __init__(self, residual: ResidualBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.residual = residual
        self.attention = attention

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        h = self.residual(h, embedding) * math.sqrt(0.5)
        if self.attention is not None:
            h = (h + self.attention(h)) * math.sqrt(0.5)
        return h


class UNet(nn.Module):
    """x (B, C, H, W), noise (B,), labels (B,) or None -> (B, C, H, W)."""

    def __init__(self, settings: UNetSettings, shape: tuple[int, ...], n_classes: int | None) -> None:
        super().__init__()
        check_image(settings.kind, shape, halvings=len(settings.multipliers) - 1)
        widths = [settings.channels * multiplier for multiplier in settings.multipliers]
        embedding = settings.channels * settings.embedding

        def block(channels: int, out: int, *, resample: Resample = "same", attend: bool = False) -> _Block:
            residual = ResidualBlock(channels, out, embedding, resample=resample, dropout=settings.dropout)
            return _Block(residual, SelfAttention(out) if attend else None)

        self.conditioning = Conditioning(embedding, n_classes)
        self.enter = initialise_(nn.Conv2d(shape[0], widths[0], 3, padding=1))

        self.encoder = nn.ModuleList()
        joined = [widths[0]]  # the channels of every output that the decoder will take up again, last first
        for level, width in enumerate(widths):
            if level > 0:
                self.encoder.append(block(joined[-1], joined[-1], resample="down"))
                joined.append(joined[-1])
            for _ in range(settings.blocks):
                self.encoder.append(block(joined[-1], width, attend=shape[1] >> level in settings.attention))
                joined.append(width)

        deepest = widths[-1]
        self.middle = nn.ModuleList((block(deepest, deepest, attend=bool(settings.attention)), block(deepest, deepest)))

        self.decoder = nn.ModuleList()
        self.joins: list[bool] = []  # whether a block of the decoder takes up an output of the encoder
        channels = deepest
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(settings.blocks + 1):
                attend = shape[1] >> level in settings.attention
                self.decoder.append(block(channels + joined.pop(), width, attend=attend))
                self.joins.append(True)
                channels = width
            if level > 0:
                self.decoder.append(block(channels, channels, resample="up"))
                self.joins.append(False)

        self.leave = nn.Sequential(
            GroupNorm(channels, activation=True), initialise_(nn.Conv2d(channels, shape[0], 3, padding=1), gain=0.1)
        )

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(noise, y)
        h = self.enter(x)
        outputs = [h]
        for block in self.encoder:
            h = block(h, embedding)
            outputs.append(h)
        for block in self.middle:
            h = block(h, embedding)
        for block, joins in zip(self.decoder, self.joins, strict=True):
            if joins:
                h = torch.cat((h, outputs.pop()), dim=1)
            h = block(h, embedding)
        out: Tensor = self.leave(h)
        return out
