r"""Discriminators: x to one number a sample, high where x looks real.

Every linear and convolutional weight is divided by its largest singular value, followed by one power iteration a
forward pass in training (spectral normalisation: Miyato et al. 2018).

The convolutional network is that of Brock et al. 2019 (BigGAN, appendix B) without class projection and attention, as
adversarial score matching uses it (Jolicoeur-Martineau et al. 2020): no normalisation of features, which would couple
pixels, and a sum over the pixels. A noise level enters as a class does in BigGAN, :math:`C(x, c) = w \cdot \phi(x) +
e(c) \cdot \phi(x)` (projection: Miyato & Koyama 2018), with e the noise embedding.
"""

import math
from typing import Literal

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import check_image, resize
from condgen.networks.embedding import NoiseEmbedding, initialise_


class MLPDiscriminatorSettings(NetworkSettings):
    """A residual perceptron with spectral normalisation, for points and tiny images."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1, description="hidden units of every layer")
    depth: int = Field(default=2, ge=1, description="residual blocks")

    def build_discriminator(self, shape: tuple[int, ...], *, told_noise: bool) -> nn.Module:
        enter = initialise_(nn.Linear(math.prod(shape), self.width))
        nn.init.normal_(enter.bias)  # or all rectifiers would bend at the origin
        layers = [initialise_(nn.Linear(self.width, self.width)) for _ in range(2 * self.depth)]
        blocks = [_Block(*pair) for pair in zip(layers[::2], layers[1::2], strict=True)]
        return Discriminator(enter, blocks, self.width, told_noise)


class ConvDiscriminatorSettings(NetworkSettings):
    """A residual convolutional discriminator with spectral normalisation; the defaults are the paper's for 32x32."""

    kind: Literal["convdisc"] = "convdisc"
    channels: tuple[PositiveInt, ...] = Field(
        default=(256, 256, 256, 256), min_length=1, description="of each residual block"
    )
    halvings: int = Field(default=2, ge=0, description="how many of the first blocks halve the image")

    @model_validator(mode="after")
    def _a_block_for_each_halving(self) -> "ConvDiscriminatorSettings":
        if self.halvings > len(self.channels):
            raise ValueError(f"{self.halvings} halvings need as many blocks, and channels has {len(self.channels)}")
        return self

    def build_discriminator(self, shape: tuple[int, ...], *, told_noise: bool) -> nn.Module:
        check_image(self.kind, shape, halvings=self.halvings)
        blocks, before = [], shape[0]
        for index, width in enumerate(self.channels):
            enter = initialise_(nn.Conv2d(before, width, 3, padding=1))
            leave = initialise_(nn.Conv2d(width, width, 3, padding=1))
            skip = None if before == width else initialise_(nn.Conv2d(before, width, 1, bias=False))
            blocks.append(_Block(enter, leave, skip, first=index == 0, halve=index < self.halvings))
            before = width
        return Discriminator(None, blocks, before, told_noise)


class _Block(nn.Module):
    """The input, or `skip` of it, plus two rectified layers, then perhaps halved; pixels are not rectified."""

    def __init__(
        self,
        enter: nn.Module,
        leave: nn.Module,
        skip: nn.Module | None = None,
        *,
        first: bool = False,
        halve: bool = False,
    ) -> None:
        super().__init__()
        self.enter, self.leave, self.skip = enter, leave, skip or nn.Identity()
        self.first, self.resize = first, resize("down" if halve else "same", "box")

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x if self.first else x.relu())
        out: Tensor = self.resize(self.skip(x) + self.leave(h.relu()))
        return out


class Discriminator(nn.Module):
    """x (B, *shape), noise (B,) -> (B,); without `told_noise`, the noise is ignored and may be None."""

    def __init__(self, enter: nn.Module | None, blocks: list[_Block], features: int, told_noise: bool) -> None:
        super().__init__()
        self.enter = enter  # of flat samples; without it, blocks take images
        self.blocks = nn.Sequential(*blocks)
        self.leave = initialise_(nn.Linear(features, 1))
        self.noise = NoiseEmbedding(features) if told_noise else None
        for layer in [layer for layer in self.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]:
            spectral_norm(layer)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        if self.enter is not None:
            x = self.enter(x.flatten(1))
        features = self.blocks(x).relu()
        features = features if self.enter is not None else features.sum((2, 3))
        out = self.leave(features)[:, 0]
        if self.noise is None:
            return out
        if noise is None:
            raise ValueError("this discriminator takes the noise level: give one for each sample")
        return out + (self.noise(noise) * features).sum(1)
