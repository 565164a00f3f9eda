"""The real samples that methods are measured against, and what all measurements of them have in common."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from condgen.data import LabelledSet, stratified_order
from condgen.errors import UserError
from condgen.metrics.features import Extractor, Features
from condgen.metrics.frechet import Gaussian
from condgen.metrics.kernel import KernelReference
from condgen.metrics.manifold import nearest_radii
from condgen.metrics.variety import class_distance, class_spread
from condgen.rng import keyed_generator

__all__ = ["NEIGHBOUR", "Reference"]

NEIGHBOUR = 5
_DRAW = 3  # purpose of a random stream


class Reference:
    """The train split of a data set as an extractor sees it; everything is computed once, when it is first needed.

    Args:
        data: the set.
        features: of all of it.
        extractor: whose they are.
        most: real samples, and samples of a method, whose neighbours and pairs are looked at.
        seed: of the draw among more.
    """

    def __init__(self, data: LabelledSet, features: Features, extractor: Extractor, most: int, seed: int) -> None:
        if len(data) <= NEIGHBOUR:
            raise UserError(
                f"{data.source}: {len(data)} train samples are too few; at least {NEIGHBOUR + 1} are needed"
            )
        self.vectors, self.y, self.n_classes = features.vectors, data.y.cpu(), data.n_classes
        self.extractor, self.most, self.seed = extractor, most, seed
        self.name, self.size = f"{data.source} {data.split}", len(data)

    def drawn(self, y: Tensor) -> Tensor:
        """The places of those among labelled samples whose neighbours are looked at: all, or some of each class."""
        if len(y) <= self.most:
            return torch.arange(len(y))
        return stratified_order(y, keyed_generator(self.seed, _DRAW))[: self.most].sort().values

    @cached_property
    def some(self) -> Tensor:
        """(at most `most`, F)."""
        return self.vectors[self.drawn(self.y)]

    @cached_property
    def radii(self) -> Tensor:
        """Of the balls around `some`."""
        return nearest_radii(self.some, NEIGHBOUR)

    @cached_property
    def gaussian(self) -> Gaussian:
        """Fitted to all."""
        return Gaussian.fit(self.vectors)

    @cached_property
    def kernel(self) -> KernelReference:
        """Of `some`."""
        return KernelReference.of(self.some)

    @cached_property
    def spread(self) -> Tensor:
        """Within each class, (K,)."""
        return class_spread(self.vectors, self.y, self.n_classes).value

    @cached_property
    def distance(self) -> Tensor:
        """Within each class, (K,)."""
        return class_distance(self.vectors, self.y, self.n_classes).value

    def neighbour(self, n: int) -> int:
        """The neighbour of class-wise metrics of n samples."""
        return max(1, min(NEIGHBOUR, n // self.n_classes - 1))

    def classes(self, y: Tensor, least: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Classes of more than `least` samples on both sides: the label, and the places of real and other ones."""
        for label in y.unique().tolist():
            real, other = ((labels == label).nonzero()[:, 0] for labels in (self.y, y))
            if min(len(real), len(other)) > least:
                yield label, real, other

    @property
    def text(self) -> str:
        """What it is called."""
        return f"{self.name} ({self.size})"

    @property
    def text_of_some(self) -> str:
        """What `some` is called."""
        return self.text if self.size <= self.most else f"{self.name} ({self.most} of {self.size})"
