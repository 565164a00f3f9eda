"""The residual perceptron, for points and tiny images, in all three roles.

The bias of the first layer starts as large as its weights: layer normalisation forgets the length of its input.
"""

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import BOUND
from condgen.networks.embedding import ClassEmbedding, Conditioning, FiLM, initialise_


class MLPSettings(NetworkSettings):
    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1, description="hidden units of every layer")
    depth: int = Field(default=3, ge=1, description="residual blocks")
    embedding: int = Field(default=64, ge=1, description="width of the embedding of noise level and class")
    normalise: bool = Field(default=True, description="layer normalisation in every block and before the last layer")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of every block's hidden units, in training")

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:
        return MLP(self, shape, n_classes)

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return MLP(self, shape, None, n_classes)

    def build_generator(self, shape: tuple[int, ...], n_classes: int, latent: int) -> nn.Module:
        return MLPGenerator(self, shape, n_classes, latent)


class _Block(nn.Module):
    def __init__(self, settings: MLPSettings) -> None:
        super().__init__()
        self.normalise = _normalisation(settings)
        self.enter = initialise_(nn.Linear(settings.width, settings.width, bias=False))  # the FiLM shifts
        self.film = FiLM(settings.embedding, settings.width)
        self.leave = initialise_(nn.Linear(settings.width, settings.width), gain=0.3)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return h + self.leave(self.dropout(F.silu(self.film(self.enter(self.normalise(h)), embedding))))


def _normalisation(settings: MLPSettings) -> nn.Module:
    # Without affine weights: a linear layer follows everywhere and absorbs them.
    return nn.LayerNorm(settings.width, elementwise_affine=False) if settings.normalise else nn.Identity()


class _Trunk(nn.Module):
    def __init__(self, settings: MLPSettings, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.enter = initialise_(nn.Linear(inputs, settings.width))
        nn.init.normal_(self.enter.bias)
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.depth))
        self.normalise = _normalisation(settings)
        self.leave = initialise_(nn.Linear(settings.width, outputs), gain)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(self.normalise(h))


class MLP(nn.Module):
    """x (B, *shape), noise (B,), labels (B,) or None -> (B, *shape), or logits (B, K) where `logits` is K."""

    def __init__(
        self, settings: MLPSettings, shape: tuple[int, ...], n_classes: int | None, logits: int | None = None
    ) -> None:
        super().__init__()
        self.logits = logits
        self.conditioning = Conditioning(settings.embedding, n_classes)
        self.trunk = _Trunk(settings, math.prod(shape), logits or math.prod(shape), gain=0.1)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.trunk(x.flatten(1), self.conditioning(noise, y))
        return out.reshape(x.shape) if self.logits is None else out


class MLPGenerator(nn.Module):
    """z (B, latent), labels (B,) -> (B, *shape): linear at the end for points, bounded for images."""

    def __init__(self, settings: MLPSettings, shape: tuple[int, ...], n_classes: int, latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.label = ClassEmbedding(n_classes, settings.embedding)
        self.trunk = _Trunk(settings, latent, math.prod(shape), gain=1.0)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.trunk(z, F.silu(self.label(y))).reshape(-1, *self.shape)
        return BOUND * out.tanh() if len(self.shape) == 3 else out
