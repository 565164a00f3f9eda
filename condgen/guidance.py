r"""Guidance: a denoiser that wraps denoisers, so that every sampler works with every guidance.

Classifier guidance (Dhariwal & Nguyen 2021; Bayes' rule at scale 1) adds the likelihood score to the prior score:

.. math:: \tilde s(x_t, y) = s(x_t) + \gamma\, \nabla_{x_t} \log p(y \mid x_t)

Its rivals need no classifier. They go from the estimate of a worse denoiser through that of a better one, and beyond:

.. math:: \tilde D(x_t, y) = D_{guide} + \gamma\, (D_{main} - D_{guide})

With the main network deprived of its label as the guide, this is classifier-free guidance (Ho & Salimans 2022, arXiv
2207.12598, eq. 6 with :math:`\gamma = 1 + w`), whose difference of scores is a likelihood score by Bayes' rule. With
another, weaker model as the guide it is autoguidance (Karras et al. 2024, arXiv 2406.02507).

Either scale may follow the noise level, and either may be confined to an interval of noise levels (Kynkäänniemi et al.
2024, arXiv 2404.07724).
"""

from itertools import pairwise
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood, refuse_other_schedules
from condgen.schedules import expand, is_within
from condgen.score import ScoreModel
from condgen.settings import Settings


class ScaleCurve(Settings):
    """A guidance scale for every noise level: straight between knots over the logarithm of the level, flat beyond them.

    Levels are sigma / alpha, rising. Between two zeros the scale is exactly zero, so guidance costs nothing.
    """

    levels: tuple[PositiveFloat, ...] = Field(min_length=1)
    scales: tuple[float, ...]

    @model_validator(mode="after")
    def _knots(self) -> "ScaleCurve":
        if len(self.levels) != len(self.scales):
            raise ValueError(f"{len(self.levels)} noise levels cannot have {len(self.scales)} scales")
        if any(low >= high for low, high in pairwise(self.levels)):
            raise ValueError(f"noise levels must rise, which {self.levels} do not")
        return self

    def at(self, level: Tensor) -> Tensor:
        """The scale at noise levels of any shape: the same shape, float64."""
        knots = torch.tensor(self.levels, dtype=torch.float64).log()
        scales = np.interp(level.double().cpu().log(), knots, self.scales)
        return torch.as_tensor(scales, dtype=torch.float64, device=level.device)


Scale: TypeAlias = float | ScaleCurve
Interval: TypeAlias = tuple[float, float]


class _Guided(Denoiser):
    """A denoiser whose estimate is moved by another model, where the scale is not that of doing nothing."""

    idle: ClassVar[float]  # the scale that leaves the denoiser as it is

    def __init__(
        self, denoiser: Denoiser, other: Denoiser | Likelihood | None, scale: Scale, interval: Interval | None
    ) -> None:
        super().__init__()
        refuse_other_schedules(*([denoiser] if other is None else [denoiser, other]))
        if interval is not None and interval[0] > interval[1]:
            raise ValueError(f"an interval of noise levels is (low, high), not {interval}")
        self.denoiser, self.schedule, self.scale, self.interval = denoiser, denoiser.schedule, scale, interval

    def scale_at(self, t: Tensor) -> Tensor:
        """The scale at times t, float64 of the shape of t: `idle` outside the interval of noise levels."""
        level = self.schedule.noise_level(t)
        low, high = self.interval or (0.0, float("inf"))
        value = self.scale.at(level) if isinstance(self.scale, ScaleCurve) else torch.full_like(level, self.scale)
        return torch.where(is_within(level, low, high), value, self.idle)

    def acting(self, t: Tensor, scale: Tensor) -> bool | Tensor:
        """Whether guidance moves the whole batch, none of it, or which samples of it, (B,)."""
        if not isinstance(self.scale, ScaleCurve) and self.interval is None:  # or else t's device is waited for
            return self.scale != self.idle
        acts = scale != self.idle
        return acts if len(acts.unique()) > 1 else bool(acts.any())


class ClassifierGuided(_Guided):
    """An unconditional denoiser steered towards the label by a likelihood.

    Args:
        scale: the factor before the likelihood score; 1 is Bayes' rule. Where it is 0, the likelihood is not called.
        interval: noise levels (sigma / alpha) between which guidance acts; everywhere by default.
    """

    idle = 0.0

    def __init__(
        self, denoiser: Denoiser, likelihood: Likelihood, scale: Scale = 1.0, interval: Interval | None = None
    ) -> None:
        super().__init__(denoiser, likelihood, scale, interval)
        self.likelihood = likelihood

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The guided estimate, (B, ...): a likelihood score g moves the denoised mean by sigma^2 g / alpha."""
        if y is None:
            raise ValueError("a guided denoiser needs labels")
        denoised: Tensor = self.denoiser(x_t, t)
        scale = self.scale_at(t)
        acts = self.acting(t, scale)
        if acts is False:
            return denoised
        shift = scale * self.schedule.sigma(t) ** 2 / self.schedule.alpha(t)
        if acts is True:
            return denoised + expand(shift, x_t) * self.likelihood.score(x_t, t, y)
        rows = acts.nonzero()[:, 0]
        score = self.likelihood.score(x_t[rows], t[rows], y[rows])
        return denoised.index_add(0, rows.to(x_t.device), expand(shift[rows], x_t) * score)


class DenoiserGuided(_Guided):
    """A denoiser driven further away from a worse one: classifier-free guidance, or autoguidance.

    Args:
        guide: the worse estimate. None is the main denoiser without its label, for classifier-free guidance: a score
            model sees both questions in one batch of 2B. Another one is given the label, for autoguidance.
        scale: 1 is the main estimate, which then is asked alone; 0 the guide's; larger goes beyond.
        interval: noise levels (sigma / alpha) between which guidance acts; everywhere by default.
    """

    idle = 1.0

    def __init__(
        self, denoiser: Denoiser, guide: Denoiser | None = None, scale: Scale = 1.0, interval: Interval | None = None
    ) -> None:
        super().__init__(denoiser, guide, scale, interval)
        self.guide = guide

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The guided estimate, (B, ...). Autoguidance of denoisers that know no labels needs none."""
        if y is None and self.guide is None:
            raise ValueError("a guided denoiser needs labels")
        scale = self.scale_at(t)
        acts = self.acting(t, scale)
        if acts is False:
            return self.denoiser(x_t, t, y)
        if acts is True:
            main, guide = self._both(x_t, t, y)
            return torch.lerp(guide, main, expand(scale, x_t))  # exact at 0 and at 1
        guided = torch.empty_like(x_t)
        for part in (acts, ~acts):
            rows = part.nonzero()[:, 0].to(x_t.device)
            guided[rows] = self(x_t[rows], t[part], None if y is None else y[rows])
        return guided

    def _both(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.guide is not None:
            return self.denoiser(x_t, t, y), self.guide(x_t, t, y)
        null = self.denoiser.null_label if isinstance(self.denoiser, ScoreModel) else None
        if null is None or y is None:
            return self.denoiser(x_t, t, y), self.denoiser(x_t, t)
        times = t if t.ndim == 0 else torch.cat((t, t))
        return self.denoiser(torch.cat((x_t, x_t)), times, torch.cat((y, torch.full_like(y, null)))).chunk(2)
