"""The training loop: it yields a record after each step, and the caller logs, draws, saves or stops.

All that is random is a function of (seed, step), so that going on after an interruption gives the same weights, bit for
bit. With `micro_batch`, the gradient is a sum over parts of the rows, the same up to rounding, dropout masks, and a
power iteration of spectral normalisation for each part. An update whose loss or gradient is not finite is skipped,
counted in the state, and described in the record; after `skip_limit` of them in a row, training ends.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from condgen.data.labelled import LabelledSet
from condgen.errors import UserError
from condgen.losses.base import Losses
from condgen.rng import keyed_seed
from condgen.training.batch import Batch
from condgen.training.distributed import Processes
from condgen.training.settings import TrainingSettings, learning_rate_factor, lighten_
from condgen.training.state import State

_DROPOUT = 2  # a purpose of keyed generators, beside those of a batch

LossFunction: TypeAlias = Callable[..., Losses]
"""Rows of tensors, each (b, ...), to their losses."""

Apply: TypeAlias = Callable[..., dict[str, Tensor]]
"""`apply(part, losses, *tensors)` differentiates the mean of `losses(*tensors)["loss"]` in the network named `part`,
steps its optimiser, and returns the means of all losses over this process's rows, on the device.

The losses evaluate every network that they need themselves and draw nothing: rows of the tensors, each (b, ...), may
come a part at a time.
"""


class Task(ABC):
    models: dict[str, nn.Module]  # to train, by name; "model" is the one that is shipped
    learning_rates: Mapping[str, float] = MappingProxyType({})  # that differ from the settings', by network
    betas: Mapping[str, tuple[float, float]] = MappingProxyType({})  # Adam's, likewise; the first may be negative

    def prepare_(self, settings: TrainingSettings) -> None:
        """Changes in place how the networks are computed."""
        for model in self.models.values():
            lighten_(model, settings)

    def warning(self, metrics: Mapping[str, float]) -> str:
        """What the metrics of a step tell that is wrong; empty where nothing is."""
        return ""

    @abstractmethod
    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One step: draws, calls `apply` for each update, and returns scalar metrics (left on the device)."""


class Record(NamedTuple):
    step: int  # finished steps
    lr: float
    metrics: dict[str, Tensor]  # scalars on the device; reading them waits for it
    skipped: dict[str, str]  # why, for each network whose last update of this step was skipped
    seconds: float  # that the step took


def train(
    task: Task, state: State, data: LabelledSet, settings: TrainingSettings, seed: int, processes: Processes
) -> Iterator[Record]:
    """Trains from `state.step` to `settings.steps`; at a yield the state can be saved, and the loop be left for good.

    UserError where there is not memory for a batch, or too many updates in a row were skipped.
    """
    if settings.batch < processes.count:
        raise UserError(f"training.batch is {settings.batch} for {processes.count} processes: name at least as many")
    for part, pair in task.betas.items():
        for group in state.optimizers[part].param_groups:
            group["betas"] = pair  # Adam's constructor refuses a negative one; its equations hold for it all the same
    task.prepare_(settings)
    _refuse_stuck(state, settings)
    while state.step < settings.steps:
        started = time.perf_counter()
        batch = Batch(data, settings, seed, state.step, processes.rows(settings.batch))
        step = _Step(task, state, settings, seed, batch, processes)
        metrics = task.update(batch, step)
        shared = processes.average(torch.stack([value.detach() for value in metrics.values()]), batch.weight)
        state.step += 1
        state.update_ema(settings.ema)
        state.whole = True
        shown = dict(zip(metrics, shared.unbind(), strict=True))
        yield Record(state.step, settings.lr * step.factor, shown, step.skipped, time.perf_counter() - started)
        _refuse_stuck(state, settings)


def _refuse_stuck(state: State, settings: TrainingSettings) -> None:
    """Raises UserError where too many updates in a row were skipped: the same settings would skip more."""
    for part, (_, in_a_row) in state.skipped.items():
        if in_a_row >= min(settings.skip_limit, max(1, settings.steps // 2)):
            updates = f"the last {in_a_row} updates of {part} until step {state.step}"
            problem = f"{updates} were skipped, because a loss or a gradient was not a finite number"
            advice = f"lower the learning rate (training.lr is {settings.lr:g}), train in float32, or look for bad data"
            raise UserError(f"{problem}: {advice}")


class _Step:
    """`Apply`, in one step of the loop."""

    def __init__(
        self, task: Task, state: State, settings: TrainingSettings, seed: int, batch: Batch, processes: Processes
    ) -> None:
        self.state, self.settings, self.seed, self.batch, self.processes = state, settings, seed, batch, processes
        self.factor, self.rates = learning_rate_factor(settings, state.step), task.learning_rates
        self.updates, self.skipped = 0, dict[str, str]()

    def __call__(self, part: str, losses: LossFunction, *tensors: Tensor) -> dict[str, Tensor]:
        state, optimizer = self.state, self.state.optimizers[part]
        torch.manual_seed(keyed_seed(self.seed, _DROPOUT, state.step, self.processes.rank, self.updates))
        self.updates += 1
        parameters = [parameter for parameter in state.models[part].parameters() if parameter.requires_grad]
        rows = self._differentiate(losses, tensors, parameters)
        means = {name: value.mean() for name, value in rows.items()}
        loss = self.processes.average(means["loss"].clone(), self.batch.weight)
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        finite = bool(norm.isfinite() & loss.isfinite())
        state.whole = False
        if finite:
            for group in optimizer.param_groups:
                group["lr"] = self.rates.get(part, self.settings.lr) * self.factor
            optimizer.step()
        else:
            self.skipped[part] = _why(rows)
        total, in_a_row = state.skipped[part]
        state.skipped[part] = (total + (not finite), 0 if finite else in_a_row + 1)
        return means

    def _differentiate(self, losses: LossFunction, tensors: Sequence[Tensor], parameters: list[nn.Parameter]) -> Losses:
        """Sets the gradient of the mean loss, over all processes; returns the losses of its rows, without a graph."""
        n = len(tensors[0])
        each = math.ceil(n / math.ceil(n / (self.settings.micro_batch or n)))  # as even as can be
        for parameter in parameters:
            parameter.grad = None
        parts: list[Losses] = []
        try:
            for start in range(0, n, each):
                found = losses(*(tensor[start : start + each] for tensor in tensors))
                loss = found["loss"].mean() if each == n else found["loss"].sum() / n
                last = start + each >= n
                with self.processes.averaging_gradients(parameters, self.batch.weight) if last else nullcontext():
                    loss.backward(inputs=parameters)
                parts.append({name: value.detach() for name, value in found.items()})
        except torch.OutOfMemoryError as error:
            advice = "set training.micro_batch lower, or take bfloat16 or a smaller network"
            raise UserError(f"there is not memory for {each} rows of a batch at a time: {advice}") from error
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _why(rows: Losses) -> str:
    """As "dlsm is not a finite number in 3 of 8 rows", for an update that is skipped."""
    bad = [name for name, value in rows.items() if not bool(value.mean().isfinite())]
    what = next((name for name in bad if name != "loss"), "loss" if bad else "the gradient")
    count, of = int((~rows["loss"].isfinite()).sum()), len(rows["loss"])
    return f"{what} is not a finite number" + (f" in {count} of {of} rows" if count else "")
