r"""Denoising score matching, :math:`\lambda(s) \lVert D(\alpha x + \sigma\epsilon, t) - x \rVert^2 / d`.

The weight :math:`\lambda = (s^2 + s_d^2) / (s\, s_d)^2` makes the loss of an untrained network one at every noise level
(Karras et al. 2022, section 5); up to it this is Vincent's (2011) denoising score matching.
"""

from torch import Tensor

from condgen.schedules import perturb
from condgen.score import ScoreModel


def score_matching_loss(model: ScoreModel, x: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
    """The loss of each sample, (B,), for clean x (B, ...), t (B,) float64, standard normal eps and labels y (B,)."""
    return weighted_error(model, model(perturb(model.schedule, x, t, eps), t, y), x, t)


def weighted_error(model: ScoreModel, denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The loss of a denoised estimate, (B,)."""
    level, sigma_data = model.schedule.noise_level(t), model.sigma_data
    weight = (level**2 + sigma_data**2) / (level * sigma_data) ** 2
    error = denoised - x
    return weight.to(error.device, error.dtype) * error.square().flatten(1).mean(1)
