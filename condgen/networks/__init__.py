"""Networks: they know tensors, not schedules.

Every input arrives scaled to about unit variance, and the noise level as the number log(sigma/alpha)/4 per sample. A
network plays one of four roles, each built by one function from settings whose `kind` names the architecture:

- denoiser: `net(x, noise, y)` for x (B, *shape), noise (B,), y (B,) or None; returns (B, *shape);
- classifier: `net(x, noise)`; returns logits (B, K), twice differentiable in x;
- generator: `net(z, y)` for z (B, latent); returns (B, *shape);
- discriminator: `net(x, noise)`, noise (B,) or None; returns (B,), high where x looks real.

No weight starts at exactly zero, so every parameter receives a gradient at the first step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field
from torch import nn

from condgen.errors import UserError
from condgen.networks.backbones import TimmClassifier, TimmSettings
from condgen.networks.diffusers_unet import DiffusersSettings, DiffusersUNet
from condgen.networks.discriminator import (
    ConvDiscriminator,
    ConvDiscriminatorSettings,
    MLPDiscriminator,
    MLPDiscriminatorSettings,
)
from condgen.networks.embed import ClassEmbedding, Conditioning, NoiseEmbedding, start_from
from condgen.networks.generator import ConvGenerator, ConvGeneratorSettings
from condgen.networks.mlp import MLPClassifier, MLPDenoiser, MLPGenerator, MLPSettings
from condgen.networks.published import PUBLISHED
from condgen.networks.resnet import ResNet, ResNetSettings
from condgen.networks.twice import input_gradient_only, use_plain_operations
from condgen.networks.unet import UNet, UNetSettings

__all__ = [
    "CLASSIFIERS",
    "DENOISERS",
    "DISCRIMINATORS",
    "GENERATORS",
    "PUBLISHED",
    "AnyClassifierNet",
    "AnyDenoiserNet",
    "AnyDiscriminatorNet",
    "AnyGeneratorNet",
    "AnyNet",
    "ClassEmbedding",
    "Conditioning",
    "ConvDiscriminatorSettings",
    "ConvGeneratorSettings",
    "DiffusersSettings",
    "MLPDiscriminatorSettings",
    "MLPSettings",
    "NoiseEmbedding",
    "ResNetSettings",
    "TimmSettings",
    "UNetSettings",
    "build_classifier",
    "build_denoiser",
    "build_discriminator",
    "build_generator",
    "input_gradient_only",
    "start_from",
    "use_plain_operations",
]

AnyDenoiserNet: TypeAlias = Annotated[MLPSettings | UNetSettings | DiffusersSettings, Field(discriminator="kind")]
AnyClassifierNet: TypeAlias = Annotated[MLPSettings | ResNetSettings | TimmSettings, Field(discriminator="kind")]
AnyGeneratorNet: TypeAlias = Annotated[MLPSettings | ConvGeneratorSettings, Field(discriminator="kind")]
AnyNet: TypeAlias = Annotated[
    MLPSettings | ConvGeneratorSettings | UNetSettings | DiffusersSettings, Field(discriminator="kind")
]
"""What makes samples: a generator's network or a denoiser's."""
AnyDiscriminatorNet: TypeAlias = Annotated[
    MLPDiscriminatorSettings | ConvDiscriminatorSettings, Field(discriminator="kind")
]

DENOISERS: dict[str, Callable[[Any, tuple[int, ...], int | None], nn.Module]] = {
    "mlp": MLPDenoiser,
    "unet": UNet,
    "diffusers": DiffusersUNet,
}
CLASSIFIERS: dict[str, Callable[[Any, tuple[int, ...], int], nn.Module]] = {
    "mlp": MLPClassifier,
    "resnet": ResNet,
    "timm": TimmClassifier,
}
GENERATORS: dict[str, Callable[[Any, tuple[int, ...], int, int], nn.Module]] = {
    "mlp": MLPGenerator,
    "convgen": ConvGenerator,
}
DISCRIMINATORS: dict[str, Callable[[Any, tuple[int, ...], bool], nn.Module]] = {
    "mlp": MLPDiscriminator,
    "convdisc": ConvDiscriminator,
}

Network = TypeVar("Network")


def _of_kind(kind: str, family: Mapping[str, Network], role: str) -> Network:
    if kind not in family:
        raise UserError(f"network kind {kind!r} cannot be a {role}: choose one of {', '.join(family)}")
    return family[kind]


def build_denoiser(settings: AnyNet, shape: Sequence[int], n_classes: int | None) -> nn.Module:
    """A network `net(x, noise, y)`, for a denoiser.

    Args:
        settings: kind and size of the network.
        shape: the shape of one sample, (D,) or (C, H, W).
        n_classes: the number of classes K, or None for a network that ignores labels. With classes, labels lie in 0..K,
            where K means "no label"; y = None means K for the whole batch.

    Raises:
        UserError: if the kind cannot play this role, or does not fit the shape.
    """
    return _of_kind(settings.kind, DENOISERS, "denoiser")(settings, tuple(shape), n_classes)


def build_classifier(settings: AnyClassifierNet, shape: Sequence[int], n_classes: int) -> nn.Module:
    """A network `net(x, noise)` with logits (B, K), for a classifier. Arguments and errors as in `build_denoiser`."""
    return _of_kind(settings.kind, CLASSIFIERS, "classifier")(settings, tuple(shape), n_classes)


def build_generator(settings: AnyNet, shape: Sequence[int], n_classes: int, latent: int) -> nn.Module:
    """A network `net(z, y)`, for a generator with latents z of size (B, latent).

    Images are bounded by +-1.05, points are not. Arguments and errors as in `build_denoiser`.
    """
    return _of_kind(settings.kind, GENERATORS, "generator")(settings, tuple(shape), n_classes, latent)


def build_discriminator(settings: AnyDiscriminatorNet, shape: Sequence[int], *, told_noise: bool) -> nn.Module:
    """A network `net(x, noise)` with one number a sample, (B,), for a discriminator.

    Args:
        settings: kind and size of the network.
        shape: the shape of one sample, (D,) or (C, H, W).
        told_noise: whether the network sees the noise level, which it otherwise ignores.

    Raises:
        UserError: if the kind does not fit the shape.
    """
    return _of_kind(settings.kind, DISCRIMINATORS, "discriminator")(settings, tuple(shape), told_noise)
