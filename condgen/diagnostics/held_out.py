r"""Which of several methods is nearer to the true posterior score, from held-out data alone: no exact score is needed.

For unseen data (x, y), :math:`x_t = \alpha x + \sigma\epsilon`, and an estimate s of the posterior score,

.. math:: \frac{\sigma^2}{d} E\lVert s(x_t, y) + \epsilon/\sigma \rVert^2
          = \frac{\sigma^2}{d} E\lVert s(x_t, y) - \nabla \log p(x_t \mid y) \rVert^2 + c

since the score of :math:`p(x_t \mid x)` is :math:`-\epsilon/\sigma` and its mean given (x_t, y) is the posterior score
(Vincent 2011, "A connection between score matching and denoising autoencoders", eq. 11). The constant c depends
on the distribution alone, and cancels in the *difference* of two methods, which is negative where the first is nearer
to the truth.

Both methods see the same images and noise. Several noise draws of one image are not independent, so the standard error
is clustered: the mean over its draws makes each image one observation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from condgen.denoiser import Denoiser
from condgen.diagnostics.score_errors import estimate_scores
from condgen.rng import keyed_generator
from condgen.schedules import perturb

_BATCH = 250  # images that networks see at once


@dataclass(frozen=True)
class HeldOutRow:
    """The held-out squared error of one method minus that of a reference, at one noise level."""

    method: str
    reference: str
    sigma: float  # the noise level, sigma / alpha
    mean: float  # over images, in sigma squared a dimension; below zero the method is nearer to the true score
    se: float  # standard error of the mean, clustered by image
    n_images: int
    draws: int  # noise draws of each image
    quantity: Literal["held_out_difference"] = "held_out_difference"


def held_out_differences(
    methods: Mapping[str, Denoiser],
    references: Sequence[str],
    x: Tensor,
    y: Tensor,
    levels: Sequence[float],
    *,
    draws: int = 4,
    seed: int = 0,
    batch: int = _BATCH,
) -> Iterator[HeldOutRow]:
    """How much nearer each method is to the true posterior score than each reference, on held-out data.

    Args:
        methods: estimates of the posterior score by name, on one schedule: guided or conditional denoisers, or an
            unconditional one for zero guidance.
        references: names among them.
        x: data that no method was trained on, (N, ...), N at least 2.
        y: labels, (N,).
        levels: noise levels, sigma / alpha.
        draws: noise draws of each image, the same at every level.
        seed: of the noise.
        batch: images that the networks see at once; changes nothing but rounding.

    Yields:
        A row for each level, reference and other method.

    Raises:
        ValueError: fewer than 2 images, an unknown reference, or methods on two schedules.
    """
    if len(x) < 2:
        raise ValueError("a standard error over images needs at least 2 of them")
    if unknown := set(references) - set(methods):
        raise ValueError(f"{unknown.pop()!r} is none of the methods {list(methods)}")
    first, *others = (method.schedule for method in methods.values())
    if any(schedule != first for schedule in others):
        raise ValueError(f"the methods differ in schedule: {first!r}, {others!r}")
    for level in levels:
        t = first.t_of_noise_level(torch.tensor(level, dtype=torch.float64))
        errors = dict.fromkeys(methods, torch.zeros(len(x), dtype=torch.float64))
        for draw in range(draws):
            noise = torch.randn(x.shape, generator=keyed_generator(seed, draw), dtype=x.dtype)
            parts = [
                denoising_errors(methods, x[rows], y[rows], t, noise[rows].to(x.device))
                for rows in (slice(start, start + batch) for start in range(0, len(x), batch))
            ]
            for name in methods:
                errors[name] = errors[name] + torch.cat([part[name] for part in parts]).cpu() / draws
        for reference in references:
            for name in methods:
                if name != reference:
                    difference = errors[name] - errors[reference]
                    se = float(difference.std(correction=1)) / math.sqrt(len(x))
                    yield HeldOutRow(name, reference, level, float(difference.mean()), se, len(x), draws)


@torch.no_grad()
def denoising_errors(
    methods: Mapping[str, Denoiser], x: Tensor, y: Tensor, t: Tensor, eps: Tensor
) -> dict[str, Tensor]:
    r"""The errors :math:`\sigma^2 \lVert s + \epsilon/\sigma\rVert^2 / d` of methods by name, each (B,) float64.

    Args:
        methods: estimates of the posterior score, by name, on one schedule.
        x: clean data, (B, ...) float32.
        y: labels, (B,).
        t: the time, scalar float64.
        eps: standard normal noise, of the shape of x.
    """
    schedule = next(iter(methods.values())).schedule
    sigma, errors = float(schedule.sigma(t)), {}
    for name, (score, guidance) in estimate_scores(methods, perturb(schedule, x, t, eps), t, y).items():
        whole = score if guidance is None else score + guidance
        errors[name] = (sigma * whole + eps).square().flatten(1).mean(1)
    return errors
