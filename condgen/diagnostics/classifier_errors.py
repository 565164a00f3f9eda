r"""How good a noisy classifier is at each noise level, and the guidance scale that suits its gradient there.

For held-out x with label y and noise :math:`\epsilon`, let :math:`x_t = \alpha x + \sigma\epsilon`, s the prior score,
and g the likelihood score of y. The score of :math:`p(x_t \mid x)` is :math:`-\epsilon/\sigma`, so what is left for the
classifier to supply is

.. math:: r = -\epsilon/\sigma - s(x_t), \qquad
          L(a) = \tfrac{1}{2} E\lVert a g - r \rVert^2 = \text{error of the guided score at scale } a + \text{constant}

which is the loss of Chao et al. 2022 (arXiv 2203.14206, DLSM) at one noise level. The *gain over zero guidance* is

.. math:: L(1) - L(0) = E[\tfrac{1}{2}\lVert g \rVert^2 - \langle g, r\rangle]

which is below zero where guidance helps, and the scale of least loss

.. math:: a^* = E\langle g, r\rangle\, /\, E\lVert g \rVert^2, \qquad
          L(a^*) - L(0) = -\tfrac{1}{2} (E\langle g, r\rangle)^2 / E\lVert g \rVert^2

With g and s exact, :math:`a^* = 1`. Gains are given times :math:`\sigma^2` and per dimension: half the squared error of
the predicted noise, a pure number that no change of schedule alters. The mean over the noise draws of an image is one
observation, since they are not independent (Cochran 1977, "Sampling Techniques", sections 6.3 and 9A).
"""

import math
from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood, refuse_other_schedules
from condgen.guidance import ScaleCurve
from condgen.rng import to_float64
from condgen.rows import Row
from condgen.schedules import Schedule, perturb

_BATCH = 500  # noised images that the networks see at once
_BINS = 15  # of confidence, equally wide
SHARE = 0.01  # of the greatest gain over levels, below which guidance is not worth its cost at a level
THRESHOLD = 3.0  # standard errors; of 16 levels without any gain, one passes by chance in 2 of 100 calibrations
RULE = f"{THRESHOLD} standard errors, {SHARE} of the greatest gain, {_BINS} bins"
MEANINGS = {
    "guidance": f"where the mean of <g, r> is above zero by more than {THRESHOLD:g} standard errors, and the gain at "
    f"the best scale at least {SHARE:.0%} of the greatest",
    "gain": "times sigma squared, per dimension; ± are standard errors over images",
    "ece": f"{_BINS} bins of equal width in the probability of the most probable class",
}


class LevelRow(Row):
    classifier: str = ""
    sigma: float = Field(gt=0)  # the noise level, sigma / alpha, in units of the data
    n: int = Field(ge=1)  # unseen images
    draws: int = Field(ge=1)  # noise draws of each image
    accuracy: float  # the fraction of noised images whose most probable class is their label
    cross_entropy: float  # mean of -log p(y | x_t), nats
    ece: float  # see `expected_calibration_error`
    norm: float  # mean length of the likelihood score of the label, one over units of x_t
    gain: float | None = None  # L(1) - L(0) times sigma squared, per dimension; below zero where guidance helps
    gain_se: float | None = None  # its standard error over images
    scale: float | None = None  # the guidance scale of least loss; 0 where the likelihood score is zero throughout
    scale_se: float | None = None  # its standard error over images
    scale_gain: float | None = None  # L(scale) - L(0), as `gain`; a little too good: the same data chose the scale
    z: float | None = None  # the mean of <g, r> in standard errors: how surely some guidance is better than none


def measure_classifier(
    likelihood: Likelihood,
    prior: Denoiser | None,
    x: Tensor,
    y: Tensor,
    levels: Sequence[float],
    *,
    draws: int = 1,
    generator: torch.Generator,
    batch: int = _BATCH,
) -> Iterator[LevelRow]:
    """Measures a classifier on held-out data, x (N, ...) with labels (N,), N at least 2, one noise level after another.

    The state of the CPU generator decides the noise, the same at every level. ValueError: the prior has another
    schedule.
    """
    schedule, n, dimensions = likelihood.schedule, len(x), x[0].numel()
    refuse_other_schedules(*([likelihood] if prior is None else [likelihood, prior]))
    state = generator.get_state()
    for level in levels:
        generator.set_state(state)
        t = schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64))
        sigma = float(schedule.sigma(t))
        found = []
        for _ in range(draws):
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)  # of all images, whatever the batch is
            for rows in torch.arange(n).split(batch):
                eps, labels = noise[rows].to(x.device), y[rows.to(y.device)]
                x_t = perturb(schedule, x[rows.to(x.device)], t, eps)
                g = sigma * to_float64(likelihood.score(x_t, t, labels)).flatten(1)  # sigma g
                own = labels.to(g.device)
                with torch.no_grad():
                    log_p = to_float64(likelihood(x_t, t))
                    best = log_p.max(1)
                    part = [log_p.gather(1, own[:, None])[:, 0], best.values.exp(), (best.indices == own).double()]
                    part.append(g.square().sum(1))
                    if prior is not None:
                        part.append((g * to_float64(prior.eps(x_t, t) - eps).flatten(1)).sum(1))  # <sigma g, sigma r>
                found.append(part)
        log_p, confidence, correct, square, *product = map(torch.cat, zip(*found, strict=True))
        means = [values.view(draws, n).mean(0) / dimensions for values in (square, *product)]
        yield LevelRow(
            sigma=level,
            n=n,
            draws=draws,
            accuracy=float(correct.mean()),
            cross_entropy=-float(log_p.mean()),
            ece=expected_calibration_error(confidence, correct),
            norm=float(square.sqrt().mean()) / sigma,
            **(_gains(*means) if product else {}),
        )


def _gains(square: Tensor, product: Tensor) -> dict[str, float]:
    """Gain and best scale from each image's means of |sigma g|^2 and <sigma g, sigma r>, both (n,) float64."""

    def standard_error(values: Tensor) -> float:
        return float(values.std(correction=1)) / math.sqrt(len(values))

    gain = 0.5 * square - product
    top, bottom, error = float(product.mean()), float(square.mean()), standard_error(product)
    scale = top / bottom if bottom > 0 else 0.0
    return {
        "gain": float(gain.mean()),
        "gain_se": standard_error(gain),
        "scale": scale,
        "scale_se": standard_error(product - scale * square) / bottom if bottom > 0 else 0.0,
        "scale_gain": -0.5 * scale * top,
        "z": top / error if error > 0 else 0.0,
    }


def expected_calibration_error(confidence: Tensor, correct: Tensor) -> float:
    r"""Mean over predictions of the gap between confidence and accuracy within a bin of equal confidence.

    .. math:: \sum_b \frac{n_b}{n} \left| \text{accuracy}_b - \text{confidence}_b \right|

    over equally wide bins :math:`(i/b, (i+1)/b]` of the probability of the most probable class, (n,) (Guo et al. 2017,
    "On Calibration of Modern Neural Networks", eq. 3); correct, (n,), is 1 where that is the label. At finite n it is
    above zero also for a perfect classifier.
    """
    place = ((confidence.double() * _BINS).ceil().long() - 1).clamp(0, _BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=confidence.device)
    return float(gaps.index_add(0, place, correct.double() - confidence.double()).abs().sum()) / len(confidence)


def worthwhile(rows: Sequence[LevelRow]) -> list[bool]:
    """At which levels guidance is on: where its gain is significant, and its gradient has not all but vanished."""
    gains = [-(row.scale_gain or 0.0) if (row.z or 0.0) > THRESHOLD else 0.0 for row in rows]
    least = SHARE * max(gains, default=0.0)
    return [gain > 0 and gain >= least for gain in gains]


def calibrate(rows: Sequence[LevelRow]) -> ScaleCurve:
    """The guidance scale at each noise level: the best one where guidance is worthwhile, else 0."""
    used = zip(rows, worthwhile(rows), strict=True)
    levels, scales = zip(*sorted((row.sigma, row.scale or 0.0 if use else 0.0) for row, use in used), strict=True)
    return ScaleCurve(levels=levels, scales=scales)


def spread_levels(schedule: Schedule, standard_deviation: float, count: int) -> tuple[float, ...]:
    """Noise levels in equal ratios, of three digits: from a fiftieth of the deviation of the data to a hundredfold."""
    least, greatest = schedule.noise_range
    low, high = max(standard_deviation / 50, least), min(standard_deviation * 100, greatest)
    exact = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64).tolist()
    return tuple(sorted({min(max(float(f"{level:.3g}"), least), greatest) for level in exact}))
