r"""Which of several methods is nearer to the true posterior score, from held-out data alone: no exact score is needed.

For unseen data (x, y), :math:`x_t = \alpha x + \sigma\epsilon`, and an estimate s of the posterior score,

.. math:: \frac{\sigma^2}{d} E\lVert s(x_t, y) + \epsilon/\sigma \rVert^2
          = \frac{\sigma^2}{d} E\lVert s(x_t, y) - \nabla \log p(x_t \mid y) \rVert^2 + c

since the score of :math:`p(x_t \mid x)` is :math:`-\epsilon/\sigma` and its mean given (x_t, y) is the posterior score
(Vincent 2011, "A connection between score matching and denoising autoencoders", eq. 11). The constant c depends on the
distribution alone, and cancels in the *difference* of two methods, which is negative where the first is nearer to the
truth. All methods see the same images and noise; the mean over the noise draws of an image is one observation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, evaluated, refuse_other_schedules
from condgen.diagnostics.score_errors import estimate_scores
from condgen.rng import device_of, keyed_generator, normal_rows, to_float64
from condgen.rows import AveragedRow, Estimate
from condgen.schedules import perturb

SURE = 3.0  # standard errors beyond which a difference is taken for one
_BATCH = 250  # images that networks see at once


class HeldOutRow(AveragedRow):
    """A method against a reference at one noise level; differences are in sigma squared a dimension."""

    quantity: Literal["held_out_difference"]
    method: str
    reference: str
    sigma: float = Field(gt=0)  # the noise level, sigma / alpha
    mean: float  # over images
    se: float  # its standard error, clustered by image
    n_images: int = Field(ge=2)
    draws: int = Field(ge=1)  # noise draws of each image

    @property
    def estimate(self) -> Estimate:
        return self.interval(self.mean, 2 * self.se)


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
) -> list[HeldOutRow]:
    """How much nearer each method is to the true posterior score than each reference, on held-out data.

    Args:
        methods: denoisers of the posterior by name, on one schedule, or an unconditional one for zero guidance.
        references: names among them.
        x: data that no method was trained on, (N, ...), N at least 2: floats as the models see them, or bytes.
        y: labels, (N,), or what else the classifiers' heads take.
        levels: noise levels, sigma / alpha.
        draws: noise draws of each image, the same at every level.
        seed: of the noise.
        batch: images that the networks see at once; changes nothing but rounding.

    Raises:
        ValueError: methods on two schedules.
        UserError: a score is not finite.
    """
    refuse_other_schedules(*methods.values())
    device = device_of(next(iter(methods.values())))
    errors = torch.zeros(len(x), len(levels), len(methods), dtype=torch.float64)
    with evaluated(*methods.values()):
        for _ in add_errors(errors, methods, x, y, levels, 0, device, draws=draws, seed=seed, batch=batch):
            pass
    return compare_errors(errors, list(methods), references, levels, draws)


def add_errors(
    errors: Tensor,
    methods: Mapping[str, Denoiser],
    x: Tensor,
    y: Tensor,
    levels: Sequence[float],
    first: int,
    device: torch.device,
    *,
    draws: int,
    seed: int,
    batch: int = _BATCH,
    pairs: Sequence[tuple[str, str]] = (),
    maps: Tensor | None = None,
) -> Iterator[int]:
    r"""Adds errors :math:`\sigma^2 \lVert s + \epsilon/\sigma\rVert^2 / d`, means over draws, to (N, levels, methods).

    They are of the images from `first` on, each of whose noise is its own. Yields how many images a batch had. To
    `maps`, (2, pairs, levels, H, W), are added, for pairs of methods, the sums over images of the difference of their
    errors at each pixel, the mean over channels and draws, and of its square.
    """
    schedule = next(iter(methods.values())).schedule
    times = [schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64)) for level in levels]
    for kept in errors.split(batch):
        part = slice(first, first := first + len(kept))
        clean, labels = x[part].to(device), y[part].to(device)
        clean = clean.float() / 127.5 - 1 if clean.dtype == torch.uint8 else clean.float()
        at_pixels = torch.zeros(len(labels), *maps.shape[1:]) if maps is not None else None
        for draw in range(draws):
            eps = normal_rows(len(x), part, x.shape[1:], keyed_generator(seed, draw), (seed, draw), device)
            for place, t in enumerate(times):
                with torch.no_grad():
                    estimates = estimate_scores(methods, perturb(schedule, clean, t, eps), t, labels)
                    sigma, noise = float(schedule.sigma(t)), to_float64(eps)
                    squares = {name: (sigma * one.whole + noise).square() for name, one in estimates.items()}
                    means = [one.flatten(1).mean(1) for one in squares.values()]
                    kept[:, place] += torch.stack(means, 1).cpu() / draws
                    if at_pixels is not None:
                        of_pairs = [(squares[one] - squares[other]).mean(1) for one, other in pairs]
                        at_pixels[:, :, place] += torch.stack(of_pairs, 1).cpu() / draws
                yield len(labels)
        if at_pixels is not None and maps is not None:
            maps += torch.stack((at_pixels.sum(0), at_pixels.square().sum(0)))


def standard_errors(maps: Tensor, n: int) -> Tensor:
    """The means over n images in their standard errors, (pairs, levels, H, W), from the sums of `add_errors`."""
    mean, square = maps.double() / n
    return mean / ((square - mean.square()).clamp_min(1e-30) / (n - 1)).sqrt()


def compare_errors(
    errors: Tensor, names: Sequence[str], references: Sequence[str], levels: Sequence[float], draws: int
) -> list[HeldOutRow]:
    """Differences of each method from each reference; errors are (N, levels, methods)."""
    rows, pairs = [], [(name, reference) for reference in references for name in names if name != reference]
    for level, of_level in zip(levels, errors.unbind(1), strict=True):
        of = dict(zip(names, of_level.unbind(1), strict=True))
        for method, reference in pairs:
            found = of[method] - of[reference]
            se = float(found.std(correction=1)) / math.sqrt(len(found))
            about = {"quantity": "held_out_difference", "method": method, "reference": reference, "sigma": level}
            counts = {"n_images": len(found), "draws": draws}
            rows.append(HeldOutRow.model_validate(about | counts | {"mean": float(found.mean()), "se": se}))
    return rows
