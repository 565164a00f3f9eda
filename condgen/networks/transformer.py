"""A small vision transformer (Dosovitskiy et al. 2021) steered as in DiT (Peebles & Xie 2023), for images of 32x32.

The image is cut into patches; each block is attention and a perceptron, whose normalised inputs are scaled and shifted,
and whose outputs are scaled, by the embedding of noise level and class (adaptive layer normalisation). DiT starts the
last of these at zero (adaLN-Zero); here they start small, so that every parameter receives a gradient at the first
step. Places have a learnt embedding. A classifier's attention is plain: a loss on the input gradient differentiates it
twice, which the fused one does not allow.
"""

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.errors import UserError
from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import check_image
from condgen.networks.embedding import Conditioning, initialise_


class TransformerSettings(NetworkSettings):
    kind: Literal["transformer"] = "transformer"
    patch: int = Field(default=4, ge=1, description="side of a patch, in pixels")
    width: int = Field(default=256, ge=1, description="features of a patch, and of the embedding")
    depth: int = Field(default=6, ge=1, description="blocks")
    heads: int = Field(default=4, ge=1, description="of every attention; they divide the width")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "TransformerSettings":
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")
        return self

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:
        return Transformer(self, shape, n_classes, None)

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return Transformer(self, shape, None, n_classes)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.modulate = initialise_(nn.Linear(width, 6 * width), gain=0.1)
        self.enter = initialise_(nn.Linear(width, 3 * width, bias=False))  # the shift stands in for a bias
        self.leave = initialise_(nn.Linear(width, width))
        self.perceptron = nn.Sequential(
            initialise_(nn.Linear(width, 4 * width)), nn.GELU(), initialise_(nn.Linear(4 * width, width))
        )

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        shift, scale, gain, shift_2, scale_2, gain_2 = self.modulate(embedding)[:, None].chunk(6, dim=2)
        qkv = self.enter(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)
        q, k, v = rearrange(qkv, "b p (three n c) -> three b n p c", three=3, n=self.heads)
        if self.fused:
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            attended = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        h = h + gain * self.leave(rearrange(attended, "b n p c -> b p (n c)"))
        return h + gain_2 * self.perceptron(F.layer_norm(h, h.shape[-1:]) * (1 + scale_2) + shift_2)


class Transformer(nn.Module):
    """x (B, C, H, W), noise (B,), labels (B,) or None -> (B, C, H, W), or logits (B, K) where `logits` is K."""

    def __init__(
        self, settings: TransformerSettings, shape: tuple[int, ...], n_classes: int | None, logits: int | None
    ) -> None:
        super().__init__()
        check_image(settings.kind, shape, halvings=0)
        channels, height, width = shape
        self.patch, self.logits = settings.patch, logits
        if height % self.patch or width % self.patch:
            raise UserError(f"images of {height}x{width} cannot be cut into patches of {self.patch}: choose a divisor")
        pixels = channels * self.patch**2
        self.conditioning = Conditioning(settings.width, n_classes)
        self.enter = initialise_(nn.Linear(pixels, settings.width))
        self.place = nn.Parameter(0.5 * torch.randn(height // self.patch * (width // self.patch), settings.width))
        self.blocks = nn.ModuleList(
            _Block(settings.width, settings.heads, fused=logits is None) for _ in range(settings.depth)
        )
        self.modulate = initialise_(nn.Linear(settings.width, 2 * settings.width), gain=0.1)
        self.leave = initialise_(nn.Linear(settings.width, pixels if logits is None else logits), gain=0.1)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        embedding, side = self.conditioning(noise, y), x.shape[2] // self.patch
        h = self.enter(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)) + self.place
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = self.modulate(embedding)[:, None].chunk(2, dim=2)
        h = F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift
        if self.logits is not None:
            return self.leave(h.mean(1))
        return rearrange(self.leave(h), "b (h w) (c p q) -> b c (h p) (w q)", h=side, p=self.patch, q=self.patch)
