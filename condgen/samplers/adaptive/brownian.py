r"""Brownian paths that stay the same when a step is rejected.

An adaptive solver sees the noise of a step before it decides whether to take it. To draw anew after a rejection would
favour the noise that is easily accepted, and so bias the samples. When a shorter step is tried within an increment
:math:`W` over a length :math:`L`, the increment over its first part :math:`l` is drawn from the Brownian bridge,

.. math:: W_l \mid W \sim \mathcal{N}\big(\tfrac{l}{L} W,\ \tfrac{l (L - l)}{L} I\big),

and the rest :math:`W - W_l` is kept for what follows (Rackauckas & Nie 2017, "Adaptive methods for stochastic
differential equations via natural embeddings and rejection sampling with memory").
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.rng import Streams
from condgen.schedules import expand

__all__ = ["BrownianMemory"]

_SAME = 1e-12  # relative: lengths that differ by less are one length, seen through rounding


class _Segment(NamedTuple):
    """An increment that has been drawn, over a stretch of the clock."""

    length: float
    value: Tensor  # (...), of one sample


class BrownianMemory:
    """A Brownian path per sample: the increments drawn so far, from its present point on.

    Args:
        streams: a random stream per sample.
        shape: the shape of one sample.
        dtype: of the increments.
    """

    def __init__(self, streams: Streams, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        self.streams, self.shape, self.dtype = streams, tuple(shape), dtype
        self._ahead: list[list[_Segment]] = [[] for _ in range(len(streams))]  # nearest first

    def increments(self, rows: Sequence[int], lengths: Sequence[float]) -> Tensor:
        """The increments of the paths in some rows over lengths of the clock ahead of them, (len(rows), *shape)."""
        self._draw(rows, lengths)
        found = []
        for row, length in zip(rows, lengths, strict=True):
            within = self._ahead[row][: self._reach(row, length)[0]]
            found.append(reduce(torch.add, (segment.value for segment in within)))
        return torch.stack(found)

    def advance(self, rows: Sequence[int], lengths: Sequence[float]) -> None:
        """Moves the present point of the paths in some rows, by lengths that `increments` has been called with."""
        for row, length in zip(rows, lengths, strict=True):
            del self._ahead[row][: self._reach(row, length)[0]]

    def forget(self, rows: Sequence[int]) -> None:
        """Drops what has been drawn ahead in some rows, which biases the samples."""
        for row in rows:
            self._ahead[row] = []

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows; the streams are kept by their owner."""
        self._ahead = [self._ahead[row] for row in rows]

    def put(self, rows: Sequence[int], others: "BrownianMemory") -> None:
        """Replaces some rows by those of others, in order."""
        for row, ahead in zip(rows, others._ahead, strict=True):
            self._ahead[row] = ahead

    def _reach(self, row: int, length: float) -> tuple[int, float]:
        """How many segments lie wholly within a length, and what is left of the length after them."""
        count, left = 0, length
        for segment in self._ahead[row]:
            if segment.length > left * (1 + _SAME) or left <= length * _SAME:
                break
            count, left = count + 1, left - segment.length
        return count, left if left > length * _SAME else 0.0

    def _draw(self, rows: Sequence[int], lengths: Sequence[float]) -> None:
        """Draws the paths at these lengths where they are not known: beyond their ends, or within a segment."""
        drawing: list[int] = []
        spreads: list[float] = []
        places: list[tuple[int, float]] = []
        for row, length in zip(rows, lengths, strict=True):
            count, left = self._reach(row, length)
            if left > 0:
                beyond = self._ahead[row][count].length if count < len(self._ahead[row]) else math.inf
                drawing.append(row)
                places.append((count, left))
                spreads.append(math.sqrt(left * (1 - left / beyond)))
        if not drawing:
            return
        fresh = self.streams.normal(self.shape, self.dtype, drawing)
        fresh = expand(torch.tensor(spreads, dtype=torch.float64), fresh) * fresh
        for row, (count, left), value in zip(drawing, places, fresh, strict=True):
            ahead = self._ahead[row]
            if count < len(ahead):
                whole = ahead[count]
                value = value + left / whole.length * whole.value
                ahead[count] = _Segment(whole.length - left, whole.value - value)
            ahead.insert(count, _Segment(left, value))
