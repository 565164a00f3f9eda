"""What every loss of a classifier is, settings that are called with a batch; cross-entropy; and one of one's own."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Likelihood
from condgen.schedules import Schedule, perturb
from condgen.settings import Settings, Target, import_target

Losses: TypeAlias = dict[str, Tensor]
"""Of each sample, (B,): "loss", which is differentiated, and others that are logged."""

Gradient: TypeAlias = Callable[[Likelihood, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(likelihood, x_t, t, y) -> what it gives, and the likelihood score of y, (B, ...), both differentiable."""


class Noised(NamedTuple):
    x: Tensor  # clean, (B, ...)
    y: Tensor  # labels, (B,), or what else the classifier's head takes
    t: Tensor  # times, (B,) float64
    eps: Tensor  # standard normal noise, of the shape of x
    prior_eps: Tensor | None = None  # the frozen score model's estimate of eps at x_t, where a loss needs it

    def at(self, schedule: Schedule) -> Tensor:
        """x_t, (B, ...)."""
        return perturb(schedule, self.x, self.t, self.eps)


def gradient_of(classifier: Likelihood, x_t: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A `Gradient`, from one forward and backward pass; a graph in the parameters where gradients are enabled."""
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        found: Tensor = classifier(x_t, t)
        (gradient,) = torch.autograd.grad(classifier.log_prob(found, y).sum(), x_t, create_graph=training)
    return found, gradient


class ClassifierLoss(Settings, ABC):
    loss: str
    usual_scales: ClassVar[tuple[float, ...]] = (1.0,)  # of guidance, at which it is compared with others
    needs_prior: ClassVar[bool] = False
    differentiates_twice: ClassVar[bool] = False  # whether it holds the classifier's gradient in its input

    def terms(self, losses: Losses) -> Losses:
        """The two weighted terms of "loss", each (B,), where their balance matters: the first against the second."""
        return {}

    @abstractmethod
    def __call__(self, classifier: Likelihood, data: Noised, gradient: Gradient = gradient_of) -> Losses:
        """The losses of each sample; `gradient` computes the likelihood score."""


class ImportedLoss(ClassifierLoss):
    """A function (classifier, x, y, t, eps, **options) with one number a sample, (B,), or a dict that has it as "loss".

    It may take `prior_eps`, the frozen score model's estimate of eps (B, ...), and `gradient`, a `Gradient`.
    """

    loss: Literal["import"] = "import"
    target: Target = Field(description="package.module:function")
    options: dict[str, Any] = Field(default={}, description="its further arguments")

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(import_target(self.target)).parameters

    @property
    def needs_prior(self) -> bool:  # type: ignore[override]
        return self._takes("prior_eps")

    @property
    def differentiates_twice(self) -> bool:  # type: ignore[override]
        return self._takes("gradient")

    def __call__(self, classifier: Likelihood, data: Noised, gradient: Gradient = gradient_of) -> Losses:
        *batch, prior_eps = data
        known = {k: v for k, v in {"prior_eps": prior_eps, "gradient": gradient}.items() if self._takes(k)}
        found = import_target(self.target)(classifier, *batch, **known, **self.options)
        return found if isinstance(found, dict) else {"loss": found}


def logged(classifier: Likelihood, found: Tensor, y: Tensor) -> Losses:
    """Cross-entropy and, of labels, accuracy of each sample, (B,), from what the classifier gives."""
    ce = {"ce": -classifier.log_prob(found, y)}
    of_labels = y.dtype == torch.int64 and getattr(classifier, "head", "categorical") == "categorical"
    return ce | ({"accuracy": (found.argmax(1) == y).to(found.dtype)} if of_labels else {})


class CrossEntropy(ClassifierLoss):
    """Its optimum is the true class posterior, and it never looks at the gradient that guides sampling."""

    loss: Literal["ce"] = "ce"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="of the label's probability, over all classes")
    # 10 is the "scaling" of Chao et al. 2022 (table 2), which makes up for a gradient that is too small
    usual_scales: ClassVar[tuple[float, ...]] = (1.0, 10.0)

    def __call__(self, classifier: Likelihood, data: Noised, gradient: Gradient = gradient_of) -> Losses:
        log_p = classifier(data.at(classifier.schedule), data.t)
        shown = logged(classifier, log_p, data.y)
        smooth = self.label_smoothing
        if smooth and data.y.dtype != torch.int64:
            raise ValueError("label smoothing is for classes: leave it out")
        return {"loss": -torch.lerp(-shown["ce"], log_p.mean(1), smooth) if smooth else shown["ce"]} | shown


def cross_entropy_loss(
    classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """The loss of each sample, (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise."""
    return CrossEntropy(label_smoothing=label_smoothing)(classifier, Noised(x, y, t, eps))["loss"]


def compiled_gradient(backend: str = "inductor") -> Gradient:
    """`gradient_of`, compiled, by `torch.func.grad`: the compiler does not take the double backward of autograd."""

    def both(classifier: Likelihood, x_t: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        def chosen(x: Tensor) -> tuple[Tensor, Tensor]:
            found = classifier(x, t)
            return classifier.log_prob(found, y).sum(), found

        gradient, found = torch.func.grad(chosen, has_aux=True)(x_t)
        return found, gradient

    return torch.compile(both, dynamic=False, backend=backend)
