"""What one training step of a generator does: steps of the networks that judge it, then one of its own."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.denoiser import Denoiser, Likelihood
from condgen.generator import Generator
from condgen.losses import (
    Critic,
    LikelihoodTerm,
    Losses,
    MatchingLoss,
    ScoreMismatching,
    critic_loss,
    cross_entropy_loss,
    mismatching_loss,
    score_matching_loss,
)
from condgen.score import ScoreModel
from condgen.training.augment import Augmentation, augment, draw_augmentation
from condgen.training.batch import Batch
from condgen.training.loop import Apply, Task
from condgen.training.settings import TrainingSettings

__all__ = ["GeneratorTask", "LikelihoodGuide", "MatchingTask", "MismatchingTask"]


class LikelihoodGuide(NamedTuple):
    """A frozen classifier, and how much its opinion counts."""

    classifier: Likelihood
    term: LikelihoodTerm


class GeneratorTask(Task):
    """Training a generator: `learn` teaches the networks that judge it, `judge` is what they make of its samples.

    Args:
        model: the generator.
        augmentation: of real and generated data, before noise is added.
        likely: a likelihood term beside the objective.
    """

    def __init__(
        self, model: Generator, augmentation: Augmentation | None = None, likely: LikelihoodGuide | None = None
    ) -> None:
        self.model, self.augmentation, self.likely = model, augmentation or Augmentation(), likely

    @abstractmethod
    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """All updates of the judging networks in one step, and their losses."""

    @abstractmethod
    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """Draws for `judge`, each (B, ...)."""

    @abstractmethod
    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """The objective of generated and perhaps augmented data x of labels y, with a graph: (B,)."""

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What fresh samples are made of: z, (B, *latent_shape), and how they are augmented."""
        return batch.normal(*self.model.latent_shape), draw_augmentation(self.augmentation, batch)

    def generated(self, z: Tensor, y: Tensor, moves: Tensor) -> Tensor:
        """Generated data as the judging networks learn from them, without a graph."""
        with torch.no_grad():
            return augment(self.model(z, y), moves)

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """The updates of the judging networks, then one of the generator."""
        learnt = self.learn(batch, apply)
        z, moves = self.latents(batch)
        draws, told = self.draw(batch), tuple[Tensor, ...]()
        if self.likely is not None:
            t = batch.times(self.likely.term.density, self.likely.classifier.schedule)
            told = (t, batch.normal(*batch.x.shape[1:]))

        def losses(z: Tensor, moves: Tensor, y: Tensor, *rows: Tensor) -> Losses:
            x = self.model(z, y)
            objective = self.judge(augment(x, moves), y, *rows[: len(draws)])
            if self.likely is None:
                return {"loss": objective}
            classifier, term = self.likely
            t, eps = rows[len(draws) :]
            unlikely = cross_entropy_loss(classifier, x, y, t, eps)
            return {"loss": objective + term.weight * unlikely, "objective": objective, "likelihood": unlikely}

        found = apply("model", losses, z, moves, batch.y, *draws, *told)
        metrics = {"loss": found.get("objective", found["loss"])} | learnt  # comparable with and without a likelihood
        return metrics | {name: found[name] for name in ("likelihood",) if name in found}


class MismatchingTask(GeneratorTask):
    """Score mismatching.

    Args:
        model: the generator.
        critic: what tells real from generated data.
        objective: how often and how fast it learns.
        augmentation: as in `GeneratorTask`.
        likely: as in `GeneratorTask`.
    """

    def __init__(
        self,
        model: Generator,
        critic: Critic,
        objective: ScoreMismatching,
        augmentation: Augmentation | None = None,
        likely: LikelihoodGuide | None = None,
    ) -> None:
        super().__init__(model, augmentation, likely)
        self.critic, self.objective = critic, objective

    def models(self) -> dict[str, nn.Module]:
        """The generator, and the critic that is thrown away with the training state."""
        return {"model": self.model, "critic": self.critic}

    def learning_rates(self, settings: TrainingSettings) -> dict[str, float]:
        """The critic is faster than the generator, or the generator collapses within a class."""
        return {"critic": self.objective.critic_lr}

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """`critic_steps` steps on fresh samples and noise."""
        shape = batch.x.shape[1:]
        for _ in range(self.objective.critic_steps):
            z, moves = self.latents(batch)
            moves_real = draw_augmentation(self.augmentation, batch)
            times = [batch.times(self.critic.density, self.critic.schedule) for _ in range(2)]
            noise = [batch.normal(*shape) for _ in range(3)]
            learnt = apply("critic", self._critic_losses, batch.x, batch.y, z, moves, moves_real, *times, *noise)
        return {name: learnt[name] for name in ("critic_real", "critic_fake")}

    def _critic_losses(
        self, x: Tensor, y: Tensor, z: Tensor, moves: Tensor, moves_real: Tensor, *draws: Tensor
    ) -> Losses:
        real, fake = augment(x, moves_real), self.generated(z, y, moves)
        t_real, t_fake, *noise = draws
        on_real, on_fake = critic_loss(
            self.critic, real, fake, y, (t_real, t_fake), (noise[0], noise[1], noise[2]), self.objective.target
        )
        return {"loss": on_real + on_fake, "critic_real": on_real, "critic_fake": on_fake}

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """A noise level and noise for each of the noised copies."""
        pairs = [
            (batch.times(self.critic.density, self.critic.schedule), batch.normal(*batch.x.shape[1:]))
            for _ in range(self.objective.draws)
        ]
        return tuple(draw for pair in pairs for draw in pair)

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """The mean over copies of the critic's denoising error, each with its own noise level."""
        losses = [
            mismatching_loss(self.critic, x, y, t, noise) for t, noise in zip(draws[::2], draws[1::2], strict=True)
        ]
        return torch.stack(losses).mean(0)


class MatchingTask(GeneratorTask):
    """Distribution matching, or score identity distillation.

    Args:
        model: the generator.
        real: the denoiser of real data: a score model that learns, or a frozen teacher.
        fake: the denoiser of generated data, which learns.
        objective: what is made of the two, and how fast they learn.
        augmentation: as in `GeneratorTask`.
        likely: as in `GeneratorTask`.
    """

    def __init__(
        self,
        model: Generator,
        real: Denoiser,
        fake: ScoreModel,
        objective: MatchingLoss,
        augmentation: Augmentation | None = None,
        likely: LikelihoodGuide | None = None,
    ) -> None:
        super().__init__(model, augmentation, likely)
        self.real, self.fake, self.objective = real, fake, objective
        self.pupils = {"fake": fake}
        if isinstance(real, ScoreModel) and any(parameter.requires_grad for parameter in real.parameters()):
            self.pupils["real"] = real

    def models(self) -> dict[str, nn.Module]:
        """The generator, and the denoisers that learn, which are thrown away with the training state."""
        return {"model": self.model, **self.pupils}

    def learning_rates(self, settings: TrainingSettings) -> dict[str, float]:
        """The denoisers have their own."""
        return dict.fromkeys(self.pupils, self.objective.denoiser_lr)

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """`denoiser_steps` steps of denoising score matching, each on fresh samples and noise."""
        learnt: dict[str, Tensor] = {}
        for _ in range(self.objective.denoiser_steps):
            z, moves = self.latents(batch)
            shown = {
                "fake": (self._fake_losses, z, moves),
                "real": (self._real_losses, batch.x, draw_augmentation(self.augmentation, batch)),
            }
            for name, pupil in self.pupils.items():
                t = batch.times(self.objective.denoiser_density, pupil.schedule)
                losses, source, moves = shown[name]
                found = apply(name, losses, source, moves, batch.y, t, batch.normal(*batch.x.shape[1:]))
                learnt[f"{name}_dsm"] = found["loss"]
        return learnt

    def _fake_losses(self, z: Tensor, moves: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
        return {"loss": score_matching_loss(self.pupils["fake"], self.generated(z, y, moves), t, eps, y)}

    def _real_losses(self, x: Tensor, moves: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
        return {"loss": score_matching_loss(self.pupils["real"], augment(x, moves), t, eps, y)}

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """The noise level and noise at which the denoisers are compared."""
        return batch.times(self.objective.density, self.fake.schedule), batch.normal(*batch.x.shape[1:])

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """What the difference of the denoisers says of generated data.

        Both are asked without dropout: masks that differ would leave a difference where there is none.
        """
        t, eps = draws
        self._learning(False)
        try:
            return self.objective(self.real, self.fake, x, t, eps, y)
        finally:  # also where there is not memory enough, and fewer rows are tried
            self._learning(True)

    def _learning(self, whether: bool) -> None:
        for pupil in self.pupils.values():
            pupil.train(whether)
