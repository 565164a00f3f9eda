r"""Cross-entropy of noised data, :math:`-\log p(y \mid x_t)`.

Its optimum is the true class posterior, but sampling uses the gradient, which it never looks at.
"""

from typing import Literal

from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.losses.base import ClassifierLoss, Gradient, Losses, logged
from condgen.schedules import perturb

__all__ = ["CrossEntropy", "cross_entropy_loss"]


class CrossEntropy(ClassifierLoss):
    """Cross-entropy alone."""

    loss: Literal["ce"] = "ce"

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
        shown = logged(classifier(perturb(classifier.schedule, x, t, eps), t), y)
        return {"loss": shown["ce"]} | shown


def cross_entropy_loss(classifier: Likelihood, x: Tensor, y: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """-log p(y | x_t), (B,), for data x (B, ...), labels (B,), times (B,) float64 and standard normal noise eps."""
    log_p: Tensor = classifier(perturb(classifier.schedule, x, t, eps), t)
    return -log_p.gather(1, y[:, None])[:, 0]
