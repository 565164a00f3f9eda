r"""The noise-aware classifier, its likelihood score, and its two objectives.

Cross-entropy asks that :math:`\log p(y \mid x_t; \theta)` be right; sampling uses its *gradient*, which cross-entropy
does not look at. Denoising likelihood score matching (DLSM; Chao et al., ICLR 2022, arXiv 2203.14206) trains the
gradient. With the frozen prior score :math:`s` of the unconditional model,

.. math:: L_{DLSM} = E\ \tfrac{1}{2} \lVert \nabla_{x_t} \log p(y \mid x_t; \theta) + s(x_t) + \epsilon/\sigma_t\rVert^2

since :math:`\nabla \log p(x_t \mid x) = -\epsilon/\sigma_t`. Where s is exact, this equals the error of the likelihood
score up to a constant; where it is not, the classifier is asked to mend the error of s as far as a gradient field can.
The total objective is :math:`L_{DLSM} + \lambda L_{CE}`. For the same reason the *gain over zero guidance*, the loss
minus the loss at a gradient of zero, estimates the improvement of the score without an oracle: the constant cancels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from condgen.checkpoint import load_model
from condgen.denoiser import Denoiser, Likelihood
from condgen.hub import model_folder
from condgen.networks import AnyClassifierNet, input_gradient_only
from condgen.schedules import AnySchedule, expand, perturb
from condgen.settings import Settings

__all__ = [
    "PRESETS",
    "Classifier",
    "ClassifierConfig",
    "ClassifierLosses",
    "ClassifierObjective",
    "Gradient",
    "PresetName",
    "classifier_losses",
    "compiled_gradient",
    "gradient_of",
]


class ClassifierConfig(Settings):
    """All that is needed to rebuild a classifier."""

    kind: Literal["classifier"] = "classifier"
    network: AnyClassifierNet
    schedule: AnySchedule
    shape: tuple[PositiveInt, ...] = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1)
    sigma_data: float = Field(gt=0, le=1e9)


class Classifier(Likelihood):
    """A network that estimates log p(y | x_t) at every noise level; its input is scaled to unit variance."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule
        self.n_classes = len(config.names)
        self.net = config.network.build_classifier(config.shape, self.n_classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities, (B, K), for x_t (B, ...) and t scalar or (B,)."""
        alpha, level = self.schedule.alpha(t), self.schedule.noise_level(t)
        c_in = expand(1 / (alpha * (level**2 + self.config.sigma_data**2).sqrt()), x_t)
        c_noise = (level.log() / 4).to(device=x_t.device, dtype=x_t.dtype).expand(len(x_t))
        logits: Tensor = self.net(c_in * x_t, c_noise)
        return logits.log_softmax(1)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: torch.device | str = "cpu", *, trust: bool = False
    ) -> "Classifier":
        """The classifier in a folder, or in one on the hub, `hf:owner/name[/sub-folder]`, ready to be evaluated.

        Its file may name code to import, a network of one's own, only where `trust` is given.
        """
        return cls.load(model_folder(source), device, trust=trust)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", *, trust: bool = False) -> "Classifier":
        """Rebuilds the model of a run folder, ready to be evaluated."""
        return load_model(
            folder, "classifier", lambda config: cls(ClassifierConfig.model_validate(config)), device, trust=trust
        )


class ClassifierObjective(Settings):
    """What a classifier is trained on: cross-entropy, or DLSM plus `ce_weight` times cross-entropy."""

    loss: Literal["ce", "dlsm"] = "dlsm"
    ce_weight: float = Field(default=1.0, ge=0, description="lambda, the weight of cross-entropy beside DLSM")
    sigma_weight: float = Field(
        default=1.0, description="w: the DLSM residual is weighted by the noise level to the power 2w; 1 evens them out"
    )
    reduction: Literal["sum", "mean"] = Field(
        default="mean", description="over the dimensions of the DLSM residual; sets its balance against cross-entropy"
    )


PresetName: TypeAlias = Literal["dlsm-cifar", "dlsm-moons", "dlsm-pure", "ce"]

PRESETS: dict[PresetName, ClassifierObjective] = {
    "dlsm-cifar": ClassifierObjective(loss="dlsm", ce_weight=0.25, sigma_weight=0.0, reduction="mean"),
    "dlsm-moons": ClassifierObjective(loss="dlsm", ce_weight=0.125, sigma_weight=2.0, reduction="mean"),
    "dlsm-pure": ClassifierObjective(loss="dlsm", ce_weight=0.0, sigma_weight=1.0, reduction="mean"),
    "ce": ClassifierObjective(loss="ce"),
}
"""Objectives by name. The first two balance as the official code's CIFAR and toy experiments do; "dlsm-pure" leaves
cross-entropy out, which shows why it is there. The paper's lambda on CIFAR is 1 for pixels from 0 to 1: for pixels from
-1 to 1, scores are half as large and the unweighted residual a quarter, so lambda is a quarter too."""


class ClassifierLosses(NamedTuple):
    """Per-sample losses, each (B,)."""

    total: Tensor
    cross_entropy: Tensor
    correct: Tensor  # 1 where the most probable class is the label
    dlsm: Tensor | None = None
    gain: Tensor | None = None  # DLSM minus DLSM at zero gradient: below zero where guidance helps


Gradient: TypeAlias = Callable[[Likelihood, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(likelihood, x_t, t, y) -> log p, (B, K), and the likelihood score of the labels, (B, ...), both differentiable."""


def gradient_of(classifier: Likelihood, x_t: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities, (B, K), and the likelihood score of the labels, (B, ...), from one forward and backward pass.

    Both can be differentiated in the classifier's parameters where gradients are enabled.
    """
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        log_p: Tensor = classifier(x_t, t)
        with input_gradient_only():
            (gradient,) = torch.autograd.grad(log_p.gather(1, y[:, None]).sum(), x_t, create_graph=training)
    return log_p, gradient


def compiled_gradient(backend: str = "inductor") -> Gradient:
    """`gradient_of`, compiled: worth it in long training, since compiling takes a minute or two.

    The compiler takes `torch.func.grad`, not the double backward of autograd.
    """

    def both(classifier: Likelihood, x_t: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        def chosen(x: Tensor) -> tuple[Tensor, Tensor]:
            log_p = classifier(x, t)
            return log_p.gather(1, y[:, None]).sum(), log_p

        gradient, log_p = torch.func.grad(chosen, has_aux=True)(x_t)
        return log_p, gradient

    compiled: Gradient = torch.compile(both, dynamic=False, backend=backend)
    return compiled


def classifier_losses(
    classifier: Likelihood,
    objective: ClassifierObjective,
    x: Tensor,
    y: Tensor,
    t: Tensor,
    eps: Tensor,
    prior: Denoiser | None = None,
    gradient: Gradient = gradient_of,
) -> ClassifierLosses:
    """Cross-entropy, or DLSM with cross-entropy, from one forward pass of the classifier.

    Args:
        classifier: the noise-aware classifier.
        objective: which loss and its weights.
        x: clean data, (B, ...).
        y: labels, (B,).
        t: times, (B,) float64.
        eps: standard normal noise, of the shape of x.
        prior: the frozen unconditional score model, needed by DLSM.
        gradient: computes the likelihood score.

    Raises:
        ValueError: where DLSM is asked for without a prior.
    """
    x_t = perturb(classifier.schedule, x, t, eps)
    if objective.loss == "ce":
        log_p = classifier(x_t, t)
        cross_entropy = -log_p.gather(1, y[:, None])[:, 0]
        return ClassifierLosses(cross_entropy, cross_entropy, (log_p.argmax(1) == y).to(x.dtype))
    if prior is None:
        raise ValueError("DLSM needs the prior score model")

    with torch.no_grad():
        target = prior.eps(x_t, t) - eps  # sigma (grad log p(x_t|x) - s), what sigma times the gradient is to match
    log_p, score = gradient(classifier, x_t, t, y)
    chosen = log_p.gather(1, y[:, None])[:, 0]
    level = classifier.schedule.noise_level(t).to(x.device, x.dtype)
    weight = 0.5 * level ** (2 * objective.sigma_weight - 2)
    scaled = expand(classifier.schedule.sigma(t), x) * score

    def reduce(residual: Tensor) -> Tensor:
        squares = residual.square().flatten(1)
        return weight * (squares.sum(1) if objective.reduction == "sum" else squares.mean(1))

    dlsm = reduce(scaled - target)
    return ClassifierLosses(
        total=dlsm - objective.ce_weight * chosen,
        cross_entropy=-chosen,
        correct=(log_p.argmax(1) == y).to(x.dtype),
        dlsm=dlsm,
        gain=(dlsm - reduce(target)).detach(),
    )
