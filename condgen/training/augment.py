r"""Augmentation of real and generated images alike, before noise is added (ADA: Karras et al. 2020, arXiv 2006.06676).

Every transformation is differentiable in the image, so that a generator's gradient runs through it, and is applied with
a probability below one. A generator then still has to make the images as they are: undoing what happens only sometimes
would be told from the data. Flips are another matter: they are applied to real images alone, as
more data.
"""

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from condgen.settings import Settings

if TYPE_CHECKING:
    from condgen.training.loop import Batch

__all__ = ["Augmentation", "augment", "flip"]


class Augmentation(Settings):
    """What is done to images before noise is added.

    Attributes:
        flip: mirror half of the real images left to right. Not for digits, letters, or other signs.
        probability: how often each of the transformations below happens to an image, real or generated.
        shift: greatest move, as a fraction of the image's size, along both axes.
        turn: greatest rotation, in degrees.
        zoom: greatest change of size, as a factor's logarithm to base 2.
        brightness: greatest change of all pixels, which range from -1 to 1.
    """

    flip: bool = False
    probability: float = Field(default=0.0, ge=0, le=0.8)
    shift: float = Field(default=0.125, ge=0, le=0.5)
    turn: float = Field(default=10.0, ge=0, le=180)
    zoom: float = Field(default=0.2, ge=0, le=1)
    brightness: float = Field(default=0.2, ge=0, le=1)


def flip(settings: Augmentation, x: Tensor, batch: "Batch") -> Tensor:
    """Real images (B, C, H, W), half of them mirrored where that is asked for; points stay as they are."""
    if not settings.flip or x.ndim != 4:
        return x
    return torch.where(batch.chance(0.5)[:, None, None, None], x.flip(-1), x)


def augment(settings: Augmentation, x: Tensor, batch: "Batch") -> Tensor:
    """Images (B, C, H, W), each transformed or not by chance; points stay as they are. Differentiable in x."""
    if settings.probability == 0 or x.ndim != 4:
        return x

    def draw(greatest: float) -> Tensor:
        """Numbers between +-greatest, (B,), zero where the transformation does not happen."""
        numbers = (2 * batch.uniform() - 1) * greatest
        return torch.where(batch.chance(settings.probability), numbers.to(x.device, x.dtype), 0.0)

    across, down, angle, zoom = (draw(most) for most in (settings.shift, settings.shift, settings.turn, settings.zoom))
    angle, size = angle * (math.pi / 180), torch.exp2(-zoom)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = (torch.stack((cos, -sin, 2 * across), 1), torch.stack((sin, cos, 2 * down), 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    still = ((across == 0) & (down == 0) & (angle == 0) & (zoom == 0))[:, None, None, None]
    return torch.where(still, x, moved) + draw(settings.brightness)[:, None, None, None]
