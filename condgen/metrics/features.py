"""Feature extractors: from samples to the vectors that distances are measured between."""

import hashlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.checkpoint import load_tensors, save_tensors
from condgen.data.labelled import LabelledSet
from condgen.errors import UserError
from condgen.rng import to_float64

_MOST_PIXELS = 256  # above it, covariances of a few hundred samples would be mostly noise
_POOLED = 8
_VERSION = 1  # of what happens to samples before a network sees them; another one finds nothing of the earlier


class Features(NamedTuple):
    vectors: Tensor  # (N, F), of any floating type
    logits: Tensor | None = None  # (N, K) of a network that is a classifier too

    def at(self, index: Tensor) -> "Features":
        return Features(self.vectors[index], None if self.logits is None else self.logits[index])


class Advance(NamedTuple):
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Extractor:
    name: str  # what reports call it
    function: Callable[[Tensor], Features]  # samples (B, ...), images in [-1, 1] or points, to features
    key: str | None = None  # of its content; None where features are made in no time, and not kept
    inception: bool = False  # whether figures may bear the names that papers give them with Inception features
    batch: int = 500  # how many samples the function takes at once


def pixels(shape: tuple[int, ...]) -> Extractor:
    """The samples themselves, flattened; images of more than 256 numbers are first averaged down to 8 x 8 pixels."""
    if len(shape) == 1:
        return Extractor("coordinates", _flatten)
    if math.prod(shape) <= _MOST_PIXELS:
        return Extractor("pixels", _flatten)
    size = (min(_POOLED, shape[1]), min(_POOLED, shape[2]))

    def pool(x: Tensor) -> Features:
        return _flatten(torch.nn.functional.adaptive_avg_pool2d(to_float64(x), size))

    return Extractor(f"pixels pooled to {size[0]}x{size[1]}", pool)


def _flatten(x: Tensor) -> Features:
    return Features(to_float64(x).flatten(1))


def extract(extractor: Extractor, x: Tensor) -> Tensor:
    """Feature vectors of samples (N, ...), computed in batches: (N, F) on the CPU, where statistics are taken."""
    with torch.no_grad():
        return torch.cat([extractor.function(part).vectors.cpu() for part in x.split(extractor.batch)])


class Store:
    """Features that are kept in a folder by the content of what they were made from, and of what made them."""

    def __init__(self, extractor: Extractor, folder: Path | None) -> None:
        self.extractor, self.folder = extractor, None if extractor.key is None else folder
        self.problem: str | None = None  # why features could not be kept; the work goes on

    def of_samples(self, x: Tensor, what: str) -> Generator[Advance, None, Features]:
        content = hashlib.sha256(repr((tuple(x.shape), str(x.dtype))).encode())
        if self.folder is not None:
            content.update(x.cpu().contiguous().numpy().data)
        return (yield from self._of(lambda rows: x[rows], len(x), content.hexdigest(), what))

    def of_real(self, data: LabelledSet) -> Generator[Advance, None, Features]:
        places, what = torch.arange(len(data)), f"{data.source} {data.split}"
        return (yield from self._of(lambda rows: data.floats(places[rows]), len(data), data.fingerprint(), what))

    def _of(self, take: Callable[[slice], Tensor], n: int, key: str, what: str) -> Generator[Advance, None, Features]:
        path, size = None, self.extractor.batch
        if self.folder is not None:
            name = hashlib.sha256(f"{_VERSION} {self.extractor.key} {key}".encode()).hexdigest()[:32]
            path = self.folder / f"{name}.safetensors"
            if (kept := _read(path, n)) is not None:
                return kept
        found: dict[str, list[Tensor]] = {}
        for start in range(0, n, size):
            yield Advance(start, n, f"features of {what}")
            with torch.no_grad():
                features = self.extractor.function(take(slice(start, start + size)))
            for name, part in features._asdict().items():
                if part is not None:
                    found.setdefault(name, []).append(part.cpu())
        tensors = {name: torch.cat(parts) for name, parts in found.items()}
        whole = Features(**tensors)
        if broken := int((~whole.vectors.isfinite()).flatten(1).any(1).sum()):
            problem = f"{self.extractor.name} features of {what} are not finite for {broken} of {n} samples"
            raise UserError(f"{problem}: look at these samples, or choose other --features")
        if path is not None:
            try:
                save_tensors(path, tensors, {"kind": "features", "extractor": self.extractor.name, "of": what})
            except UserError as error:
                self.problem = str(error)
        return whole


def _read(path: Path, n: int) -> Features | None:
    try:
        tensors, _ = load_tensors(path)
    except UserError:
        return None
    if not tensors or any(part.ndim != 2 or len(part) != n for part in tensors.values()):
        return None
    return Features(tensors["vectors"], tensors.get("logits"))
