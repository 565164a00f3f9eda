"""Short looks at real work: how long a piece of it takes, how much it computes, and what it keeps in memory.

Pieces are first tried on a few rows, then on more. Where all rows would take long, fewer stand for them, and time and
operations count in proportion.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from condgen.data import LabelledSet
from condgen.runs.prepare import Prepared
from condgen.training import Processes, State, TrainingSettings, train
from condgen.training.cost import Live, Operations

__all__ = ["TrainingProbe", "peak_of", "probe", "probe_training", "waiting"]

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
    memory: int  # bytes: weights, gradients, moments, average, frozen networks, and what one step makes at its peak
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


def probe_training(prepared: Prepared, data: LabelledSet, seed: int, processes: Processes) -> TrainingProbe:
    """Trains for a few steps, in memory alone.

    Args:
        prepared: what the stage would train.
        data: the training split.
        seed: of the run.
        processes: of this run.
    """
    settings = prepared.training
    state = State.fresh(prepared.task.models(), settings.betas, settings.optimizer)
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
    with Operations() as operations:
        step(counted)
    peak = peak_of(step, counted, settings.batch)
    weights = sum(parameter.nbytes for parameter in trained)
    average = sum(tensor.nbytes for tensor in state.ema.state_dict().values())
    frozen = {id(p): p.nbytes for module in _modules(prepared) for p in module.parameters()}
    for parameter in trained:
        frozen.pop(id(parameter), None)
    return TrainingProbe(
        parameters=sum(parameter.numel() for parameter in state.ema.parameters()),
        flops=operations.total * share,
        seconds=seconds,
        memory=_OPTIMISER * weights + average + sum(frozen.values()) + peak,
        checkpoint=sum(tensor.nbytes for tensor in state.tensors().values()),
        model=average,
        state=state,
    )


def peak_of(piece: Callable[[int], object], most: int, rows: int) -> int:
    """Bytes that a piece of work makes at its peak with all its rows, from two smaller numbers of them.

    Args:
        piece: does the work on so many rows.
        most: rows that it may be tried on.
        rows: how many there are.
    """
    peaks = {}
    for tried in {max(1, min(most, rows) // 2), min(most, rows)}:
        with Live() as live:
            piece(tried)
        peaks[tried] = live.peak
    (few, low), (many, high) = min(peaks.items()), max(peaks.items())
    each = (high - low) / (many - few) if many > few else 0.0
    return int(high + max(0.0, each) * (rows - many))


def _modules(prepared: Prepared) -> Iterator[nn.Module]:
    """The networks of a task and of the looks at it, those that are frozen too."""
    held = [*vars(prepared.task).values(), *(prepared.check or ())]
    for value in held:
        yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, nn.Module))


def _endless(settings: TrainingSettings, batch: int) -> TrainingSettings:
    """The same training, of another batch, that does not end while it is looked at."""
    return settings.model_copy(update={"batch": batch, "steps": settings.steps + 10 * _MOST, "snapshots": ()})
