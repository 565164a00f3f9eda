"""Feature extractors: from samples to the vectors that distances are measured between."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from condgen.data import LabelledSet

__all__ = ["Extractor", "extract", "extract_real", "pixels"]

_MOST_PIXELS = 256  # above it, covariances of a few hundred samples would be mostly noise
_POOLED = 8


@dataclass(frozen=True)
class Extractor:
    """A map from samples to features.

    Args:
        name: what reports call it.
        function: samples (B, ...), images in [-1, 1] or points, to features (B, F) float64.
    """

    name: str
    function: Callable[[Tensor], Tensor]


def pixels(shape: tuple[int, ...]) -> Extractor:
    """The samples themselves, flattened; images of more than 256 numbers are first averaged down to 8 x 8 pixels.

    Args:
        shape: of one sample, (C, H, W) or (D,).
    """
    if len(shape) == 1:
        return Extractor("coordinates", _flatten)
    if math.prod(shape) <= _MOST_PIXELS:
        return Extractor("pixels", _flatten)
    size = (min(_POOLED, shape[1]), min(_POOLED, shape[2]))

    def pool(x: Tensor) -> Tensor:
        return _flatten(torch.nn.functional.adaptive_avg_pool2d(x.double(), size))

    return Extractor(f"pixels pooled to {size[0]}x{size[1]}", pool)


def _flatten(x: Tensor) -> Tensor:
    return x.double().flatten(1)


def extract(extractor: Extractor, x: Tensor, batch: int = 1000) -> Tensor:
    """Features of samples (N, ...), computed in batches: (N, F) float64 on the CPU, where statistics are taken."""
    starts = range(0, max(len(x), 1), batch)
    return torch.cat([extractor.function(x[start : start + batch]).cpu() for start in starts])


def extract_real(extractor: Extractor, data: LabelledSet) -> Tensor:
    """Features of a whole labelled set, in its order: (N, F) float64 on the CPU."""
    return torch.cat([extract(extractor, chunk) for chunk in data.chunks()])
