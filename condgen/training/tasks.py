"""What one training step does, for score models and classifiers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.bayes import Denoiser
from condgen.classifier import Classifier, ClassifierObjective, Gradient, classifier_losses, gradient_of
from condgen.noise import Density, perturb
from condgen.score import (
    AdversarialObjective,
    Discriminator,
    ScoreModel,
    adversarial_score_matching,
    denoising_score_matching,
    discriminator_loss,
)
from condgen.training.loop import Apply, Batch, Task, TrainingSettings

__all__ = ["AdversarialScoreTask", "ClassifierTask", "ScoreTask"]


class _Draws(NamedTuple):
    t: Tensor
    eps: Tensor
    y: Tensor


def _draw(batch: Batch, model: ScoreModel, density: Density, label_dropout: float) -> _Draws:
    """Times, noise, and the labels that a score model is told."""
    t = density.quantile(model.schedule, batch.uniform())
    eps, y = batch.normal(*batch.x.shape[1:]), batch.y
    if model.null_label is not None:
        y = y.masked_fill(batch.chance(label_dropout), model.null_label)
    return _Draws(t, eps, y)


class ScoreTask(Task):
    """Denoising score matching at times drawn from a density.

    Args:
        model: the score model.
        density: of the times.
        label_dropout: how often a model with a row for "no label" is told that in place of the label, so that it learns
            the unconditional score as well (Ho & Salimans 2022, algorithm 1). Other models are always told the label.
    """

    def __init__(self, model: ScoreModel, density: Density, label_dropout: float = 0.0) -> None:
        self.model, self.density, self.label_dropout = model, density, label_dropout

    def models(self) -> dict[str, nn.Module]:
        """The score model alone."""
        return {"model": self.model}

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One gradient step."""
        loss = denoising_score_matching(
            self.model, batch.x, *_draw(batch, self.model, self.density, self.label_dropout)
        )
        apply("model", loss)
        return {"loss": loss.mean()}


class AdversarialScoreTask(Task):
    """Adversarial score matching: steps of the discriminator, then one of the score model.

    Args:
        model: the score model.
        discriminator: what tells its denoised estimates from data.
        objective: weight, learning rate and betas.
        density: of the times.
        label_dropout: as in `ScoreTask`.
    """

    def __init__(
        self,
        model: ScoreModel,
        discriminator: Discriminator,
        objective: AdversarialObjective,
        density: Density,
        label_dropout: float = 0.0,
    ) -> None:
        self.model, self.discriminator, self.objective = model, discriminator, objective
        self.density, self.label_dropout = density, label_dropout

    def models(self) -> dict[str, nn.Module]:
        """The score model, and the discriminator that is thrown away with the training state."""
        return {"model": self.model, "discriminator": self.discriminator}

    def learning_rates(self, settings: TrainingSettings) -> dict[str, float]:
        """The discriminator has its own."""
        return {"discriminator": self.objective.discriminator_lr}

    def betas(self, settings: TrainingSettings) -> dict[str, tuple[float, float]]:
        """Both networks have their own: an average over past gradients is of another opponent."""
        return {"model": self.objective.score_betas, "discriminator": self.objective.discriminator_betas}

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """`discriminator_steps` steps of the discriminator on the same data with fresh noise, then one of the model."""
        own = _draw(batch, self.model, self.density, self.label_dropout)  # first, so that they are those of `ScoreTask`
        for _ in range(self.objective.discriminator_steps):
            t, eps, y = _draw(batch, self.model, self.density, self.label_dropout)
            with torch.no_grad():
                fake = self.model(perturb(self.model.schedule, batch.x, t, eps), t, y)
            on_real, on_fake = discriminator_loss(self.discriminator, batch.x, fake, t)
            apply("discriminator", on_real + on_fake)
        losses = adversarial_score_matching(self.model, self.discriminator, self.objective.weight, batch.x, *own)
        apply("model", losses.total)
        return {
            "loss": losses.total.mean(),
            "dsm": losses.dsm.mean(),
            "adversarial": losses.adversarial.mean(),
            "discriminator_real": on_real.mean(),
            "discriminator_fake": on_fake.mean(),
        }


class ClassifierTask(Task):
    """Cross-entropy, or DLSM beside it, at times drawn from a density. The prior stays frozen.

    Args:
        model: the classifier.
        objective: its loss.
        density: of times.
        prior: the frozen score model, needed by DLSM.
        gradient: computes the likelihood score.
    """

    def __init__(
        self,
        model: Classifier,
        objective: ClassifierObjective,
        density: Density,
        prior: Denoiser | None = None,
        gradient: Gradient = gradient_of,
    ) -> None:
        self.model, self.objective, self.density, self.prior = model, objective, density, prior
        self.gradient = gradient

    def models(self) -> dict[str, nn.Module]:
        """The classifier alone."""
        return {"model": self.model}

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One gradient step."""
        t = self.density.quantile(self.model.schedule, batch.uniform())
        eps = batch.normal(*batch.x.shape[1:])
        losses = classifier_losses(self.model, self.objective, batch.x, batch.y, t, eps, self.prior, self.gradient)
        apply("model", losses.total)
        metrics = {"loss": losses.total.mean(), "ce": losses.cross_entropy.mean(), "accuracy": losses.correct.mean()}
        if losses.dlsm is not None and losses.gain is not None:
            metrics |= {"dlsm": losses.dlsm.mean(), "gain": losses.gain.mean()}
        return metrics
