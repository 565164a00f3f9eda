r"""The U-Net denoiser, in the manner of DDPM++ (Song et al. 2021, appendix H; Karras et al. 2022, table 7).

Outputs of the encoder are joined to the decoder at the same depth; residual sums are divided by sqrt(2).

NCSN++ (Song et al. 2021, appendix H) resamples through a binomial filter, draws the frequencies of its noise embedding
at random, and has a residual pyramid next to the encoder: at each level the image, filtered, convolved and halved, is
added to what the encoder has made of it, and the sum, halved in the same way, is added at the next.

Settings reach the sizes of both families in both papers to two in a thousand. Random frequencies have standard
deviation 16 for the input :math:`\log\sigma` (Song et al.) or :math:`\log(\sigma)/4` (Karras et al.), 4 in our unit.
"""

import math
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from condgen.errors import UserError
from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import (
    FilteredConv2d,
    GroupNorm,
    Modulation,
    Resample,
    Resampling,
    ResidualBlock,
    check_image,
    largest_divisor,
)
from condgen.networks.embedding import Conditioning, initialise_, random_frequencies


class UNetSettings(NetworkSettings):
    kind: Literal["unet"] = "unet"
    channels: int = Field(default=64, ge=4, le=65_536, description="the unit of width")
    multipliers: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 2),
        min_length=1,
        description="width of each level in units of channels, finest first; the image is halved between",
    )
    blocks: int = Field(default=2, ge=1, description="residual blocks per level; the decoder has one more")
    attention: tuple[int, ...] = Field(
        default=(16,),
        description="heights of feature maps at which blocks attend; the middle too, unless this is empty",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="rate of dropout in the residual blocks")
    embedding: int = Field(default=4, ge=1, description="width of the embedding, in units of channels")
    entry: int | None = Field(
        default=None, ge=1, description="width of the first convolution, in channels; default: the finest level's"
    )
    heads: int | None = Field(default=None, ge=1, description="of every attention; one for each 64 channels by default")
    decoder_attention: Literal["all", "last"] = Field(
        default="all", description="whether all blocks of the decoder attend at those heights, or the last at each"
    )
    modulation: Modulation = Field(
        default="film", description="scale and shift of normalised features, or a shift before normalisation"
    )
    project: bool = Field(default=False, description="blocks that resample convolve their skip (1x1)")
    resampling: Resampling = Field(default="box", description="averages and repetition, or the filter (1, 3, 3, 1)")
    progressive_input: Literal["none", "residual"] = Field(
        default="none", description="whether a pyramid of the image is added to the encoder, level by level"
    )
    fourier_scale: float | None = Field(
        default=None,
        gt=0,
        description="of random noise frequencies, in turns per unit of log noise level; default: fixed ones",
    )

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:
        return UNet(self, shape, n_classes)

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return UNetClassifier(self, shape, n_classes)


class SelfAttention(nn.Module):
    """The attention of every pixel to every other, (B, C, H, W) to the same shape, without the residual sum."""

    def __init__(self, channels: int, heads: int | None = None) -> None:
        super().__init__()
        if heads is not None and channels % heads:
            raise UserError(f"{channels} channels cannot be divided among {heads} heads of attention: choose a divisor")
        self.heads = largest_divisor(channels, channels // 64) if heads is None else heads
        self.normalise = GroupNorm(channels)
        # No bias: a softmax cancels that of the keys.
        self.enter = initialise_(nn.Conv2d(channels, 3 * channels, 1, bias=False))
        self.leave = initialise_(nn.Conv2d(channels, channels, 1), gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.enter(self.normalise(x)), "b (three n c) h w -> three b n (h w) c", three=3, n=self.heads)
        attended = F.scaled_dot_product_attention(*qkv.unbind())
        return self.leave(rearrange(attended, "b n (h w) c -> b (n c) h w", h=x.shape[2]))


class _Block(nn.Module):
    def __init__(self, residual: ResidualBlock, attention: SelfAttention | None) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention
        self.resamples = not isinstance(residual.resize, nn.Identity)

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
        embedding, scale = settings.channels * settings.embedding, settings.fourier_scale

        def block(channels: int, out: int, *, resample: Resample = "same", attend: bool = False) -> _Block:
            residual = ResidualBlock(
                channels,
                out,
                embedding,
                resample=resample,
                dropout=settings.dropout,
                resampling=settings.resampling,
                modulation=settings.modulation,
                project=settings.project,
            )
            return _Block(residual, SelfAttention(out, settings.heads) if attend else None)

        random = None if scale is None else random_frequencies(scale, settings.channels)
        self.conditioning = Conditioning(embedding, n_classes, random)
        entry = widths[0] if settings.entry is None else settings.channels * settings.entry
        self.enter = initialise_(nn.Conv2d(shape[0], entry, 3, padding=1))

        self.encoder = nn.ModuleList()
        self.pyramid = nn.ModuleList()  # what is added to each block that halves the image
        joined = [entry]  # the channels of every output that the decoder will take up again, last first
        above = shape[0]
        for level, width in enumerate(widths):
            if level > 0:
                self.encoder.append(block(joined[-1], joined[-1], resample="down"))
                if settings.progressive_input == "residual":
                    self.pyramid.append(FilteredConv2d(above, joined[-1], settings.resampling))
                    above = joined[-1]
                joined.append(joined[-1])
            for _ in range(settings.blocks):
                self.encoder.append(block(joined[-1], width, attend=shape[1] >> level in settings.attention))
                joined.append(width)

        channels = widths[-1]
        attends = bool(settings.attention)
        self.middle = nn.ModuleList((block(channels, channels, attend=attends), block(channels, channels)))

        self.decoder = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for index in range(settings.blocks + 1):
                here = settings.decoder_attention == "all" or index == settings.blocks
                attend = here and shape[1] >> level in settings.attention
                self.decoder.append(block(channels + joined.pop(), width, attend=attend))
                channels = width
            if level > 0:
                self.decoder.append(block(channels, channels, resample="up"))

        self.leave: nn.Module = nn.Sequential(
            GroupNorm(channels, activation=True), initialise_(nn.Conv2d(channels, shape[0], 3, padding=1), gain=0.1)
        )

    def encode(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The middle's output, and those of the encoder."""
        h = self.enter(x)
        outputs, pyramid, steps = [h], x, iter(self.pyramid)
        for block in self.encoder:
            h = block(h, embedding)
            if block.resamples and len(self.pyramid):
                h = pyramid = (h + next(steps)(pyramid)) * math.sqrt(0.5)
            outputs.append(h)
        for block in self.middle:
            h = block(h, embedding)
        return h, outputs

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        embedding = self.conditioning(noise, y)
        h, outputs = self.encode(x, embedding)
        for block in self.decoder:
            if not block.resamples:  # one that doubles the image takes up no output of the encoder
                h = torch.cat((h, outputs.pop()), dim=1)
            h = block(h, embedding)
        return self.leave(h)


class UNetClassifier(UNet):
    """The encoder and the middle, x (B, C, H, W), noise (B,) -> logits (B, K). It may start from a U-Net's weights."""

    def __init__(self, settings: UNetSettings, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__(settings, shape, None)
        channels = settings.channels * settings.multipliers[-1]
        del self.decoder
        self.activate = GroupNorm(channels, activation=True)
        self.leave = initialise_(nn.Linear(channels, n_classes), gain=0.1)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # which can be differentiated twice
            h, _ = self.encode(x, self.conditioning(noise))
        return self.leave(self.activate(h).mean(dim=(2, 3)))
