r"""Losses of :math:`p = p(y \mid x_t)`, whose gradient, which guides sampling, they never look at.

Cross-entropy, :math:`-\log p`, has its optimum at the true class posterior. Focal loss,
:math:`-(1 - p)^\gamma \log p` (Lin et al. 2017, arXiv 1708.02002), has not: what is classified well already, such as
data with little noise, counts less.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Likelihood
from condgen.losses.base import Noised, PosteriorLoss


class CrossEntropy(PosteriorLoss):
    """Cross-entropy alone."""

    loss: Literal["ce"] = "ce"
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="of the label's probability, spread evenly over all classes"
    )
    # 10 is the "scaling" of Chao et al. 2022 (table 2), which makes up for a gradient that is too small
    usual_scales: ClassVar[tuple[float, ...]] = (1.0, 10.0)

    def of(self, log_p: Tensor, y: Tensor) -> Tensor:
        chosen = log_p.gather(1, y[:, None])[:, 0]
        return -torch.lerp(chosen, log_p.mean(1), self.label_smoothing) if self.label_smoothing else -chosen


class Focal(PosteriorLoss):
    """Focal loss."""

    loss: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0, description="0 is cross-entropy")

    def of(self, log_p: Tensor, y: Tensor) -> Tensor:
        chosen = log_p.gather(1, y[:, None])[:, 0]
        return (-chosen.expm1()).pow(self.gamma) * -chosen


def cross_entropy_loss(
    classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """The loss of each sample, (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise."""
    return CrossEntropy(label_smoothing=label_smoothing)(classifier, Noised(x, y, t, eps))["loss"]


def focal_loss(classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor, gamma: float = 2.0) -> Tensor:
    """The loss of each sample, (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise."""
    return Focal(gamma=gamma)(classifier, Noised(x, y, t, eps))["loss"]
