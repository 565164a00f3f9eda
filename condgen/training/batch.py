"""One step's data and randomness: a function of (seed, step, row), whatever the number of processes.

Nothing here waits for the device: numbers are drawn on the CPU and follow in its queue.
"""

from functools import lru_cache

import torch
from torch import Tensor

from condgen.data import LabelledSet
from condgen.rng import keyed_generator, normal_rows, to_device
from condgen.schedules import Density, Schedule
from condgen.training.distributed import Processes
from condgen.training.settings import TrainingSettings

_ORDER, _DRAWS = 0, 1  # purposes of keyed generators


class Batch:
    """This process's rows of a batch that all processes agree on, and draws for each.

    Args:
        data: the training set.
        settings: batch size, and whether images are mirrored.
        seed: of the run.
        step: counted from 0.
        processes: how the rows are shared.

    Attributes:
        x: samples, (b, ...), as floats.
        y: labels, (b,).
        y_on_cpu: the same, for what must be known there.
    """

    def __init__(
        self, data: LabelledSet, settings: TrainingSettings, seed: int, step: int, processes: Processes
    ) -> None:
        self._total = settings.batch
        self._rows = processes.rows(settings.batch)
        self._key = (seed, _DRAWS, step)
        self._generator = keyed_generator(*self._key)
        self._drawn = 0  # tables of normal numbers
        self._device = data.x.device
        chosen = _rows_of_step(len(data), settings.batch, seed, step)[self._rows]
        index = to_device(chosen, self._device)
        self.x, self.y, self.y_on_cpu = data.floats(index), data.y[index], data.y_on_cpu[chosen]
        if settings.flip and data.is_images:
            self.x = torch.where(self.chance(0.5)[:, None, None, None], self.x.flip(-1), self.x)

    @property
    def weight(self) -> float:
        """This process's share of the batch."""
        return len(self.x) / self._total

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, (b, *shape)."""
        self._drawn += 1
        key = (*self._key, self._drawn)
        return normal_rows(self._total, self._rows, shape, self._generator, key, self._device)

    def uniform(self) -> Tensor:
        """Uniform draws, (b,) float64 on the CPU, spread evenly over the batch (a shifted lattice): less noise."""
        shift = torch.rand((), generator=self._generator, dtype=torch.float64)
        lattice = (shift + torch.arange(self._total, dtype=torch.float64) / self._total) % 1
        return lattice[torch.randperm(self._total, generator=self._generator)][self._rows]

    def times(self, density: Density, schedule: Schedule) -> Tensor:
        """Times drawn from a density, spread evenly, (b,) float64."""
        t = density.quantile(schedule, self.uniform())
        return t if self._device.type == "mps" else to_device(t, self._device)  # Metal has no float64

    def chance(self, probability: float) -> Tensor:
        """Independent draws, (b,) bool, each true with this probability."""
        draws = torch.rand(self._total, generator=self._generator, dtype=torch.float64)
        return to_device((draws < probability)[self._rows], self._device)


@lru_cache(maxsize=2)  # a batch spans two passes at most, unless it is larger than the data
def _order(n: int, seed: int, epoch: int) -> Tensor:
    """The shuffled rows of one pass over the data."""
    return torch.randperm(n, generator=keyed_generator(seed, _ORDER, epoch))


def _rows_of_step(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Which rows step `step` sees: consecutive slices of one shuffled pass after another."""
    start, stop = step * batch, (step + 1) * batch
    parts = [
        _order(n, seed, epoch)[max(start - epoch * n, 0) : stop - epoch * n]
        for epoch in range(start // n, (stop - 1) // n + 1)
    ]
    return torch.cat(parts)
