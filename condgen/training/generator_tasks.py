"""What one training step of a generator does: steps of the networks that judge it, then one of its own."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

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

    def __init__(self, model: Generator, augmentation: Augmentation, likely: LikelihoodGuide | None) -> None:
        self.model, self.augmentation, self.likely = model, augmentation, likely

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
        """The updates of the judging networks, then one of the generator; "loss" is the objective alone."""
        learnt = self.learn(batch, apply)
        z, moves = self.latents(batch)
        draws = self.draw(batch)
        noise: tuple[Tensor, ...] = ()
        if self.likely is not None:
            t = batch.times(self.likely.term.density, self.likely.classifier.schedule)
            noise = (t, batch.normal(*batch.x.shape[1:]))

        def losses(z: Tensor, moves: Tensor, y: Tensor, *rows: Tensor) -> Losses:
            x = self.model(z, y)
            objective = self.judge(augment(x, moves), y, *rows[: len(draws)])
            if self.likely is None:
                return {"loss": objective}
            t, eps = rows[len(draws) :]
            unlikely = cross_entropy_loss(self.likely.classifier, x, y, t, eps)
            total = objective + self.likely.term.weight * unlikely
            return {"loss": total, "objective": objective, "likelihood": unlikely}

        found = apply("model", losses, z, moves, batch.y, *draws, *noise)
        objective = found.pop("objective", found["loss"])
        return found | {"loss": objective} | learnt


class MismatchingTask(GeneratorTask):
    """Score mismatching.

    Args:
        model: the generator.
        critic: what tells real from generated data, which is thrown away with the training state.
        objective: how often and how fast it learns.
        augmentation: as in `GeneratorTask`.
        likely: as in `GeneratorTask`.
    """

    def __init__(
        self,
        model: Generator,
        critic: Critic,
        objective: ScoreMismatching,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
        likely: LikelihoodGuide | None = None,
    ) -> None:
        super().__init__(model, augmentation, likely)
        self.critic, self.objective = critic, objective
        self.models = {"model": model, "critic": critic}
        self.learning_rates = {"critic": objective.critic_lr}

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """`critic_steps` steps on fresh samples and noise."""

        def losses(x: Tensor, y: Tensor, z: Tensor, moves: Tensor, moves_real: Tensor, *draws: Tensor) -> Losses:
            real, fake = augment(x, moves_real), self.generated(z, y, moves)
            t_real, t_fake, n_real, n_fake, n_target = draws
            noise, target = (n_real, n_fake, n_target), self.objective.target
            return critic_loss(self.critic, real, fake, y, (t_real, t_fake), noise, target)

        for _ in range(self.objective.critic_steps):
            z, moves = self.latents(batch)
            moves_real = draw_augmentation(self.augmentation, batch)
            times = [batch.times(self.critic.density, self.critic.schedule) for _ in range(2)]
            noise = [batch.normal(*batch.x.shape[1:]) for _ in range(3)]
            learnt = apply("critic", losses, batch.x, batch.y, z, moves, moves_real, *times, *noise)
        return {name: learnt[name] for name in ("critic_real", "critic_fake")}

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """A noise level and noise for each of the noised copies."""
        draws: list[Tensor] = []
        for _ in range(self.objective.draws):
            draws += [batch.times(self.critic.density, self.critic.schedule), batch.normal(*batch.x.shape[1:])]
        return tuple(draws)

    def judge(self, x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
        """The mean over copies of the critic's denoising error, each with its own noise level."""
        copies = zip(draws[::2], draws[1::2], strict=True)
        return torch.stack([mismatching_loss(self.critic, x, y, t, noise) for t, noise in copies]).mean(0)


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
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
        likely: LikelihoodGuide | None = None,
    ) -> None:
        super().__init__(model, augmentation, likely)
        self.real, self.fake, self.objective = real, fake, objective
        self.pupils = {"fake": fake}
        if isinstance(real, ScoreModel) and any(parameter.requires_grad for parameter in real.parameters()):
            self.pupils["real"] = real
        self.models = {"model": model, **self.pupils}
        self.learning_rates = dict.fromkeys(self.pupils, objective.denoiser_lr)

    def learn(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """`denoiser_steps` steps of denoising score matching, each on fresh samples and noise."""

        def fake_losses(z: Tensor, moves: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
            return {"loss": score_matching_loss(self.fake, self.generated(z, y, moves), t, eps, y)}

        def real_losses(x: Tensor, moves: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
            return {"loss": score_matching_loss(self.pupils["real"], augment(x, moves), t, eps, y)}

        learnt: dict[str, Tensor] = {}
        for _ in range(self.objective.denoiser_steps):
            shown = {
                "fake": (fake_losses, *self.latents(batch)),
                "real": (real_losses, batch.x, draw_augmentation(self.augmentation, batch)),
            }
            for name, pupil in self.pupils.items():
                losses, source, moves = shown[name]
                t = batch.times(self.objective.denoiser_density, pupil.schedule)
                found = apply(name, losses, source, moves, batch.y, t, batch.normal(*batch.x.shape[1:]))
                learnt[f"{name}_dsm"] = found["loss"]
        return learnt

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
