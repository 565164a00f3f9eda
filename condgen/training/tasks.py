"""What one training step does, for score models and classifiers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.classifier import Classifier
from condgen.denoiser import Denoiser
from condgen.losses import (
    AdversarialScoreMatching,
    ClassifierLoss,
    Discriminator,
    Gradient,
    Losses,
    adversarial_loss,
    compiled_gradient,
    discriminator_loss,
    gradient_of,
    score_matching_loss,
)
from condgen.schedules import Density, perturb
from condgen.score import ScoreModel
from condgen.training.batch import Batch
from condgen.training.frozen import prepare_
from condgen.training.loop import Apply, Task
from condgen.training.settings import TrainingSettings

__all__ = ["AdversarialScoreTask", "ClassifierTask", "ScoreTask"]


class _Draws(NamedTuple):
    t: Tensor
    eps: Tensor
    y: Tensor


def _draw(batch: Batch, model: ScoreModel, density: Density, label_dropout: float) -> _Draws:
    """Times, noise, and the labels that a score model is told."""
    t = batch.times(density, model.schedule)
    eps = batch.normal(*batch.x.shape[1:])
    y = batch.y_on_cpu if model.labels == "separate" else batch.y
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

        def losses(x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
            return {"loss": score_matching_loss(self.model, x, t, eps, y)}

        return apply("model", losses, batch.x, *_draw(batch, self.model, self.density, self.label_dropout))


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
        objective: AdversarialScoreMatching,
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
            draws = _draw(batch, self.model, self.density, self.label_dropout)
            judged = apply("discriminator", self._discriminator_losses, batch.x, *draws)
        return apply("model", self._losses, batch.x, *own) | {
            name: judged[name] for name in ("discriminator_real", "discriminator_fake")
        }

    def _discriminator_losses(self, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
        with torch.no_grad():
            fake = self.model(perturb(self.model.schedule, x, t, eps), t, y)
        on_real, on_fake = discriminator_loss(self.discriminator, x, fake, t)
        return {"loss": on_real + on_fake, "discriminator_real": on_real, "discriminator_fake": on_fake}

    def _losses(self, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
        found = adversarial_loss(self.model, self.discriminator, x, t, eps, y, self.objective.weight)
        return {"loss": found.total, "dsm": found.dsm, "adversarial": found.adversarial}


class ClassifierTask(Task):
    """A classifier's loss at times drawn from a density.

    Args:
        model: the classifier.
        loss: what it minimises.
        density: of times.
        prior: the frozen score model, where the loss needs one.
        gradient: computes the likelihood score.
    """

    def __init__(
        self,
        model: Classifier,
        loss: ClassifierLoss,
        density: Density,
        prior: Denoiser | None = None,
        gradient: Gradient = gradient_of,
    ) -> None:
        self.model, self.loss, self.density, self.prior = model, loss, density, prior
        self.gradient = gradient

    def models(self) -> dict[str, nn.Module]:
        """The classifier alone."""
        return {"model": self.model}

    def prepare_(self, settings: TrainingSettings) -> None:
        """The compiler takes second derivatives only if it is given the first as a whole."""
        twice = self.loss.differentiates_twice
        prepare_(self.model, settings, twice=twice)
        if settings.compile and twice:
            self.gradient = compiled_gradient()

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        """One gradient step."""

        def losses(x: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Losses:
            return self.loss(self.model, x, y, t, eps, self.prior, self.gradient)

        t = batch.times(self.density, self.model.schedule)
        return apply("model", losses, batch.x, batch.y, t, batch.normal(*batch.x.shape[1:]))
