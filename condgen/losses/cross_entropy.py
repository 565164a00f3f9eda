"""Cross-entropy: its optimum is the true class posterior, and it never looks at the gradient that guides sampling."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, Noised, gradient_of, logged


class CrossEntropy(ClassifierLoss):
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
