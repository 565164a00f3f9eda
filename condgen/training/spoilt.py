"""What an update that was skipped has seen: in which step, in how many rows, at which noise level, of which class.

It is noted on the device, and nobody waits for it: whoever asks for it does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.schedules import Schedule

__all__ = ["Known", "Spoilt", "in_words"]


class Known(NamedTuple):
    """What is known of an update that was skipped.

    Attributes:
        step: finished steps, this one included.
        rows: of its rows, how many had a loss that was not finite; where none had, the gradient alone was not.
        of: its rows, those of this process.
        noise_level: of the worst row, sigma / alpha; None where the loss has no noise level.
        label: of the worst row.
    """

    step: int
    rows: int
    of: int
    noise_level: float | None
    label: int


class Spoilt(NamedTuple):
    """The last update of a network that was skipped, if there is one, on the device.

    Attributes:
        numbers: step, bad rows, rows, time and label, (5,); all are zero where there is none yet.
        schedule: of the time; None where the loss has none.
    """

    numbers: Tensor
    schedule: Schedule | None

    @staticmethod
    def none_yet(device: torch.device) -> "Spoilt":
        """Nothing was skipped."""
        return Spoilt(torch.zeros(5, dtype=_precise(device), device=device), None)

    def after(
        self, finite: Tensor, step: int, losses: Tensor, y: Tensor, times: tuple[Tensor, Schedule] | None
    ) -> "Spoilt":
        """What is known after one more update.

        Args:
            finite: whether it was taken, scalar bool.
            step: finished steps, this one included.
            losses: of its rows, (b,), detached.
            y: labels, (b,).
            times: of the rows, (b,), and their schedule.
        """
        dtype = self.numbers.dtype
        worst = losses.abs().argmax()[None]  # a NaN counts as the greatest
        bad = (losses * 0 != 0).sum()[None].to(dtype)
        t = self.numbers.new_zeros(1) if times is None else times[0].index_select(0, worst).to(dtype)
        at, of = self.numbers.new_full((1,), step), self.numbers.new_full((1,), len(losses))
        numbers = torch.cat((at, bad, of, t, y.index_select(0, worst).to(dtype)))
        return Spoilt(torch.where(finite, self.numbers, numbers), None if times is None else times[1])

    def read(self) -> Known | None:
        """What is known, or None where nothing was skipped; waits for the device."""
        step, rows, of, t, label = self.numbers.tolist()
        if step == 0:
            return None
        level = None if self.schedule is None else float(self.schedule.noise_level(torch.tensor(t).double()))
        return Known(int(step), int(rows), int(of), level, int(label))


def in_words(known: Known, names: Sequence[str]) -> str:
    """Where it was, as "3 of 8 rows, the worst at noise level 0.31 of class '3'"."""
    at = "" if known.noise_level is None else f" at noise level {known.noise_level:.3g}"
    which = (
        f"{known.rows} of {known.of} rows, the worst" if known.rows else "no row by itself, the one of greatest loss"
    )
    return f"{which}{at} of class {names[known.label]!r}"


def _precise(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Metal has no float64
