"""Where samples stopped being made of finite numbers: noted on the device at every step, and read at the end."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["NotFinite", "Track", "finite_rows", "out_of_range"]


class NotFinite(NamedTuple):
    """Where a sample was first seen not to be finite.

    Attributes:
        evaluation: of the denoiser, counted from 1.
        noise_level: sigma / alpha of the state that was not not_finite yet.
    """

    evaluation: int
    noise_level: float

    def __str__(self) -> str:
        at = f"evaluation {self.evaluation:,} on, at noise level {self.noise_level:.3g}"
        return f"its numbers are not finite from {at}"


def finite_rows(x: Tensor) -> list[bool]:
    """For each sample of (B, ...), whether all of its numbers are finite; waits for the device."""
    found: list[bool] = x.flatten(1).isfinite().all(1).tolist()
    return found


class Track:
    """A sum of every sample after each step: a number that is not finite makes the sum such a one, and stays in it."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._evaluations: list[int] = []

    def note(self, x: Tensor, evaluations: int) -> None:
        """Takes in the states (B, ...) after so many evaluations; waits for nothing."""
        self._sums.append(x.flatten(1).sum(1))
        self._evaluations.append(evaluations)

    def read(self, row: int, noise_levels: Sequence[float]) -> NotFinite:
        """Where a sample that is not finite at the end broke; waits for the device.

        Args:
            row: of the sample.
            noise_levels: of the states that were noted, in order.
        """
        bad = (~torch.stack([sums[row] for sums in self._sums]).isfinite()).tolist()
        last = len(bad) - 1
        first = next((step for step in range(last + 1) if all(bad[step:])), last)
        return NotFinite(self._evaluations[first], noise_levels[max(0, first - 1)])


def out_of_range(x: Tensor, times: float = 10.0) -> list[bool]:
    """For each image of (B, C, H, W), whether a pixel is so many times beyond [-1, 1], and finite."""
    peaks = x.flatten(1).abs().amax(1).tolist()
    return [times < peak < math.inf for peak in peaks]
