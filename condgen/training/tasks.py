"""What one training step does, for score models and classifiers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condgen.classifier import Classifier
from condgen.denoiser import Denoiser
from condgen.losses.base import ClassifierLoss, Gradient, Losses, Noised, compiled_gradient, gradient_of
from condgen.losses.score_matching import (
    AdversarialScoreMatching,
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    score_matching_loss,
)
from condgen.rng import device_of
from condgen.schedules import Density, perturb
from condgen.score import ScoreModel
from condgen.training.batch import Batch
from condgen.training.loop import Apply, Task
from condgen.training.prior_pool import PriorPool
from condgen.training.settings import TrainingSettings

_LOST = 0.01  # a gradient that is shorter, against another, is lost in it


@dataclass(eq=False)
class ScoreTask(Task):
    """Denoising score matching; labels are left out as often as `label_dropout` says (Ho & Salimans 2022)."""

    model: ScoreModel
    density: Density
    label_dropout: float = 0.0

    def __post_init__(self) -> None:
        self.models = {"model": self.model}

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Times, noise, and the labels that the score model is told."""
        t = batch.times(self.density, self.model.schedule)
        eps = batch.normal(*batch.x.shape[1:])
        y = batch.y_on_cpu if self.model.labels == "separate" else batch.y
        if self.model.null_label is not None:
            y = y.masked_fill(batch.chance(self.label_dropout), self.model.null_label)
        return t, eps, y

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        def losses(x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
            return {"loss": score_matching_loss(self.model, x, t, eps, y)}

        return apply("model", losses, batch.x, *self.draw(batch))


@dataclass(eq=False, kw_only=True)
class AdversarialScoreTask(ScoreTask):
    """Adversarial score matching: steps of the discriminator, then one of the score model."""

    objective: AdversarialScoreMatching
    discriminator: Discriminator = field(init=False)

    def __post_init__(self) -> None:
        self.discriminator = Discriminator(self.objective, self.model).to(device_of(self.model))
        self.models = {"model": self.model, "discriminator": self.discriminator}
        self.learning_rates = {"discriminator": self.objective.discriminator_lr}
        # Both networks have their own: an average over past gradients is of another opponent.
        self.betas = {"model": self.objective.score_betas, "discriminator": self.objective.discriminator_betas}

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        def judge(x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
            with torch.no_grad():
                fake = self.model(perturb(self.model.schedule, x, t, eps), t, y)
            return discriminator_loss(self.discriminator, x, fake, t)

        def losses(x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Losses:
            return adversarial_loss(self.model, self.discriminator, x, t, eps, y, self.objective.weight)

        own = self.draw(batch)  # first, so that they are those of `ScoreTask`
        for _ in range(self.objective.discriminator_steps):
            judged = apply("discriminator", judge, batch.x, *self.draw(batch))
        return judged | apply("model", losses, batch.x, *own)


@dataclass(eq=False)
class ClassifierTask(Task):
    model: Classifier
    loss: ClassifierLoss
    density: Density
    prior: Denoiser | None = None  # frozen, where the loss needs one
    pool: PriorPool | None = None  # noised images with the prior's estimates, in place of fresh ones

    def __post_init__(self) -> None:
        self.models = {"model": self.model}
        self.gradient: Gradient = gradient_of
        self.log_every, self.rows = 0, 0

    def prepare_(self, settings: TrainingSettings) -> None:
        if settings.compile and self.loss.differentiates_twice:  # the compiler takes the first derivative as a whole
            self.gradient = compiled_gradient()
            settings = settings.model_copy(update={"compile": False})
        super().prepare_(settings)
        self.log_every, self.rows = settings.log_every, settings.micro_batch or settings.batch

    def update(self, batch: Batch, apply: Apply) -> dict[str, Tensor]:
        def losses(x: Tensor, y: Tensor, t: Tensor, eps: Tensor, prior_eps: Tensor | None = None) -> Losses:
            if prior_eps is None and self.prior is not None:
                with torch.no_grad():
                    prior_eps = self.prior.eps(perturb(self.prior.schedule, x, t, eps), t)
            return self.loss(self.model, Noised(x, y, t, eps, prior_eps), self.gradient)

        if self.pool is not None:
            tensors: tuple[Tensor, ...] = self.pool.draw(batch)
        else:
            t = batch.times(self.density, self.model.schedule)
            tensors = (batch.x, batch.y, t, batch.normal(*batch.x.shape[1:]))
        found = apply("model", losses, *tensors)
        if self.log_every and (batch.step + 1) % self.log_every == 0:
            found |= self._balance(losses(*(tensor[: self.rows] for tensor in tensors)))
        return found

    def warning(self, metrics: Mapping[str, float]) -> str:
        for name, ratio in metrics.items():
            first, _, second = name.removesuffix("_gradient").partition("_to_")
            if second and ratio < _LOST:
                advice = f"give {first} more weight ('condgen settings classifier.objective' lists the settings)"
                problem = f"the gradient of {first} is {ratio:.1g} of that of {second}, so that {second} alone trains"
                return f"{problem}: {advice}"
        return ""

    def _balance(self, losses: Losses) -> dict[str, Tensor]:
        """How long the gradient of the first term of the loss is, against that of the second."""
        norms: dict[str, Tensor] = {}
        for name, term in self.loss.terms(losses).items():
            parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(term.mean(), parameters, retain_graph=True, materialize_grads=True)
            norms[name] = torch.stack([gradient.norm() for gradient in gradients]).norm()
        if not norms:
            return {}
        (first, one), (second, other) = norms.items()
        return {f"{first}_to_{second}_gradient": one / other}
