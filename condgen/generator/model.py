r"""The generator: a map (z, y) -> x in one pass.

Its network is one of two kinds. A generator's own takes a latent vector. A denoiser's, asked at one fixed noise level s
(as in SiD: Zhou et al. 2024, arXiv 2404.04057), takes pure noise of that level, x = D(s z, s, y): at a high
level a trained denoiser gives a blurred image of the class already, so that a generator may start from its weights.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from condgen.checkpoint import load_model
from condgen.hub import model_folder
from condgen.networks import AnyNet
from condgen.schedules import precondition
from condgen.settings import Settings

__all__ = ["Generator", "GeneratorConfig"]


class GeneratorConfig(Settings):
    """All that is needed to rebuild a generator."""

    kind: Literal["generator"] = "generator"
    network: AnyNet
    shape: tuple[PositiveInt, ...] = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1)
    latent: int = Field(
        default=64, gt=0, description="numbers in z; a denoiser's network takes as many as a sample has"
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        le=1e9,
        description="what the network's output is multiplied by, 1 for images; or the standard deviation of the data "
        "that a denoiser's network was made for",
    )
    level: float | None = Field(
        default=None, gt=0, le=1e9, description="the network is a denoiser's, asked at this noise level, sigma / alpha"
    )


class Generator(nn.Module):
    """A map (z, y) -> x in one pass."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        classes = len(config.names)
        if config.level is None:
            self.net = config.network.build_generator(config.shape, classes, config.latent)
        else:
            self.net = config.network.build_denoiser(config.shape, classes)
            level = torch.tensor(config.level, dtype=torch.float64)
            c = precondition(level, config.scale)  # as numbers: to read a tensor is to wait for its device
            self._c_in, self._c_skip = float(c.c_in * level), float(c.c_skip * level)
            self._c_out, self._c_noise = float(c.c_out), float(c.c_noise)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one z."""
        return (self.config.latent,) if self.config.level is None else self.config.shape

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Generated data, (B, ...), for standard normal z (B, *latent_shape) and labels y (B,)."""
        if self.config.level is None:
            generated: Tensor = self.net(z, y)
            return self.config.scale * generated
        residual: Tensor = self.net(self._c_in * z, z.new_full((len(z),), self._c_noise), y)
        return self._c_skip * z + self._c_out * residual

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: torch.device | str = "cpu", *, trust: bool = False
    ) -> "Generator":
        """The generator in a folder, or in one on the hub, `hf:owner/name[/sub-folder]`, ready to be evaluated.

        Its file may name code to import, a network of one's own, only where `trust` is given.
        """
        return cls.load(model_folder(source), device, trust=trust)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", *, trust: bool = False) -> "Generator":
        """Rebuilds the model of a run folder, ready to be evaluated."""
        return load_model(
            folder, "generator", lambda config: cls(GeneratorConfig.model_validate(config)), device, trust=trust
        )
