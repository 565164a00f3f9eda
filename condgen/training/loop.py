"""The training loop: it yields a record after each step, and the caller logs, draws, saves or stops.

Everything random is a function of (seed, step): which rows are drawn, the times, the noise. So is the learning rate.
Going on after an interruption therefore gives the same weights, bit for bit, as never having stopped; where
`micro_batch: auto` finds other parts the second time, up to rounding and dropout.

A gradient or a loss that is not finite moves nothing: the update is skipped, counted in the state, and the record says
where the last one was: step, noise level, class.

The program does not wait for a device inside a step; whoever reads the metrics of a record does. A frozen teacher
that is guided within an interval, or at a calibrated scale, is an exception: which rows are guided must be known.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.rng import keyed_seed
from condgen.training.accumulate import Accumulation, LossFunction
from condgen.training.batch import Batch
from condgen.training.distributed import Processes
from condgen.training.frozen import prepare_
from condgen.training.settings import TrainingSettings, learning_rate_factor
from condgen.training.spoilt import Spoilt
from condgen.training.state import State, lying_like

__all__ = ["Apply", "Record", "Task", "train"]

_DROPOUT = 2  # a purpose of keyed generators, beside those of a batch


class Apply(Protocol):
    """Takes one step of the optimiser of a network."""

    def __call__(self, part: str, losses: LossFunction, *tensors: Tensor) -> dict[str, Tensor]:
        """Differentiates the mean loss of all rows in the named network, and steps its optimiser.

        Args:
            part: the name of the network.
            losses: the losses of rows, (b,) each: "loss", which is differentiated, and others to be shown. It evaluates
                every network that it needs itself, and draws nothing at random: rows may come a part at a time.
            tensors: this process's rows, each (b, ...).

        Returns:
            The means of all losses over this process's rows, scalars on the device.
        """


class Task(ABC):
    """What one training step does."""

    @abstractmethod
    def models(self) -> dict[str, nn.Module]:
        """The networks to train, by name; "model" is the one that is shipped."""

    def learning_rates(self, settings: TrainingSettings) -> dict[str, float]:
        """Base learning rates that differ from the settings', by network."""
        return {}

    def betas(self, settings: TrainingSettings) -> dict[str, tuple[float, float]]:
        """Adam's betas that differ from the settings', by network. The first may be negative."""
        return {}

    def prepare_(self, settings: TrainingSettings) -> None:
        """Changes how the networks that are in training are computed, to be quick in what the settings ask for.

        Names of parameters stay; copies that were made before, such as the average, are computed as they were.
        """
        for model in self.models().values():
            prepare_(model, settings)

    @abstractmethod
    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One step: draws, calls `apply` for each update, and returns scalar metrics (left on the device)."""


class Record(NamedTuple):
    """What the loop yields after a step."""

    step: int  # finished steps
    lr: float
    metrics: dict[str, Tensor]  # scalars on the device; reading them waits for it
    rows: dict[str, int]  # how many rows this process computes at a time, by network
    spoilt: dict[str, Spoilt]  # the last update of each network that was skipped since `train` was called


def train(
    task: Task, state: State, data: LabelledSet, settings: TrainingSettings, seed: int, processes: Processes
) -> Iterator[Record]:
    """Trains from `state.step` to `settings.steps`, yielding after each step.

    Between two yields the state is inconsistent; at a yield it can be saved, and the loop can be left for good.

    Raises:
        UserError: a batch has fewer rows than there are processes.
    """
    if settings.batch < processes.count:
        raise UserError(
            f"training.batch is {settings.batch}, and {processes.count} processes share it: name at least as many"
        )
    rates, betas = task.learning_rates(settings), task.betas(settings)
    for part, pair in betas.items():
        for group in state.optimizers[part].param_groups:
            group["betas"] = pair  # Adam's constructor refuses a negative one; its equations hold for it all the same
    task.prepare_(settings)
    state.lay_out()
    accumulation = Accumulation(state.models, settings.micro_batch, equal=settings.compile)
    spoilt = {name: Spoilt.none_yet(skipped.device) for name, skipped in state.skipped.items()}
    while state.step < settings.steps:
        factor = learning_rate_factor(settings, state.step)
        batch = Batch(data, settings, seed, state.step, processes)
        step = _Step(state, settings, rates, factor, seed, accumulation, spoilt, batch, processes)
        metrics = task.update(batch, step)
        shared = processes.average(torch.stack([value.detach() for value in metrics.values()]), batch.weight)
        state.step += 1
        state.update_ema(settings.ema)
        shown = dict(zip(metrics, shared.unbind(), strict=True))
        yield Record(state.step, settings.lr * factor, shown, dict(accumulation.sizes), dict(spoilt))


class _Step:
    """`Apply`, in one step of the loop."""

    def __init__(
        self,
        state: State,
        settings: TrainingSettings,
        rates: dict[str, float],
        factor: float,
        seed: int,
        accumulation: Accumulation,
        spoilt: dict[str, Spoilt],
        batch: Batch,
        processes: Processes,
    ) -> None:
        self.state, self.settings, self.rates, self.factor, self.seed = state, settings, rates, factor, seed
        self.accumulation, self.spoilt, self.batch, self.processes = accumulation, spoilt, batch, processes
        self.updates = 0

    def __call__(self, part: str, losses: LossFunction, *tensors: Tensor) -> dict[str, Tensor]:
        seed = keyed_seed(self.seed, _DROPOUT, self.state.step, self.processes.rank, self.updates)
        self.updates += 1
        gradients, means = self.accumulation(part, losses, tensors, seed)
        _spoil_too(gradients, means["loss"])
        parameters = self.accumulation.parameters[part]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else lying_like(parameter, gradient)
        self.processes.average_gradients(parameters, self.batch.weight)
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        for group in self.state.optimizers[part].param_groups:
            group["lr"] = self.rates.get(part, self.settings.lr) * self.factor
        finite = norm.isfinite()
        self.state.step_optimizer(part, finite)
        times = self.batch.times_among(tensors)
        self.spoilt[part] = self.spoilt[part].after(
            finite, self.state.step + 1, self.accumulation.losses, self.batch.y, times
        )
        return means


def _spoil_too(gradients: list[Tensor | None], loss: Tensor) -> None:
    """Makes a gradient undefined where its loss is: a row that is infinite may have a gradient of zero.

    By way of the gradient, since all processes share it: they then skip the same updates.
    """
    last = max((place for place, gradient in enumerate(gradients) if gradient is not None), default=None)
    if last is not None and (gradient := gradients[last]) is not None:
        gradients[last] = gradient + (loss.detach() * 0).to(gradient.dtype)
