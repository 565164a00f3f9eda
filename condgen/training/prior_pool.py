"""A frozen score model's estimates for noised images, computed once and kept on disk.

A step of DLSM asks the prior at every noised image, which may cost more than all the rest, and an image serves a small
classifier several times before it knows it by heart. So training draws from an endless, numbered sequence of noised
images, each a function of its number alone, stored in chunks that classifiers, seeds and processes share.

At first every entry is fresh. Once `pool` entries exist, one in `reuse` is, and the others are drawn from the last
`pool`. Which entry stands where is a function of seed and step, so that training resumes exactly.
"""

import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from condgen.checkpoint import load_tensors, save_tensors
from condgen.data.labelled import LabelledSet
from condgen.denoiser import Denoiser
from condgen.rng import float64_device, to_device
from condgen.schedules import Density, perturb
from condgen.training.batch import Batch, mirror
from condgen.training.distributed import Processes
from condgen.training.settings import PriorSettings, TrainingSettings

_CHUNK = 128  # entries of a file, which the prior sees at once
_SEED = 0  # of all pools


class PooledPrior(PriorSettings):
    pool: int = Field(default=0, ge=0, description="noised images whose estimates are kept on disk and reused; 0: none")
    reuse: int = Field(default=8, gt=0, description="how often an entry of the pool is used, on average")


@dataclass(eq=False)
class PriorPool:
    """Noised images with the prior's estimates, in a folder for one score model, data set, density and mirroring."""

    prior: Denoiser
    data: LabelledSet
    density: Density
    settings: PooledPrior
    training: TrainingSettings
    folder: Path
    processes: Processes
    _chunks: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False)

    def fits(self, entries: int) -> bool:
        """Whether the folder can be written and has room for the files, if training draws so many entries."""
        missing = sum(not self._path(chunk).exists() for chunk in range(-(-self._fresh_before(entries) // _CHUNK)))
        nearest = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        needed = missing * _CHUNK * 4 * math.prod(self.data.shape)
        return not missing or (os.access(nearest, os.W_OK) and needed < shutil.disk_usage(nearest).free)

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Entries in place of a batch's data: clean x (b, ...), labels (b,), times (b,), noise, the estimate of it."""
        every = self._entries(batch)
        self._load(sorted(set((every // _CHUNK).tolist())))
        oldest = self._fresh_before(batch.step * batch.total) - self.settings.pool
        for chunk in [chunk for chunk in self._chunks if (chunk + 1) * _CHUNK <= oldest]:
            del self._chunks[chunk]
        own, device = every[batch.rows].tolist(), self.data.x.device

        def column(name: str) -> Tensor:
            found = torch.stack([self._chunks[entry // _CHUNK][name][entry % _CHUNK] for entry in own])
            return to_device(found, float64_device(device) if name == "t" else device)

        index = column("index")
        x = mirror(self.data.floats(index), column("mirrored")) if self.data.is_images else self.data.floats(index)
        return x, self.data.y[index], column("t"), column("eps").float(), column("prior_eps").float()

    def _fresh_before(self, position: int) -> int:
        """How many fresh entries stand before a position of the sequence that training draws."""
        pool, reuse = self.settings.pool, self.settings.reuse
        return min(position, pool) + max(position - pool, 0) // reuse

    def _entries(self, batch: Batch) -> Tensor:
        """The numbers of the entries of a whole batch, (B,) int64."""
        places = range(batch.step * batch.total, (batch.step + 1) * batch.total)
        fresh = torch.tensor([self._fresh_before(place) for place in (*places, places.stop)])
        last = fresh[1:] - 1  # the newest entry
        back = (batch.uniform_of_all() * self.settings.pool).long().clamp(max=self.settings.pool - 1)
        return torch.where(fresh[1:] > fresh[:-1], last, last - back)

    def _load(self, chunks: list[int]) -> None:
        """Brings chunks to memory; the processes share the making of those that are missing."""
        if not (absent := [chunk for chunk in chunks if chunk not in self._chunks]):
            return
        count = self.processes.count
        for chunk in sorted({chunk // count * count + self.processes.rank for chunk in absent}):
            if not self._path(chunk).exists():
                save_tensors(self._path(chunk), self._made(chunk), {"kind": "estimates of a prior"})
        self.processes.wait()
        for chunk in absent:
            self._chunks[chunk] = load_tensors(self._path(chunk))[0]

    @torch.no_grad()
    def _made(self, chunk: int) -> dict[str, Tensor]:
        batch = Batch(self.data, self.training.model_copy(update={"batch": _CHUNK}), _SEED, chunk)
        t = batch.times(self.density, self.prior.schedule)
        eps = batch.normal(*self.data.shape).half()  # what is stored is the noise
        x_t = perturb(self.prior.schedule, batch.x, t, eps.float())
        rows = self.training.micro_batch or _CHUNK
        estimates = [self.prior.eps(*part) for part in zip(x_t.split(rows), t.split(rows), strict=True)]
        made = {"index": batch.index, "mirrored": batch.mirrored, "t": t, "eps": eps}
        return made | {"prior_eps": torch.cat(estimates).half()}

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.safetensors"
