r"""Brownian paths that stay the same when a step is rejected.

To draw anew after a rejection would favour the noise that is easily accepted, and so bias the samples. When a shorter
step is tried within an increment :math:`W` over a length :math:`L`, the increment over its first part :math:`l` is
drawn from the Brownian bridge,

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

_SAME = 1e-12  # relative: lengths that differ by less are one length, seen through rounding


class _Segment(NamedTuple):
    length: float
    increment: Tensor  # (...)


class BrownianPath:
    """The path of one sample: the increments drawn so far, from its present point on."""

    def __init__(self, streams: Streams, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        self.streams, self.shape, self._dtype = streams, shape, dtype
        self._ahead: list[_Segment] = []  # nearest first

    def increment(self, length: float) -> Tensor:
        """The increment over a length ahead, (...), drawn as far as it is not known yet."""
        count, left = self._reach(length)
        if left > 0:
            beyond = self._ahead[count].length if count < len(self._ahead) else math.inf
            drawn = self.streams.normal(self.shape, self._dtype)[0] * math.sqrt(left * (1 - left / beyond))
            if count < len(self._ahead):
                whole = self._ahead[count]
                drawn = drawn + left / whole.length * whole.increment
                self._ahead[count] = _Segment(whole.length - left, whole.increment - drawn)
            self._ahead.insert(count, _Segment(left, drawn))
            count += 1
        return reduce(torch.add, (segment.increment for segment in self._ahead[:count]))

    def advance(self, length: float) -> None:
        """Moves the present point by a length that `increment` has been called with."""
        del self._ahead[: self._reach(length)[0]]

    def _reach(self, length: float) -> tuple[int, float]:
        """How many segments lie wholly within a length, and what is left of the length after them."""
        count, left = 0, length
        for segment in self._ahead:
            if segment.length > left * (1 + _SAME) or left <= length * _SAME:
                break
            count, left = count + 1, left - segment.length
        return count, left if left > length * _SAME else 0.0
