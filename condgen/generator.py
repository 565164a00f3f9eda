r"""The generator: a map (z, y) -> x in one pass, by one of two kinds of network.

A generator's own takes a latent vector. A denoiser's, asked at one fixed noise level s (as in SiD: Zhou et al. 2024,
arXiv 2404.04057), takes pure noise of that level, x = D(s z, s, y), and may start from the weights of a trained one.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from condgen.denoiser import precondition
from condgen.model import Model, ModelConfig
from condgen.networks import AnyNet


class GeneratorConfig(ModelConfig):
    kind: Literal["generator"] = "generator"
    network: AnyNet
    latent: PositiveInt = Field(default=64, description="numbers in z; a denoiser's network takes a sample's")
    scale: float = Field(default=1.0, gt=0, le=1e9, description="of the output; or a denoiser's sigma_data")
    level: float | None = Field(default=None, gt=0, le=1e9, description="noise level where a denoiser is asked")

    def build(self) -> "Generator":
        classes = len(self.names)
        if self.level is None:
            net = self.network.build_generator(self.shape, classes, self.latent)
        else:
            net = self.network.build_denoiser(self.shape, classes)
        return Generator(net, **self.arguments())


class Generator(Model[GeneratorConfig]):
    """Any module `net(z, y)` with an output (B, *shape), or a denoiser's with a level: see `GeneratorConfig`."""

    kind = "generator"
    config_type = GeneratorConfig

    def __init__(
        self,
        net: nn.Module,
        shape: Sequence[int],
        names: Sequence[str],
        *,
        latent: int = 64,
        scale: float = 1.0,
        level: float | None = None,
        network: AnyNet | None = None,
    ) -> None:
        super().__init__()
        self.net, self.shape, self.names, self.network = net, tuple(shape), tuple(names), network
        self.latent, self.scale, self.level = latent, scale, level
        if level is not None:
            c = precondition(torch.tensor(level, dtype=torch.float64), scale)
            # as numbers: to read a tensor is to wait for its device
            self._in, self._skip = float(c.c_in * level), float(c.c_skip * level)
            self._out, self._noise = float(c.c_out), float(c.c_noise)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent,) if self.level is None else self.shape

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Data, (B, *shape), for standard normal z (B, *latent_shape) and labels y (B,)."""
        if self.level is None:
            return self.scale * self.net(z, y)
        return self._skip * z + self._out * self.net(self._in * z, z.new_full(z.shape[:1], self._noise), y)
