"""Many processes, behind one small class (accelerate underneath).

The total batch is the recipe's unit. Every process draws the whole batch's randomness, which is cheap, and keeps its
own rows; gradients are averaged during the backward pass, bucket by bucket, so that the exchange of some overlaps with
the computation of others (Li et al. 2020, arXiv 2006.15704). The gradient is that of one process up to rounding, and
no module is wrapped: names, second derivatives and pairs of networks stay as they are.

All processes meet in collective calls; process 0 decides, and writes the files. What is on a GPU goes over NCCL, what
is on a CPU over gloo. Where a process is gone, every wait for it ends with `Lost`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce
from torch import Tensor, nn
from torch.distributed import all_reduce

from condgen.errors import UserError

T = TypeVar("T")

_PATIENCE = timedelta(days=1)  # process 0 may evaluate for hours
RESUMES = "the last saved state is whole, and the same command goes on from it"
_BUCKET = 25 * 2**20  # bytes of gradients that are sent together


class Lost(UserError):
    """Another process of this job is gone."""


class Processes:
    """The processes of this run, off accelerators with `cpu`; UserError where a launcher was used wrongly."""

    def __init__(self, cpu: bool = False) -> None:
        if (mixed := os.environ.get("ACCELERATE_MIXED_PRECISION", "")) not in ("", "no"):
            problem = f"the launcher asks for mixed precision {mixed}, which condgen sets for each network"
            advice = "leave it out, and set precision, as --set score.training.precision=auto does"
            raise UserError(f"{problem}: {advice}")
        cpu = cpu or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        settings: dict[str, Any] = {}
        if "LOCAL_RANK" in os.environ:
            cpu = cpu or not (torch.cuda.is_available() or torch.xpu.is_available())
            os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # or accelerate chooses, and warns
            own = "cuda:nccl" if torch.cuda.is_available() else "xpu:xccl"
            settings = {"timeout": _PATIENCE, "backend": "gloo" if cpu else f"{own},cpu:gloo"}
            refuse_shared_gpus(cpu)
        state = PartialState(cpu=cpu, **settings)
        self.rank: int = state.process_index
        self.count: int = state.num_processes
        self.device: torch.device = state.device

    @property
    def is_main(self) -> bool:
        """Whether this process decides, and writes the files."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's share of `total` rows, as even as can be."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    @contextmanager
    def averaging_gradients(self, parameters: Sequence[nn.Parameter], weight: float) -> Iterator[None]:
        """Around one backward pass: leaves each gradient as the sum over processes of `weight` times its own.

        They are sent in equal buckets, in one order everywhere, each as soon as its gradients are there. One that only
        other processes have counts as zero here.
        """
        if self.count == 1:
            yield
            return
        order, size = parameters[::-1], max(1, _BUCKET // 4)  # about as gradients come
        ends = [0, *accumulate(parameter.numel() for parameter in order)]
        flat, late, sent = order[0].new_zeros(ends[-1]).detach(), set(range(len(order))), list[Any]()
        buckets, covers = flat.split(size), [range(a // size, -(-b // size)) for a, b in pairwise(ends)]
        missing = Counter(chain.from_iterable(covers))

        def arrived(place: int, parameter: Tensor) -> None:
            if parameter.grad is not None:
                torch.mul(parameter.grad.flatten(), weight, out=flat[ends[place] : ends[place + 1]])
            late.remove(place)
            missing.subtract(covers[place])
            while len(sent) < len(buckets) and missing[len(sent)] == 0:
                sent.append(self._together(partial(all_reduce, async_op=True), buckets[len(sent)]))

        hooks = [p.register_post_accumulate_grad_hook(partial(arrived, i)) for i, p in enumerate(order)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        for place in sorted(late):  # what this pass gave no gradient
            arrived(place, order[place])
        for work in sent:
            self._together(work.wait)
        for parameter, part in zip(order, flat.split([each.numel() for each in order]), strict=True):
            if parameter.grad is not None or bool(part.any()):
                parameter.grad = part.view_as(parameter)

    def average(self, value: Tensor, weight: float) -> Tensor:
        """The sum over processes of `weight` times a value."""
        return value if self.count == 1 else self._together(reduce, value * weight, "sum")

    def gather_rows(self, part: Tensor, total: int) -> Tensor:
        """The rows of all processes, (total, ...), from the first of this one's, its share `self.rows(total)`."""
        rows = self.rows(total)
        part = part[: rows.stop - rows.start]
        if self.count == 1:
            return part
        whole = part.new_zeros(total, *part.shape[1:])
        whole[rows] = part
        return self._together(reduce, whole, "sum")

    def gather(self, value: T) -> list[T]:
        """What every process has, by rank, in process 0; nothing elsewhere."""
        found: list[T] = self._together(gather_object, [value])
        return found if self.is_main else []

    def once(self, function: Callable[[], T]) -> T:
        """What a function returns in process 0, in every process; its error ends process 0, and all by `Lost`."""
        return self._together(broadcast_object_list, [function() if self.is_main else None])[0]

    def in_turn(self, function: Callable[[], T]) -> T:
        """Calls a function in process 0 first, which may fetch a file, and then in all others."""
        if not self.is_main:
            self.wait()
        found = function()
        if self.is_main:
            self.wait()
        return found

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes something, such as to stop: at the same call, all get the same answer."""
        return wish if self.count == 1 else bool(self._together(reduce, torch.tensor(int(wish)), "max"))

    def wait(self) -> None:
        """Returns once every process is here, however long that takes."""
        self.agree(False)

    def _together(self, collective: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - what it returns
        try:
            return collective(*arguments)
        except RuntimeError as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
            problem = f"another of the {self.count} processes of this job is gone: killed, out of memory, or cut off"
            raise Lost(f"{problem} ({reason}); {RESUMES}") from error


def refuse_shared_gpus(cpu: bool) -> None:
    """Raises where torchrun has started more processes than there are GPUs: NCCL fails then, with no clear word."""
    count, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not cpu and "TORCHELASTIC_RUN_ID" in os.environ and 0 < count < local:
        gpus = f"{count} GPU{'s' * (count > 1)}"
        raise UserError(f"{local} processes were started for {gpus}: start {count}, or set ACCELERATE_USE_CPU=true")
