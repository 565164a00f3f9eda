"""Feature extractors: from samples to the vectors that distances are measured between."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.checkpoint import load_tensors, save_tensors
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.training import Processes

__all__ = ["Advance", "Extractor", "Features", "Store", "extract", "extract_real", "pixels"]

_MOST_PIXELS = 256  # above it, covariances of a few hundred samples would be mostly noise
_POOLED = 8
_VERSION = 1  # of what happens to samples before a network sees them; another one finds nothing of the earlier


class Features(NamedTuple):
    """What an extractor sees in samples."""

    vectors: Tensor  # (N, F), of any floating type
    logits: Tensor | None = None  # (N, K) of a network that is a classifier too

    def at(self, index: Tensor) -> "Features":
        """Those of some samples."""
        return Features(self.vectors[index], None if self.logits is None else self.logits[index])


class Advance(NamedTuple):
    """How far some work has come."""

    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Extractor:
    """A map from samples to features.

    Args:
        name: what reports call it.
        function: samples (B, ...), images in [-1, 1] or points, to features.
        key: names the function's content, where its features are worth keeping; None where they are made in no time.
        inception: whether figures may bear the names that papers give them with Inception features.
        batch: how many samples the function takes at once.
    """

    name: str
    function: Callable[[Tensor], Features]
    key: str | None = None
    inception: bool = False
    batch: int = 500


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

    def pool(x: Tensor) -> Features:
        return _flatten(torch.nn.functional.adaptive_avg_pool2d(x.double(), size))

    return Extractor(f"pixels pooled to {size[0]}x{size[1]}", pool)


def _flatten(x: Tensor) -> Features:
    return Features(x.double().flatten(1))


def extract(extractor: Extractor, x: Tensor) -> Tensor:
    """Feature vectors of samples (N, ...), computed in batches: (N, F) on the CPU, where statistics are taken."""
    batch = extractor.batch
    starts = range(0, max(len(x), 1), batch)
    return torch.cat([extractor.function(x[start : start + batch]).vectors.cpu() for start in starts])


def extract_real(extractor: Extractor, data: LabelledSet) -> Tensor:
    """Feature vectors of a whole labelled set, in its order: (N, F) on the CPU."""
    return torch.cat([extract(extractor, chunk) for chunk in data.chunks()])


class Store:
    """Features that are kept in a folder by the content of what they were made from, and of what made them.

    Args:
        extractor: whose they are; without a key, nothing is kept.
        folder: where; None keeps nothing.
        processes: those that share the work, and ask for the same features in the same order. Process 0 has the
            features in the end, and keeps them; the others have an empty tensor. None where this process is alone.

    Attributes:
        problem: why features could not be kept, if so; the work goes on.
    """

    def __init__(self, extractor: Extractor, folder: Path | None, processes: Processes | None = None) -> None:
        self.extractor, self.folder = extractor, folder
        self.processes = processes if processes is not None and extractor.key is not None else None
        self.problem: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether many processes share the work; features that are made in no time are made by one."""
        return self.processes is not None and self.processes.count > 1

    def of_samples(self, x: Tensor, what: str) -> Generator[Advance, None, Features]:
        """Features of samples (N, ...), on the CPU.

        Args:
            x: images in [-1, 1], or points.
            what: they are, for those who watch.
        """
        content = hashlib.sha256(repr((tuple(x.shape), str(x.dtype))).encode())
        if self._path("") is not None:
            content.update(x.cpu().contiguous().numpy().tobytes())
        return (yield from self._of(x.split(self.extractor.batch), len(x), content.hexdigest(), what))

    def of_real(self, data: LabelledSet) -> Generator[Advance, None, Features]:
        """Features of a whole labelled set, in its order, on the CPU."""
        batches = (part for chunk in data.chunks() for part in chunk.split(self.extractor.batch))
        return (yield from self._of(batches, len(data), data.fingerprint(), f"{data.source} {data.split}"))

    def _of(self, batches: Iterable[Tensor], n: int, content: str, what: str) -> Generator[Advance, None, Features]:
        path = self._path(content)
        kept = self._read(path, n) if path is not None and self._rank == 0 else None
        if self.processes is not None and self.processes.once(lambda: kept is not None) and kept is None:
            return Features(torch.empty(0, 0))
        if kept is not None:
            return kept
        found: list[Features] = []
        for number, batch in enumerate(batches):
            if number % self._count != self._rank:
                continue
            yield Advance(min(n, sum(len(one.vectors) for one in found) * self._count), n, f"features of {what}")
            features = self.extractor.function(batch)
            found.append(Features(*(None if part is None else part.cpu() for part in features)))  # type: ignore[arg-type]
        if self.processes is not None:
            parts = self.processes.gather(found)
            if not parts:
                return Features(torch.empty(0, 0))
            found = [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]
        logits = [one.logits for one in found if one.logits is not None]
        whole = Features(torch.cat([one.vectors for one in found]), torch.cat(logits) if logits else None)
        broken = int((~whole.vectors.isfinite()).flatten(1).any(1).sum())
        if broken:
            raise UserError(
                f"{self.extractor.name} features of {what} are not finite for {broken} of {n} samples: look at these "
                "samples, or choose other --features"
            )
        if path is not None:
            tensors = {name: part for name, part in whole._asdict().items() if part is not None}
            try:
                save_tensors(path, tensors, {"kind": "features", "extractor": self.extractor.name, "of": what})
            except UserError as error:
                self.problem = str(error)
        return whole

    @property
    def _rank(self) -> int:
        return 0 if self.processes is None else self.processes.rank

    @property
    def _count(self) -> int:
        return 1 if self.processes is None else self.processes.count

    def _path(self, content: str) -> Path | None:
        if self.folder is None or self.extractor.key is None:
            return None
        name = hashlib.sha256(f"{_VERSION} {self.extractor.key} {content}".encode()).hexdigest()[:32]
        return self.folder / f"{name}.safetensors"

    def _read(self, path: Path, n: int) -> Features | None:
        try:
            tensors, _ = load_tensors(path)
        except UserError:  # never written, or cut short: made anew
            return None
        vectors, logits = tensors.get("vectors"), tensors.get("logits")
        kept = [part for part in (vectors, logits) if part is not None]
        if vectors is None or any(part.ndim != 2 or len(part) != n or not part.is_floating_point() for part in kept):
            return None
        return Features(vectors, logits)
