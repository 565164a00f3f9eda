"""The training loop: it yields a record after each step, and the caller logs, draws, saves or stops.

Everything random is a function of (seed, step): which rows are drawn, the times, the noise. So is the learning rate.
Going on after an interruption therefore gives the same weights, bit for bit, as never having stopped.

A gradient that is not finite moves nothing: the update is skipped, and counted in the state.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from condgen.data import LabelledSet
from condgen.rng import keyed_generator
from condgen.settings import Settings
from condgen.training.distributed import Processes
from condgen.training.state import State

__all__ = ["Apply", "Batch", "Record", "Task", "TrainingSettings", "learning_rate_factor", "train"]

_ORDER, _DRAWS, _DROPOUT = range(3)  # purposes of keyed generators
_TAIL = 0.3  # of all steps, over which the learning rate falls


Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(Settings):
    """How long and how fast to train."""

    steps: int = Field(gt=0)
    batch: int = Field(default=256, gt=0, description="the total over all processes")
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    decay: Literal["constant", "cosine", "tail"] = Field(
        default="cosine", description="of the learning rate; tail: constant, then linear to zero over the last 30%"
    )
    clip: float = Field(default=1.0, gt=0, description="greatest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    log_every: int = Field(default=100, gt=0)
    save_every: int = Field(default=1000, gt=0)
    snapshots: tuple[PositiveInt, ...] = Field(
        default=(), description="steps after which the averaged weights are kept, each as a model"
    )

    @model_validator(mode="after")
    def _snapshots_come(self) -> "TrainingSettings":
        if any(step > self.steps for step in self.snapshots):
            raise ValueError(f"a snapshot after step {max(self.snapshots)} of {self.steps} never comes: leave it out")
        return self


def learning_rate_factor(settings: TrainingSettings, step: int) -> float:
    """What the base learning rate is multiplied by in step `step` (counted from 0); never zero in the first step."""
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.decay == "constant":
        return warm
    if settings.decay == "tail":
        return warm * min(1.0, (1 - step / settings.steps) / _TAIL)
    return warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


class Batch:
    """One step's data and randomness: this process's rows of a batch that all processes agree on.

    Args:
        data: the training set.
        settings: batch size.
        seed: of the run.
        step: counted from 0.
        processes: how the rows are shared.
    """

    def __init__(
        self, data: LabelledSet, settings: TrainingSettings, seed: int, step: int, processes: Processes
    ) -> None:
        self._total = settings.batch
        self._rows = processes.rows(settings.batch)
        self._generator = keyed_generator(seed, _DRAWS, step)
        self._device = data.x.device
        index = _rows_of_step(len(data), settings.batch, seed, step)[self._rows].to(self._device)
        self.x = data.floats(index)
        self.y = data.y[index]

    @property
    def weight(self) -> float:
        """This process's share of the batch."""
        return len(self.x) / self._total

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, (b, *shape)."""
        return torch.randn(self._total, *shape, generator=self._generator)[self._rows].to(self._device)

    def uniform(self) -> Tensor:
        """Uniform draws, (b,) float64, spread evenly over the batch (a shifted lattice) to tame the loss's noise."""
        shift = torch.rand((), generator=self._generator, dtype=torch.float64)
        lattice = (shift + torch.arange(self._total, dtype=torch.float64) / self._total) % 1
        return lattice[torch.randperm(self._total, generator=self._generator)][self._rows]

    def chance(self, probability: float) -> Tensor:
        """Independent draws, (b,) bool, each true with this probability."""
        draws = torch.rand(self._total, generator=self._generator, dtype=torch.float64)
        return (draws < probability)[self._rows].to(self._device)


def _rows_of_step(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Which rows step `step` sees: consecutive slices of one shuffled pass after another."""
    wanted = torch.arange(step * batch, (step + 1) * batch)
    epochs = wanted // n
    rows = [
        torch.randperm(n, generator=keyed_generator(seed, _ORDER, int(epoch)))[wanted[epochs == epoch] % n]
        for epoch in epochs.unique()
    ]
    return torch.cat(rows)


Apply: TypeAlias = Callable[[str, Tensor], None]
"""Differentiates the mean of a per-sample loss (b,) and steps the optimiser of the named network."""


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

    @abstractmethod
    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One step: computes losses, calls `apply` for each, and returns scalar metrics (left on the device)."""


class Record(NamedTuple):
    """What the loop yields after a step."""

    step: int  # finished steps
    lr: float
    metrics: dict[str, Tensor]  # scalars on the device; reading them waits for it


def train(
    task: Task, state: State, data: LabelledSet, settings: TrainingSettings, seed: int, processes: Processes
) -> Iterator[Record]:
    """Trains from `state.step` to `settings.steps`, yielding after each step.

    Between two yields the state is inconsistent; at a yield it can be saved, and the loop can be left for good.
    """
    rates, betas = task.learning_rates(settings), task.betas(settings)
    for part, pair in betas.items():
        for group in state.optimizers[part].param_groups:
            group["betas"] = pair  # Adam's constructor refuses a negative one; its equations hold for it all the same
    while state.step < settings.steps:
        factor = learning_rate_factor(settings, state.step)
        batch = Batch(data, settings, seed, state.step, processes)
        dropout = keyed_generator(seed, _DROPOUT, state.step, processes.rank)
        torch.manual_seed(int(torch.randint(2**31, (), generator=dropout)))

        def apply(part: str, loss: Tensor, batch: Batch = batch, factor: float = factor) -> None:
            model, optimizer = state.models[part], state.optimizers[part]
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss.mean(), parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            processes.average_gradients(parameters, batch.weight)
            norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
            for group in optimizer.param_groups:
                group["lr"] = rates.get(part, settings.lr) * factor
            state.step_optimizer(part, norm.isfinite())

        metrics = task.update(batch, apply)
        metrics = {name: processes.average(value.detach(), batch.weight) for name, value in metrics.items()}
        state.step += 1
        state.update_ema(settings.ema)
        yield Record(state.step, settings.lr * factor, metrics)
