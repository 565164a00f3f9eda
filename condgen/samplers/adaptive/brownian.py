r"""Brownian motion that remembers what it has shown.

An adaptive solver looks at the noise of a step before it decides whether to take it. To draw anew after a rejection
would favour the noise that is easily accepted, and so bias the samples; the path must stay the same path. When a
shorter step is tried within an increment :math:`W` over a length :math:`L`, the increment over its first part
:math:`l` is therefore drawn from the Brownian bridge,

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
    """A Brownian path per sample: known where it has been looked at, from its present point on.

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
        self._look(rows, lengths)
        found = []
        for row, length in zip(rows, lengths, strict=True):
            within = self._ahead[row][: self._reach(row, length)[0]]
            found.append(reduce(torch.add, (segment.value for segment in within)))
        return torch.stack(found)

    def advance(self, rows: Sequence[int], lengths: Sequence[float]) -> None:
        """Moves the paths in some rows on, by lengths that `increments` has been asked for."""
        for row, length in zip(rows, lengths, strict=True):
            del self._ahead[row][: self._reach(row, length)[0]]

    def forget(self, rows: Sequence[int]) -> None:
        """Forgets what was seen ahead: the paths in these rows will be drawn anew, which is not the same motion."""
        for row in rows:
            self._ahead[row] = []

    def keep(self, rows: Sequence[int]) -> None:
        """Lets go of the paths in all other rows; the streams are their owner's to keep."""
        self._ahead = [self._ahead[row] for row in rows]

    def put(self, rows: Sequence[int], others: "BrownianMemory") -> None:
        """Puts the paths of others, in order, in the place of those in some rows."""
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

    def _look(self, rows: Sequence[int], lengths: Sequence[float]) -> None:
        """Draws what is not yet known of the paths at these lengths: their ends, or a point on a bridge."""
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
