r"""Denoising likelihood score matching (DLSM; Chao et al., ICLR 2022, arXiv 2203.14206).

Sampling uses the *gradient* of :math:`\log p(y \mid x_t; \theta)`, and DLSM trains it. With the frozen prior score
:math:`s` of the unconditional model,

.. math:: L_{DLSM} = E\ \tfrac{1}{2} \lVert \nabla_{x_t} \log p(y \mid x_t; \theta) + s(x_t) + \epsilon/\sigma_t\rVert^2

since :math:`\nabla \log p(x_t \mid x) = -\epsilon/\sigma_t`. Where s is exact, this equals the error of the likelihood
score up to a constant; where it is not, the classifier is asked to mend the error of s as far as a gradient field can.
The total objective is :math:`L_{DLSM} + \lambda L_{CE}`. The constant cancels from the *gain over zero guidance*, the
loss minus the loss at a gradient of zero, which estimates the improvement of the score without an oracle.

The residual is weighted by :math:`(\sigma_t/\alpha_t)^{2w}` and is that of :math:`u = x_t/\alpha_t`, in the unit of the
data, :math:`\nabla_u \log p = \alpha_t \nabla_{x_t} \log p`: equal noise levels weigh the same on VE, VP and EDM.
"""

from typing import ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood, refuse_other_schedules
from condgen.losses.base import ClassifierLoss, Gradient, Losses, Noised, gradient_of, logged
from condgen.schedules import expand, perturb

Reduction: TypeAlias = Literal["sum", "mean"]


class DLSM(ClassifierLoss):
    needs_prior: ClassVar[bool] = True
    differentiates_twice: ClassVar[bool] = True

    loss: Literal["dlsm"] = "dlsm"
    ce_weight: float = Field(default=0.3, ge=0, description="lambda, the weight of cross-entropy")
    sigma_weight: float = Field(
        default=1.5,
        description="w: the residual is weighted by the noise level to the power 2w; above 1, high noise leads",
    )
    reduction: Reduction = Field(
        default="sum",
        description="over the dimensions of the residual; with mean, cross-entropy alone trains on images",
    )

    def terms(self, losses: Losses) -> Losses:
        return {"dlsm": losses["dlsm"], "ce": self.ce_weight * losses["ce"]} if self.ce_weight else {}

    def __call__(self, classifier: Likelihood, data: Noised, gradient: Gradient = gradient_of) -> Losses:
        """Logs "gain" too: DLSM minus DLSM at zero gradient, below zero where guidance helps."""
        x, y, t, eps, prior_eps = data
        if prior_eps is None:
            raise ValueError("DLSM needs the estimate of the prior score model")
        target = prior_eps - eps  # sigma (grad log p(x_t|x) - s), what sigma times the gradient is to match
        found, score = gradient(classifier, data.at(classifier.schedule), t, y)
        weight = 0.5 * classifier.schedule.noise_level(t).to(x.device, x.dtype) ** (2 * self.sigma_weight - 2)
        scaled = expand(classifier.schedule.sigma(t), x) * score

        def reduce(residual: Tensor) -> Tensor:
            squares = residual.square().flatten(1)
            return weight * (squares.sum(1) if self.reduction == "sum" else squares.mean(1))

        dlsm, shown = reduce(scaled - target), logged(classifier, found, y)
        gain = (dlsm - reduce(target)).detach()
        return {"loss": dlsm + self.ce_weight * shown["ce"], **shown, "dlsm": dlsm, "gain": gain}


def dlsm_loss(
    classifier: Likelihood,
    prior: Denoiser | Tensor,
    x: Tensor,
    y: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    ce_weight: float = 0.3,
    sigma_weight: float = 1.5,
    reduction: Reduction = "sum",
) -> Tensor:
    """DLSM plus `ce_weight` times cross-entropy, of each sample, (B,); second derivatives run through the classifier.

    x (B, ...) is clean data, y (B,) are labels, or what the classifier's head takes, t (B,) times in float64, eps is
    standard normal noise. The prior is the unconditional score model, on the classifier's schedule, or its estimate of
    eps at x_t, (B, ...); no gradient runs through it. sigma_weight is w.
    """
    loss = DLSM(ce_weight=ce_weight, sigma_weight=sigma_weight, reduction=reduction)
    if isinstance(prior, Denoiser):
        refuse_other_schedules(classifier, prior)
        with torch.no_grad():
            prior = prior.eps(perturb(classifier.schedule, x, t, eps), t)
    return loss(classifier, Noised(x, y, t, eps, prior))["loss"]


PRESETS = {
    "dlsm-cifar": DLSM(ce_weight=0.25, sigma_weight=0.0, reduction="mean"),
    "dlsm-moons": DLSM(ce_weight=0.125, sigma_weight=2.0, reduction="mean"),
    "dlsm-pure": DLSM(ce_weight=0.0, sigma_weight=1.0),
}
"""The first two balance as the official code on CIFAR and toy data: on images their mean over dimensions leaves DLSM
1e-4 of cross-entropy's gradient or less. The paper's lambda on CIFAR is 1 for pixels from 0 to 1: for pixels from -1 to
1, scores are half as large and the unweighted residual a quarter, so lambda is a quarter too."""
