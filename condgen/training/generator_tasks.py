"""What one training step of a generator does: steps of the networks that judge it, then one of its own."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood, evaluated
from condgen.generator import Generator
from condgen.losses.base import Losses
from condgen.losses.cross_entropy import cross_entropy_loss
from condgen.losses.distillation import LikelihoodTerm, MatchingLoss
from condgen.losses.moment_matching import moment_matching_loss
from condgen.losses.score_matching import score_matching_loss
from condgen.losses.score_mismatching import Critic, ScoreMismatching, critic_loss, mismatching_loss
from condgen.score import ScoreModel
from condgen.training.batch import Batch
from condgen.training.loop import Apply, Task


class LikelihoodGuide(NamedTuple):
    """A frozen classifier, and how much its opinion counts."""

    classifier: Likelihood
    term: LikelihoodTerm


@dataclass(eq=False)
class GeneratorTask(Task):
    """Training a generator: `learn` teaches the networks that judge it, `judge` is what they make of its samples."""

    model: Generator
    likely: LikelihoodGuide | None = field(default=None, kw_only=True)  # a term added to the objective

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """All updates of the judging networks in one step, and their losses."""
        return {}

    @abstractmethod
    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws for `judge`, each (B, ...)."""

    @abstractmethod
    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """The objective of generated data x of labels y, with a graph: (B,)."""

    @torch.no_grad()
    def generated(self, z: Tensor, y: Tensor) -> Tensor:
        """Generated data as the judging networks learn from them, without a graph."""
        return self.model(z, y)

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """The returned "loss" is the objective alone."""
        learnt = self.learn(batch, apply)
        z = batch.normal(*self.model.latent_shape)
        draws = self.draw(batch)
        noise: tuple[Tensor, ...] = ()
        if self.likely is not None:
            t = batch.times(self.likely.term.density, self.likely.classifier.schedule)
            noise = (t, batch.normal(*batch.x.shape[1:]))

        def losses(z: Tensor, y: Tensor, *rows: Tensor) -> Losses:
            x = self.model(z, y)
            objective = self.judge(x, y, *rows[: len(draws)])
            if self.likely is None:
                return {"loss": objective}
            t, eps = rows[len(draws) :]
            unlikely = cross_entropy_loss(self.likely.classifier, x, y, t, eps)
            total = objective + self.likely.term.weight * unlikely
            return {"loss": total, "objective": objective, "likelihood": unlikely}

        found = apply("model", losses, z, batch.y, *draws, *noise)
        objective = found.pop("objective", found["loss"])
        return found | {"loss": objective} | learnt


@dataclass(eq=False)
class MismatchingTask(GeneratorTask):
    """Score mismatching: a critic, which is thrown away with the training state, tells real from generated data."""

    critic: Critic
    objective: ScoreMismatching

    def __post_init__(self) -> None:
        self.models = {"model": self.model, "critic": self.critic}
        self.learning_rates = {"critic": self.objective.critic_lr}

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        def losses(x: Tensor, y: Tensor, z: Tensor, t_real: Tensor, t_fake: Tensor, *noise: Tensor) -> Losses:
            return critic_loss(self.critic, x, self.generated(z, y), y, (t_real, t_fake), noise)

        for _ in range(self.objective.critic_steps):
            z = batch.normal(*self.model.latent_shape)
            times = [batch.times(self.critic.density, self.critic.schedule) for _ in range(2)]
            noise = [batch.normal(*batch.x.shape[1:]) for _ in range(3)]
            learnt = apply("critic", losses, batch.x, batch.y, z, *times, *noise)
        return {name: learnt[name] for name in ("critic_real", "critic_fake")}

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        draws: list[Tensor] = []
        for _ in range(self.objective.draws):
            draws += [batch.times(self.critic.density, self.critic.schedule), batch.normal(*batch.x.shape[1:])]
        return tuple(draws)

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        copies = zip(draws[::2], draws[1::2], strict=True)
        return torch.stack([mismatching_loss(self.critic, x, y, t, noise) for t, noise in copies]).mean(0)


@dataclass(eq=False)
class MatchingTask(GeneratorTask):
    """Distribution matching, or score identity distillation."""

    real: Denoiser  # of real data: a score model that learns, or a frozen teacher
    fake: ScoreModel  # of generated data, which learns
    objective: MatchingLoss

    def __post_init__(self) -> None:
        self.pupils = {"fake": self.fake}
        if isinstance(self.real, ScoreModel) and any(parameter.requires_grad for parameter in self.real.parameters()):
            self.pupils["real"] = self.real
        self.models = {"model": self.model, **self.pupils}
        self.learning_rates = dict.fromkeys(self.pupils, self.objective.denoiser_lr)

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        def losses(name: str, source: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
            x = self.generated(source, y) if name == "fake" else source
            return {"loss": score_matching_loss(self.pupils[name], x, t, eps, y)}

        learnt: dict[str, Tensor] = {}
        for _ in range(self.objective.denoiser_steps):
            sources = {"fake": batch.normal(*self.model.latent_shape), "real": batch.x}
            for name, pupil in self.pupils.items():
                t = batch.times(self.objective.denoiser_density, pupil.schedule)
                draws = t, batch.normal(*batch.x.shape[1:])
                found = apply(name, partial(losses, name), sources[name], batch.y, *draws)
                learnt[f"{name}_dsm"] = found["loss"]
        return learnt

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        return batch.times(self.objective.density, self.fake.schedule), batch.normal(*batch.x.shape[1:])

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """What the denoisers' difference says, both without dropout: other masks would leave a difference."""
        t, eps = draws
        with evaluated(*self.pupils.values()):
            return self.objective(self.real, self.fake, x, t, eps, y)


@dataclass(eq=False)
class MomentTask(GeneratorTask):
    """Moment matching with the batch's real data: no network judges."""

    width: float  # of the kernel, in units of the data

    def __post_init__(self) -> None:
        self.models = {"model": self.model}

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        return (batch.x,)

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        return moment_matching_loss(x, y, draws[0], self.width)
