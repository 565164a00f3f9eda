r"""Focal loss, :math:`-(1 - p)^\gamma \log p` for :math:`p = p(y \mid x_t)` (Lin et al. 2017, arXiv 1708.02002).

What is classified well already counts less, such as data with little noise. Its optimum is not the class posterior.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, logged
from condgen.schedules import perturb

__all__ = ["Focal", "focal_loss"]


class Focal(ClassifierLoss):
    """Focal loss."""

    loss: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0, description="0 is cross-entropy")

    def __call__(
        self,
        classifier: Likelihood,
        x: Tensor,
        y: Tensor,
        t: Tensor,
        eps: Tensor,
        prior: Denoiser | None,
        gradient: Gradient,
    ) -> Losses:
        shown = logged(classifier(perturb(classifier.schedule, x, t, eps), t), y)
        return {"loss": _focal(shown["ce"], self.gamma)} | shown


def focal_loss(classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor, gamma: float = 2.0) -> Tensor:
    """The loss of each sample, (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise."""
    log_p: Tensor = classifier(perturb(classifier.schedule, x, t, eps), t)
    return _focal(-log_p.gather(1, y[:, None])[:, 0], gamma)


def _focal(cross_entropy: Tensor, gamma: float) -> Tensor:
    return (-(-cross_entropy).expm1()).pow(gamma) * cross_entropy
