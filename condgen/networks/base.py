"""The base of every network's settings, and the settings of a network of one's own."""

from typing import Any, Literal

from pydantic import Field
from torch import nn

from condgen.errors import UserError
from condgen.settings import Settings, Target, import_target


class NetworkSettings(Settings):
    """Kind and size of a network. A kind overrides `build_…` for each of the four roles that it can play.

    Shapes are of one sample, (D,) or (C, H, W). UserError where the network cannot be built.
    """

    kind: str

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:
        """A network `net(x, noise, y)`; it ignores labels where the number of classes K is None.

        With classes, labels lie in 0..K, where K means "no label"; y = None means K for the whole batch.
        """
        raise self._cannot_be("denoiser")

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """A network `net(x, noise)` with logits (B, K)."""
        raise self._cannot_be("classifier")

    def build_generator(self, shape: tuple[int, ...], n_classes: int, latent: int) -> nn.Module:
        """A network `net(z, y)` for latents (B, latent). Images are bounded by +-1.05, points are not."""
        raise self._cannot_be("generator")

    def build_discriminator(self, shape: tuple[int, ...], *, told_noise: bool) -> nn.Module:
        """A network `net(x, noise)` with one number a sample, (B,), which ignores the noise unless `told_noise`."""
        raise self._cannot_be("discriminator")

    def _cannot_be(self, role: str) -> UserError:
        return UserError(f"network kind {self.kind!r} cannot be a {role}: choose another kind")


class ImportedNetwork(NetworkSettings):
    """A class of one's own, an `nn.Module`, in the role of a denoiser, a classifier or a generator."""

    kind: Literal["import"] = "import"
    target: Target = Field(
        description="package.module:Class, also from the current folder. Its constructor receives, by keyword, shape "
        "(of one sample), n_classes (K; None for a denoiser without labels), latent (of a generator only), and options"
    )
    options: dict[str, Any] = Field(default={}, description="further keyword arguments of the constructor")

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None, **latent: int) -> nn.Module:
        network = import_target(self.target)(shape=shape, n_classes=n_classes, **latent, **self.options)
        if not isinstance(network, nn.Module):
            raise UserError(f"{self.target} makes a {type(network).__name__}, where a torch.nn.Module is needed")
        return network

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return self.build_denoiser(shape, n_classes)

    def build_generator(self, shape: tuple[int, ...], n_classes: int, latent: int) -> nn.Module:
        return self.build_denoiser(shape, n_classes, latent=latent)
