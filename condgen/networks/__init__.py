"""Networks: they know tensors, not schedules.

Every input arrives scaled to about unit variance, and the noise level as the number log(sigma/alpha)/4 per sample. A
network plays one of four roles, built by a method of settings whose `kind` names the architecture:

- denoiser: `net(x, noise, y)` for x (B, *shape), noise (B,), y (B,) or None; returns (B, *shape);
- classifier: `net(x, noise)`; returns logits (B, K), twice differentiable in x;
- generator: `net(z, y)` for z (B, latent); returns (B, *shape);
- discriminator: `net(x, noise)`, noise (B,) or None; returns (B,), high where x looks real.

No weight starts at exactly zero, so every parameter receives a gradient at the first step.
"""

from typing import Annotated, TypeAlias

from pydantic import Field

from condgen.networks.base import ImportedNetwork
from condgen.networks.diffusers import DiffusersSettings
from condgen.networks.discriminator import ConvDiscriminatorSettings, MLPDiscriminatorSettings
from condgen.networks.generator import ConvGeneratorSettings
from condgen.networks.mlp import MLPSettings
from condgen.networks.resnet import ResNetSettings
from condgen.networks.timm import TimmSettings
from condgen.networks.unet import UNetSettings

_KIND = Field(discriminator="kind")
AnyDenoiserNet: TypeAlias = Annotated[MLPSettings | UNetSettings | DiffusersSettings | ImportedNetwork, _KIND]
AnyClassifierNet: TypeAlias = Annotated[
    MLPSettings | ResNetSettings | UNetSettings | TimmSettings | ImportedNetwork, _KIND
]
AnyGeneratorNet: TypeAlias = Annotated[MLPSettings | ConvGeneratorSettings | ImportedNetwork, _KIND]
AnyDiscriminatorNet: TypeAlias = Annotated[MLPDiscriminatorSettings | ConvDiscriminatorSettings, _KIND]
AnyNet: TypeAlias = Annotated[
    MLPSettings | ConvGeneratorSettings | UNetSettings | DiffusersSettings | ImportedNetwork, _KIND
]
"""What makes samples: a generator's network or a denoiser's."""
