"""Short looks at real work: how long a piece of it takes, how much it computes, and what it keeps in memory.

Pieces are first tried on a few rows, then on more. Where all rows would take long, fewer stand for them, and time and
operations count in proportion.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from condgen.data import LabelledSet
from condgen.run.prepare import Prepared
from condgen.training import Processes, State, TrainingSettings, train

__all__ = ["Operations", "TrainingProbe", "probe", "probe_training", "saved_for_backward", "waiting"]

_FEW, _GROWTH = 8, 8  # rows of a first try, and how many times more the next one may have
_PATIENCE = 3.0  # seconds that one piece with all its rows may take
_ENOUGH = 1.0  # seconds of repetitions
_MOST = 50  # repetitions
_OPTIMISER = 4  # numbers a parameter that is trained: itself, its gradient, and Adam's two moments


class TrainingProbe(NamedTuple):
    """A training stage after a few steps."""

    parameters: int  # of the network that is shipped
    flops: float  # of one step
    seconds: float  # of one step
    memory: int  # bytes: weights, gradients, moments, average, and what one step keeps for its backward pass
    checkpoint: int  # bytes of the saved state
    model: int  # bytes of the shipped model
    state: State


def waiting(device: torch.device) -> float:
    """The time, once the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def probe(piece: Callable[[int], object], rows: int, device: torch.device) -> float:
    """Seconds that a piece of work takes with all its rows.

    Args:
        piece: does the work on so many rows.
        rows: how many there are.
        device: where it works.
    """
    tried = min(rows, _FEW)
    piece(tried)  # what happens once alone
    seconds = min(_timed(piece, tried, device) for _ in range(2))
    while tried < rows and seconds * min(rows / tried, _GROWTH) <= _PATIENCE:
        tried = min(rows, _GROWTH * tried)
        seconds = _timed(piece, tried, device)
    times = [seconds]
    while len(times) < _MOST and sum(times) < _ENOUGH:
        times.append(_timed(piece, tried, device))
    return statistics.median(times) * rows / tried


def _timed(piece: Callable[[int], object], rows: int, device: torch.device) -> float:
    started = waiting(device)
    piece(rows)
    return waiting(device) - started


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions, first and second derivatives alike.

    The formulas are those of `torch.utils.flop_counter`, whose own mode follows modules too and cannot do so through
    gradients in the input.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Does what is asked for, and counts it."""
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class _Ledger:
    """Bytes that autograd keeps for the backward pass: now, and at most. Storages that are kept twice count once."""

    def __init__(self, known: set[int]) -> None:
        self.known, self.counts, self.now, self.peak = known, Counter[int](), 0, 0

    def hold(self, address: int, size: int) -> None:
        self.counts[address] += 1
        if self.counts[address] == 1 and address not in self.known:
            self.now += size
            self.peak = max(self.peak, self.now)

    def release(self, address: int, size: int) -> None:
        self.counts[address] -= 1
        if self.counts[address] == 0 and address not in self.known:
            self.now -= size


class _Kept:
    """A tensor that autograd keeps; it tells the ledger when it is let go."""

    def __init__(self, tensor: Tensor, ledger: _Ledger) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.ledger, self.address, self.size = tensor, ledger, storage.data_ptr(), storage.nbytes()
        ledger.hold(self.address, self.size)

    def __del__(self) -> None:
        self.ledger.release(self.address, self.size)


@contextmanager
def saved_for_backward(known: Iterator[Tensor]) -> Iterator[_Ledger]:
    """Counts what autograd keeps meanwhile, except tensors that are known to be there anyway, such as parameters."""
    ledger = _Ledger({tensor.untyped_storage().data_ptr() for tensor in known})
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Kept(tensor, ledger), lambda kept: kept.tensor):
        yield ledger


def probe_training(prepared: Prepared, data: LabelledSet, seed: int, processes: Processes) -> TrainingProbe:
    """Trains for a few steps, in memory alone.

    Args:
        prepared: what the stage would train.
        data: the training split.
        seed: of the run.
        processes: of this run.
    """
    settings, state = prepared.training, State.fresh(prepared.task.models(), prepared.training.betas)
    loops: dict[int, Iterator[Any]] = {}

    def step(rows: int) -> None:
        if rows not in loops:
            loops[rows] = train(prepared.task, state, data, _endless(settings, rows), seed, processes)
        next(loops[rows])

    device = processes.device
    seconds = probe(step, settings.batch, device)
    counted = max(loops)
    share = settings.batch / counted
    trained = [parameter for model in state.models.values() for parameter in model.parameters()]
    before = _device_peak(device)
    with Operations() as operations, saved_for_backward(iter(trained)) as ledger:
        step(counted)
    weights = sum(parameter.nbytes for parameter in trained)
    average = sum(tensor.nbytes for tensor in state.ema.state_dict().values())
    kept = int(ledger.peak * share)
    if device.type == "cuda":
        kept = max(kept, int((torch.cuda.max_memory_allocated(device) - before) * share))
    return TrainingProbe(
        parameters=sum(parameter.numel() for parameter in state.ema.parameters()),
        flops=operations.total * share,
        seconds=seconds,
        memory=_OPTIMISER * weights + average + kept,
        checkpoint=sum(tensor.nbytes for tensor in state.tensors().values()),
        model=average,
        state=state,
    )


def _device_peak(device: torch.device) -> int:
    """Forgets the device's peak; returns what it holds."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _endless(settings: TrainingSettings, batch: int) -> TrainingSettings:
    """The same training, of another batch, that does not end while it is looked at."""
    return settings.model_copy(update={"batch": batch, "steps": settings.steps + 10 * _MOST, "snapshots": ()})
