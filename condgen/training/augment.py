r"""Augmentation of real and generated images alike, before noise is added (ADA: Karras et al. 2020, arXiv 2006.06676).

Every transformation is differentiable in the image, so that a generator's gradient runs through it, and is applied with
a probability below one. A generator then still has to make the images as they are: undoing what happens only sometimes
would be told from the data. Flips are another matter: real images alone are mirrored, as more data
(`TrainingSettings.flip`).
"""

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from condgen.rng import to_device
from condgen.settings import Settings
from condgen.training.batch import Batch


class Augmentation(Settings):
    probability: float = Field(default=0.0, ge=0, le=0.8, description="of each transformation, for each image")
    shift: float = Field(default=0.125, ge=0, le=0.5, description="greatest move, as a fraction of the image's size")
    turn: float = Field(default=10.0, ge=0, le=180, description="greatest rotation, in degrees")
    zoom: float = Field(default=0.2, ge=0, le=1, description="greatest change of size, a factor's logarithm to base 2")
    brightness: float = Field(default=0.2, ge=0, le=1, description="greatest change of all pixels, from -1 to 1")


def draw_augmentation(settings: Augmentation, batch: Batch) -> Tensor:
    """What happens to each image: two shifts, a turn, a zoom and a brightness, (B, 5), zero where it does not happen.

    For points, and where nothing ever happens, (B, 0), and nothing is drawn.
    """
    x = batch.x
    if settings.probability == 0 or x.ndim != 4:
        return x.new_empty(len(x), 0)

    def draw(greatest: float) -> Tensor:
        numbers = (2 * batch.uniform() - 1) * greatest
        return torch.where(batch.chance(settings.probability), to_device(numbers.to(x.dtype), x.device), 0.0)

    most = (settings.shift, settings.shift, settings.turn, settings.zoom, settings.brightness)
    return torch.stack([draw(greatest) for greatest in most], 1)


def augment(x: Tensor, draws: Tensor) -> Tensor:
    """Images (B, C, H, W), transformed as was drawn, (B, 5) or (B, 0). Differentiable in x."""
    if draws.shape[1] == 0:
        return x
    across, down, angle, zoom, brightness = draws.to(x.dtype).unbind(1)
    angle, size = angle * (math.pi / 180), torch.exp2(-zoom)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = (torch.stack((cos, -sin, 2 * across), 1), torch.stack((sin, cos, 2 * down), 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    still = (draws[:, :4] == 0).all(1)[:, None, None, None]
    return torch.where(still, x, moved) + brightness[:, None, None, None]
