r"""Cross-entropy of noised data, :math:`-\log p(y \mid x_t)`.

Its optimum is the true class posterior, but sampling uses the gradient, which it never looks at.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, logged
from condgen.schedules import perturb

__all__ = ["CrossEntropy", "cross_entropy_loss"]


class CrossEntropy(ClassifierLoss):
    """Cross-entropy alone."""

    loss: Literal["ce"] = "ce"
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="of the label's probability, spread evenly over all classes"
    )

    @property
    def usual_scales(self) -> tuple[float, ...]:
        """10 is the "scaling" of Chao et al. 2022 (table 2), which makes up for a gradient that is too small."""
        return (1.0, 10.0)

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
        log_p = classifier(perturb(classifier.schedule, x, t, eps), t)
        return {"loss": _smoothed(log_p, y, self.label_smoothing)} | logged(log_p, y)


def cross_entropy_loss(
    classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """The loss of each sample, (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise."""
    return _smoothed(classifier(perturb(classifier.schedule, x, t, eps), t), y, label_smoothing)


def _smoothed(log_p: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    chosen = log_p.gather(1, y[:, None])[:, 0]
    return -torch.lerp(chosen, log_p.mean(1), label_smoothing) if label_smoothing else -chosen
