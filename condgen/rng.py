"""Random numbers that depend on a name, never on history.

A *stream* is made from one sample's seed alone, so a sample is the same in a batch of 8, in 8 batches of 1, or on the
second of two machines. Training draws from generators keyed by (seed, purpose, step). Numbers are drawn on the CPU,
which makes them equal on every device.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

WITHOUT_FLOAT64 = ("mps",)  # types of devices
_BLOCK = 2**16  # numbers: half a millisecond of one generator, much longer than making it takes


def keyed_seed(*key: int) -> int:
    """In [0, 2**32), a pure function of non-negative integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint32)[0])


def keyed_generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(keyed_seed(*key))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same numbers on a device, copied while both go on with other work."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def device_of(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in chain(module.parameters(), module.buffers())), torch.device("cpu"))


def float64_device(device: torch.device) -> torch.device:
    """The device, or the CPU in place of one without float64, such as Metal."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def to_float64(tensor: Tensor) -> Tensor:
    return tensor.to(float64_device(tensor.device)).double()


def normal_rows(
    total: int, rows: slice, shape: Sequence[int], generator: torch.Generator, key: Sequence[int], device: torch.device
) -> Tensor:
    """Some rows of a table of standard normal draws, (b, *shape), equal to those of the whole table bit for bit.

    A table of up to 2^16 numbers is drawn from `generator`, as a whole by every process. Of a larger one, only the
    blocks that hold the rows are drawn, block k from a generator keyed by (*key, k), on as many threads as torch has.
    """
    each = max(1, _BLOCK // max(1, int(np.prod(shape))))
    if total <= each:
        return to_device(torch.randn(total, *shape, generator=generator)[rows], device)
    first, last = rows.start // each, -(-rows.stop // each)  # the blocks that hold the rows
    count = min(last * each, total) - first * each
    whole = torch.empty(count, *shape, dtype=torch.float32, pin_memory=device.type == "cuda")

    def fill(block: int) -> None:
        start = (block - first) * each
        whole[start : start + each].normal_(generator=keyed_generator(*key, block))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(first, last)))
    return to_device(whole[rows.start - first * each : rows.stop - first * each], device)


class Streams:
    """One random stream per sample, made from its seed in [0, 2**32); what is drawn goes to the device."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        if outside := [seed for seed in seeds if not 0 <= seed < 2**32]:  # torch's CPU generator reads 32 bits
            raise ValueError(f"seeds lie in [0, 2**32), which {outside[0]} does not")
        self.seeds = tuple(int(seed) for seed in seeds)
        self.device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def __len__(self) -> int:
        return len(self.seeds)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal draws, (B, *shape): the next of every stream."""
        out = torch.empty(len(self), *shape, dtype=dtype)
        for row, generator in zip(out.unbind(), self._generators, strict=True):
            row.normal_(generator=generator)
        return out.to(self.device)
