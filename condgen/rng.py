"""Random numbers that depend on a name, never on history.

A *stream* belongs to one sample and is made from that sample's seed alone, so a sample is the same in a batch of 8, in
8 batches of 1, or on the second of two machines. Training draws from generators keyed by (seed, purpose, step), so
there is no random state to save: going on after an interruption re-creates it.

Numbers are drawn on the CPU and then moved, which makes them equal on every device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Streams", "keyed_generator"]

_SEED_LIMIT = 2**32  # the CPU generator of torch reads 32 bits of its seed


def keyed_generator(*key: int) -> torch.Generator:
    """A CPU generator that is a pure function of a tuple of non-negative integers."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


class Streams:
    """One random stream per sample.

    Args:
        seeds: one seed per sample, each in [0, 2**32).
        device: where the drawn tensors go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        outside = [seed for seed in seeds if not 0 <= seed < _SEED_LIMIT]
        if outside:
            raise ValueError(f"seeds lie in [0, 2**32), which {outside[0]} does not")
        self.seeds = tuple(int(seed) for seed in seeds)
        self.device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def __len__(self) -> int:
        return len(self.seeds)

    def normal(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, rows: Sequence[int] | None = None
    ) -> Tensor:
        """Standard normal draws: the next of every stream, (B, *shape), or of the streams in some rows alone."""
        generators = self._generators if rows is None else [self._generators[row] for row in rows]
        out = torch.empty(len(generators), *shape, dtype=dtype)
        for row, generator in zip(out.unbind(), generators, strict=True):
            row.normal_(generator=generator)
        return out.to(self.device)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform draws in [0, 1), (B, *shape): the next of every stream."""
        out = torch.empty(len(self), *shape, dtype=dtype)
        for row, generator in zip(out.unbind(), self._generators, strict=True):
            row.uniform_(generator=generator)
        return out.to(self.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Lets go of the streams in all other rows."""
        self.seeds = tuple(self.seeds[row] for row in rows)
        self._generators = [self._generators[row] for row in rows]

    def put(self, rows: Sequence[int], others: "Streams") -> None:
        """Puts the streams of others, in order, in the place of those in some rows."""
        seeds = list(self.seeds)
        for row, seed, generator in zip(rows, others.seeds, others._generators, strict=True):
            seeds[row], self._generators[row] = seed, generator
        self.seeds = tuple(seeds)
