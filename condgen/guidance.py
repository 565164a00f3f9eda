r"""Guidance: a denoiser that wraps a denoiser, so that every sampler works with every guidance.

Classifier guidance (Dhariwal & Nguyen 2021; Bayes' rule at scale 1) adds the likelihood score to the prior score:

.. math:: \tilde s(x_t, y) = s(x_t) + \gamma\, \nabla_{x_t} \log p(y \mid x_t)

A scale of 0 is no guidance. Outside an interval of noise levels (Kynkäänniemi et al. 2024) the classifier is not
called.
"""

import torch
from torch import Tensor

from condgen.bayes import Denoiser, Likelihood
from condgen.noise import expand

__all__ = ["ClassifierGuided"]


class ClassifierGuided(Denoiser):
    """A denoiser steered towards the label by a likelihood.

    Args:
        denoiser: the unconditional estimate.
        likelihood: gives the likelihood score.
        scale: the factor before the likelihood score; 1 is Bayes' rule, 0 is off.
        interval: noise levels (sigma / alpha) between which guidance acts; everywhere by default.

    Raises:
        ValueError: where the two stand on different schedules.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        scale: float = 1.0,
        interval: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if denoiser.schedule != likelihood.schedule:
            raise ValueError(
                f"denoiser and likelihood differ in schedule: {denoiser.schedule!r}, {likelihood.schedule!r}"
            )
        self.denoiser = denoiser
        self.likelihood = likelihood
        self.schedule = denoiser.schedule
        self.scale = scale
        self.interval = interval

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The guided estimate, (B, ...): a likelihood score g moves the denoised mean by sigma^2 g / alpha."""
        if y is None:
            raise ValueError("a guided denoiser needs labels")
        denoised: Tensor = self.denoiser(x_t, t)
        level = self.schedule.noise_level(t)
        low, high = self.interval or (0.0, float("inf"))
        inside = (low <= level) & (level <= high)
        if self.scale == 0 or not bool(inside.any()):
            return denoised
        shift = torch.where(inside, self.scale * self.schedule.sigma(t) ** 2 / self.schedule.alpha(t), 0.0)
        return denoised + expand(shift, x_t) * self.likelihood.score(x_t, t, y)
