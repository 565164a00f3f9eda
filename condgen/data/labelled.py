r"""Labelled sets, on one device: points as floats, and images as bytes, which become floats when a batch is drawn."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from condgen.errors import UserError, did_you_mean
from condgen.rng import to_float64

Split: TypeAlias = Literal["train", "validation", "test"]
"""Models learn from train, every choice is made on validation, and test is for the final figures alone."""

_CHUNK = 2**22  # numbers looked at at a time
_SHOWN = 20  # classes listed in a message
_LARGEST = 1e15  # a standard deviation whose square, and that of its square, float32 still holds


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Samples with their classes. Raises UserError where they do not go together."""

    x: Tensor  # images, uint8 (N, C, H, W), or points, float32 (N, D)
    y: Tensor  # labels, int64 (N,), each in [0, len(names))
    names: tuple[str, ...]  # the names of the classes
    source: str  # what the set is called in messages and reports
    split: Split  # which part of the source this is; see `Split`
    passed_over: str = ""  # what of the source was not read, for people
    least_classes: int = 2  # that must be there

    def __post_init__(self) -> None:
        if (self.x.dtype, self.x.ndim) not in ((torch.uint8, 4), (torch.float32, 2)) or self.y.dtype != torch.int64:
            found = f"{self.x.dtype} {tuple(self.x.shape)} with {self.y.dtype}"
            raise ValueError(f"samples are uint8 (N, C, H, W) or float32 (N, D), labels int64, not {found}")
        where = f"{self.source} ({self.split})"
        if self.y.shape != self.x.shape[:1]:
            raise UserError(f"{where}: {len(self)} samples have labels of shape {tuple(self.y.shape)}; give one each")
        present = sorted(set(self.y.tolist()))
        if outside := [label for label in present if not 0 <= label < self.n_classes]:
            raise UserError(f"{where}: label {outside[0]} is outside 0 to {self.n_classes - 1}; name a class for it")
        if (count := len(present)) < (least := self.least_classes):
            raise UserError(f"{where}: at least {least} classes are needed, and its {len(self)} samples have {count}")
        if broken := 0 if self.is_images else int((~self.x.isfinite()).any(1).sum()):
            raise UserError(f"{where}: {broken} of {len(self)} points are NaN or infinite; remove them")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample: (C, H, W) or (D,)."""
        return tuple(self.x.shape[1:])

    @property
    def n_classes(self) -> int:
        return len(self.names)

    @cached_property
    def y_on_cpu(self) -> Tensor:
        return self.y.cpu()

    @property
    def is_images(self) -> bool:
        return self.x.dtype == torch.uint8

    def floats(self, index: Tensor | None = None) -> Tensor:
        """Samples as float32: images in [-1, 1], x / 127.5 - 1, points as they are; all, or those at `index`."""
        x = self.x if index is None else self.x[index.to(self.x.device)]
        return x.float() / 127.5 - 1 if self.is_images else x

    def to(self, device: torch.device | str) -> "LabelledSet":
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def at(self, rows: Tensor) -> "LabelledSet":
        rows = rows.to(self.x.device)
        return replace(self, x=self.x[rows], y=self.y[rows])

    def at_most(self, n: int | None, generator: torch.Generator) -> "LabelledSet":
        """So many samples in proportion to the classes; all, in order, where there are no more or n is None."""
        return self if n is None or len(self) <= n else self.at(stratified_order(self.y, generator)[:n])

    def per_class(self, n: int | None, generator: torch.Generator) -> "LabelledSet":
        """At most n samples of every class, at random, in their order; all where n is None."""
        if n is None:
            return self
        order = torch.randperm(len(self), generator=generator)
        chosen = [order[places[:n]] for places in by_class(self.y_on_cpu[order]).values()]
        return self.at(torch.cat(chosen).sort().values)

    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over samples, labels and names."""
        digest = hashlib.sha256(repr((tuple(self.x.shape), str(self.x.dtype), self.names)).encode())
        for tensor in (self.x, self.y):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def standard_deviation(self) -> float:
        r"""Root mean square of :math:`x - \bar x` over samples and dimensions, x as `floats`: the sigma of the data."""
        if self.is_images:  # exactly, in whole numbers
            n, numbers = len(self), self.x[0].numel()
            sums = torch.zeros(self.shape, dtype=torch.int64, device=self.x.device)
            counts = torch.zeros(256, dtype=torch.int64, device=self.x.device)
            for part in self.x.split(max(1, _CHUNK // numbers)):
                sums += part.sum(0, dtype=torch.int64)
                counts += part.flatten().bincount(minlength=256)
            squares = sum(count * value**2 for value, count in enumerate(counts.tolist()))
            found = ((n * squares - sum(one**2 for one in sums.flatten().tolist())) / (n * n * numbers)) ** 0.5 / 127.5
        else:
            found = float(to_float64(self.x).var(0, correction=0).mean().sqrt())
        if not 0 < found < _LARGEST:
            what = f"{len(self)} samples " + ("are all the same" if found == 0 else "are too large")
            raise UserError(f"{self.source} ({self.split}): {what} (standard deviation {found:g}): choose other data")
        return found


def list_some(names: Iterable[str], most: int = _SHOWN) -> list[str]:
    every = list(names)
    return [*every[:most], *(["..."] if len(every) > most else [])]


def class_index(names: Sequence[str], text: str) -> int:
    """The label of the class with this name, in any case, or else with this number; a UserError where there is none."""
    folded, numbers = [name.casefold() for name in names], [str(label) for label in range(len(names))]
    for known, wanted in ((list(names), text), (folded, text.casefold()), (numbers, text)):
        if wanted in known:
            return known.index(wanted)
    shown = f"the classes are {', '.join(list_some(names))}, or the numbers 0 to {len(names) - 1}"
    raise UserError(f"there is no class {text!r}: {did_you_mean(text, names)} {shown}")


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes: the inverse of `LabelledSet.floats`; values outside are clamped, if finite."""
    if not x.isfinite().all():
        raise ValueError("images with NaN or infinite pixels have no bytes")
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def by_class(y: Tensor) -> dict[int, Tensor]:
    """Where each label that is there stands in y, (N,): places in order."""
    labels, counts = y.unique(return_counts=True)
    return dict(zip(labels.tolist(), y.argsort(stable=True).split(counts.tolist()), strict=True))


def validation_rows(y: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Which samples validation has, (N,) bool: this fraction of every class, at least one, but not the only one."""
    shuffled, chosen = torch.randperm(len(y), generator=generator), torch.zeros(len(y), dtype=torch.bool)
    for places in by_class(y[shuffled]).values():
        chosen[shuffled[places[: min(max(1, round(fraction * len(places))), len(places) - 1)]]] = True
    return chosen


def stratified_order(y: Tensor, generator: torch.Generator) -> Tensor:
    """A random permutation of the samples, (N,) int64, every prefix of which holds the classes in proportion.

    The m samples of a class, in random order, get uniform places in the m equal parts of [0, 1), one in each; all
    samples are then sorted by place. So a prefix that ends at place p holds within one of m p of them.
    """
    y = y.cpu()
    shuffled = torch.randperm(len(y), generator=generator)
    place = torch.rand(len(y), generator=generator, dtype=torch.float64)
    for places in by_class(y[shuffled]).values():
        place[places] = (torch.arange(len(places)) + place[places]) / len(places)
    return shuffled[place.argsort(stable=True)]
