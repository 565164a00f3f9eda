"""One step's data and randomness: a function of (seed, step, row), whatever the number of processes."""

from functools import lru_cache

import torch
from torch import Tensor

from condgen.data.labelled import LabelledSet
from condgen.rng import float64_device, keyed_generator, normal_rows, to_device
from condgen.schedules import Density, Schedule
from condgen.training.settings import TrainingSettings

_ORDER, _DRAWS = 0, 1  # purposes of keyed generators


class Batch:
    """Rows of a batch that all processes agree on, by default all of them, and draws for each.

    Attributes:
        index: where the samples lie in the training set, (b,), on the CPU.
        mirrored: which of them are mirrored, (b,) bool.
        x: samples, (b, ...), as floats.
        y: labels, (b,).
    """

    def __init__(
        self, data: LabelledSet, settings: TrainingSettings, seed: int, step: int, rows: slice | None = None
    ) -> None:
        self.total = settings.batch
        self.step, self.rows = step, rows or slice(0, settings.batch)
        self._key = (seed, _DRAWS, step)
        self._generator = keyed_generator(*self._key)
        self._drawn = 0  # tables of normal numbers
        self._device = data.x.device
        self.index = _rows_of_step(len(data), settings.batch, seed, step)[self.rows]
        index = to_device(self.index, self._device)
        self.y, self.y_on_cpu = data.y[index], data.y_on_cpu[self.index]
        flips = settings.flip and data.is_images
        self.mirrored = self.chance(0.5) if flips else torch.zeros_like(self.y, dtype=torch.bool)
        self.x = mirror(data.floats(index), self.mirrored) if flips else data.floats(index)
        self.weight = len(self.x) / self.total

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, (b, *shape)."""
        self._drawn += 1
        key = (*self._key, self._drawn)
        return normal_rows(self.total, self.rows, shape, self._generator, key, self._device)

    def uniform_of_all(self) -> Tensor:
        """Uniform draws for the whole batch, (B,) float64 on the CPU, spread evenly (a shifted lattice): less noise."""
        shift = torch.rand((), generator=self._generator, dtype=torch.float64)
        lattice = (shift + torch.arange(self.total, dtype=torch.float64) / self.total) % 1
        return lattice[torch.randperm(self.total, generator=self._generator)]

    def times(self, density: Density, schedule: Schedule) -> Tensor:
        """Times drawn from a density, spread evenly, (b,) float64."""
        return to_device(density.quantile(schedule, self.uniform_of_all()[self.rows]), float64_device(self._device))

    def chance(self, probability: float) -> Tensor:
        """Independent draws, (b,) bool, each true with this probability."""
        draws = torch.rand(self.total, generator=self._generator, dtype=torch.float64)
        return to_device((draws < probability)[self.rows], self._device)


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """Images (b, C, H, W), those where `mirrored` (b,) holds left to right."""
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


@lru_cache(maxsize=2)  # a batch spans two passes at most, unless it is larger than the data
def _order(n: int, seed: int, epoch: int) -> Tensor:
    """The shuffled rows of one pass over the data."""
    return torch.randperm(n, generator=keyed_generator(seed, _ORDER, epoch))


def _rows_of_step(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Which rows step `step` sees: consecutive slices of one shuffled pass after another."""
    start, stop = step * batch, (step + 1) * batch
    epochs = range(start // n, (stop - 1) // n + 1)
    return torch.cat([_order(n, seed, epoch)[max(start - epoch * n, 0) : stop - epoch * n] for epoch in epochs])
