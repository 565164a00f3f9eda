"""What one training step of a generator does: steps of the networks that judge it, then one of its own."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.bayes import Denoiser, Likelihood
from condgen.generator import (
    Critic,
    Generator,
    LikelihoodTerm,
    MatchingObjective,
    ScoreIdentity,
    ScoreMismatching,
    critic_loss,
    distribution_matching_loss,
    likelihood_loss,
    mismatching_loss,
    score_identity_loss,
)
from condgen.score import ScoreModel, denoising_score_matching
from condgen.training.augment import Augmentation, augment, flip
from condgen.training.loop import Apply, Batch, Task, TrainingSettings

__all__ = ["GeneratorTask", "Likely", "MatchingTask", "MismatchingTask"]


class Likely(NamedTuple):
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
        self, model: Generator, augmentation: Augmentation | None = None, likely: Likely | None = None
    ) -> None:
        self.model, self.augmentation, self.likely = model, augmentation or Augmentation(), likely

    @abstractmethod
    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """All updates of the judging networks in one step, and their losses."""

    @abstractmethod
    def judge(self, x: Tensor, batch: Batch) -> Tensor:
        """The objective of generated and perhaps augmented data x with a graph: (B,)."""

    def generate(self, batch: Batch) -> Tensor:
        """Fresh samples of the batch's labels, (B, ...)."""
        generated: Tensor = self.model(batch.normal(*self.model.latent_shape), batch.y)
        return generated

    def augmented(self, x: Tensor, batch: Batch) -> Tensor:
        """Real or generated data as the judging networks see them, (B, ...)."""
        return augment(self.augmentation, x, batch)

    def real_and_fake(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the judging networks learn from: real data, and generated data without a graph."""
        with torch.no_grad():
            fake = self.augmented(self.generate(batch), batch)
        return self.augmented(flip(self.augmentation, batch.x, batch), batch), fake

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """The updates of the judging networks, then one of the generator."""
        metrics = self.learn(batch, apply)
        x = self.generate(batch)
        loss = self.judge(self.augmented(x, batch), batch)
        metrics = {"loss": loss.mean()} | metrics
        if self.likely is not None:
            classifier, term = self.likely
            t = term.density.quantile(classifier.schedule, batch.uniform())
            unlikely = likelihood_loss(classifier, x, t, batch.normal(*x.shape[1:]), batch.y)
            metrics["likelihood"] = unlikely.mean()
            loss = loss + term.weight * unlikely
        apply("model", loss)
        return metrics


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
        likely: Likely | None = None,
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
            real, fake = self.real_and_fake(batch)
            u, noise = (
                (batch.uniform(), batch.uniform()),
                (batch.normal(*shape), batch.normal(*shape), batch.normal(*shape)),
            )
            on_real, on_fake = critic_loss(self.critic, real, fake, batch.y, u, noise, self.objective.target)
            apply("critic", on_real + on_fake)
        return {"critic_real": on_real.mean(), "critic_fake": on_fake.mean()}

    def judge(self, x: Tensor, batch: Batch) -> Tensor:
        """The mean over `draws` of the critic's denoising error, each with its own noise level."""
        losses = [
            mismatching_loss(self.critic, x, batch.y, batch.uniform(), batch.normal(*x.shape[1:]))
            for _ in range(self.objective.draws)
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
        objective: MatchingObjective,
        augmentation: Augmentation | None = None,
        likely: Likely | None = None,
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
        losses: dict[str, Tensor] = {}
        for _ in range(self.objective.denoiser_steps):
            real, fake = self.real_and_fake(batch)
            shown = {"fake": fake, "real": real}
            for name, pupil in self.pupils.items():
                t = self.objective.denoiser_density.quantile(pupil.schedule, batch.uniform())
                eps = batch.normal(*real.shape[1:])
                loss = denoising_score_matching(pupil, shown[name], t, eps, batch.y)
                apply(name, loss)
                losses[f"{name}_dsm"] = loss.mean()
        return losses

    def judge(self, x: Tensor, batch: Batch) -> Tensor:
        """What the difference of the denoisers says of generated data.

        Both are asked without dropout: masks that differ would leave a difference where there is none.
        """
        self._learning(False)
        t = self.objective.density.quantile(self.fake.schedule, batch.uniform())
        eps = batch.normal(*x.shape[1:])
        if isinstance(self.objective, ScoreIdentity):
            loss = score_identity_loss(self.real, self.fake, x, t, eps, batch.y, self.objective.alpha)
        else:
            loss = distribution_matching_loss(self.real, self.fake, x, t, eps, batch.y)
        self._learning(True)
        return loss

    def _learning(self, whether: bool) -> None:
        for pupil in self.pupils.values():
            pupil.train(whether)
