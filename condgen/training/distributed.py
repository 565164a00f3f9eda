"""Many processes, behind one small class (accelerate underneath).

The total batch is the recipe's unit. Every process draws the whole batch's randomness, which is cheap, and keeps its
own rows; gradients are averaged after the backward pass. The gradient is therefore that of one process, up to rounding,
however many there are, and no module is wrapped: names, second derivatives and pairs of networks stay as they are.

All processes run the same code, and meet in its collective calls; process 0 decides, and writes the files. Gradients go
over the devices' own connections (NCCL), whatever else over those of the processors (gloo), where a wait may last as
long as it likes: process 0 may evaluate for an hour. A process that is gone is noticed at once all the same, since its
connections close; every wait for it then ends with `Lost`.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn

from condgen.errors import UserError

__all__ = ["Lost", "Processes"]

T = TypeVar("T")

_SOON = timedelta(minutes=30)  # all processes reach a gradient at about the same time, compilation included
_LATE = timedelta(days=30)  # one process may have work of its own
_PACE, _MOST_CALLS = 1.0, 32  # processes agree about once in so many seconds, and after so many calls at the latest


class Lost(UserError):
    """Another process of this job is gone."""


class Processes:
    """The processes of this run; one where no launcher was used.

    Args:
        cpu: stay off accelerators, as $ACCELERATE_USE_CPU asks for too.

    Raises:
        UserError: where a launcher was used in a way that cannot work.
    """

    def __init__(self, cpu: bool = False) -> None:
        cpu = cpu or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        settings: dict[str, Any] = {}
        if "LOCAL_RANK" in os.environ:
            cpu = cpu or not (torch.cuda.is_available() or torch.xpu.is_available())
            os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # or accelerate chooses, and warns
            settings = {"timeout": _SOON} | ({"backend": "gloo"} if cpu else {})
            refuse_shared_gpus(cpu)
        self._state = PartialState(cpu=cpu, **settings)
        self.rank: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.device: torch.device = self._state.device
        self._calls, self._due, self._agreed = 0, 1, time.monotonic()
        if self.count > 1:
            _talk()

    @property
    def is_main(self) -> bool:
        """Whether this process decides, and writes the files."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's share of `total` rows, as even as can be."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def average_gradients(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        """Replaces each gradient by the sum over processes of `weight` times it.

        Args:
            parameters: the parameters that were differentiated.
            weight: this process's share of the batch, rows / total.
        """
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * weight
        with _connected():
            distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, value: Tensor, weight: float) -> Tensor:
        """The sum over processes of `weight` times a metric."""
        if self.count == 1:
            return value
        value = value * weight
        with _connected():
            distributed.all_reduce(value)
        return value

    def gather_rows(self, part: Tensor, total: int) -> Tensor:
        """The rows of all processes, (total, ...), from this one's share of them.

        Args:
            part: rows `self.rows(total)`, on this process's device.
            total: how many there are in all.
        """
        if self.count == 1:
            return part
        whole = part.new_zeros(total, *part.shape[1:])
        whole[self.rows(total)] = part
        with _connected():
            distributed.all_reduce(whole)
        return whole

    def gather(self, value: T) -> list[T]:
        """What every process has, by rank, in process 0; nothing elsewhere."""
        if self.count == 1:
            return [value]
        found: list[Any] | None = [None] * self.count if self.is_main else None
        with _connected():
            distributed.gather_object(value, found, group=_talk())
        return found or []

    def share(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of process 0, on the CPU, in every process."""
        return self.once(lambda: {name: tensor.detach().cpu() for name, tensor in tensors.items()})

    def once(self, function: Callable[[], T]) -> T:
        """Calls a function in process 0 alone; every process goes on with what it returns, once it has.

        An error ends process 0, and thereby all the others, which find themselves `Lost`.
        """
        if self.count == 1:
            return function()
        box: list[Any] = [function() if self.is_main else None]
        with _connected():
            distributed.broadcast_object_list(box, src=0, group=_talk())
        found: T = box[0]
        return found

    def in_turn(self, function: Callable[[], T]) -> T:
        """Calls a function in process 0 first, which may fetch a file, and then in all others."""
        if not self.is_main:
            self.wait()
        found = function()
        if self.is_main:
            self.wait()
        return found

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes something, such as to stop: at the same call, all get the same answer.

        They ask each other about once a second, whatever the time between calls, and say no in between. Devices work on
        meanwhile: the question goes from processor to processor.
        """
        if self.count == 1:
            return wish
        self._calls += 1
        if self._calls < self._due:
            return False
        now = time.monotonic()
        calls = min(_MOST_CALLS, int(self._calls * _PACE / max(now - self._agreed, 1e-6)))
        votes = torch.tensor([int(wish), -max(1, calls)])
        with _connected():
            distributed.all_reduce(votes, distributed.ReduceOp.MAX, group=_talk())
        self._calls, self._due, self._agreed = 0, -int(votes[1]), now
        return bool(votes[0])

    def wait(self) -> None:
        """Returns once every process is here, however long that takes."""
        if self.count > 1:
            with _connected():
                distributed.barrier(group=_talk())


def refuse_shared_gpus(cpu: bool) -> None:
    """Raises where torchrun has started more processes than there are GPUs: NCCL fails then, with no clear word."""
    count, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not cpu and "TORCHELASTIC_RUN_ID" in os.environ and 0 < count < local:
        raise UserError(
            f"{local} processes were started on a machine with {count} GPU{'s' * (count > 1)}: start {count}, "
            "or set ACCELERATE_USE_CPU=true"
        )


@cache
def _talk() -> distributed.ProcessGroup:
    """The connections of the processors; there is one set of them, and making it is a collective call."""
    group = distributed.new_group(backend="gloo", timeout=_LATE)
    assert isinstance(group, distributed.ProcessGroup)  # of all processes, so this one is a member
    return group


@contextmanager
def _connected() -> Iterator[None]:
    """Around collective calls."""
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise Lost(
            f"another of the {distributed.get_world_size()} processes of this job is gone: killed, out of memory, or "
            f"cut off ({reason}); the last saved state is whole, and the same command goes on from it"
        ) from error
