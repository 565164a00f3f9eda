r"""Objectives of two denoisers: of real data, D_r, and of generated data, D_g.

By Tweedie's formula the difference of the denoisers is, up to a factor of the noise level, the difference of the scores
of the two noised distributions, whose expectation is the gradient of a divergence between them:

* distribution matching (DMD: Yin et al. 2024, arXiv 2311.18828), for the Kullback-Leibler divergence: every
  generated sample x is moved along :math:`D_r - D_g`, evaluated at x with noise;
* score identity distillation (SiD: Zhou et al. 2024, arXiv 2404.04057), for the Fisher divergence:
  :math:`(D_r - D_g) \cdot [(D_r - x) - a (D_r - D_g)]`, differentiated through both networks. With a = 1/2 it is half
  the difference of their denoising errors, :math:`\lVert D_r - x \rVert^2 - \lVert D_g - x \rVert^2`.

Both vanish where the two agree, so that a generator whose data are distributed as the real ones is at rest, whatever
the noise levels: unlike that of score mismatching, these objectives have no bias. Each sample's term is divided by
:math:`\operatorname{mean} \lvert x - D_r \rvert`, which makes all noise levels count alike, as in DMD.

D_r may be any denoiser: trained beside the generator, or a frozen teacher, guided by a classifier or otherwise. Then
the generator learns the distribution that the guided score describes.
"""

import torch
from torch import Tensor

from condgen.denoiser import Denoiser, Likelihood
from condgen.schedules import perturb

__all__ = ["distribution_matching_loss", "likelihood_loss", "score_identity_loss"]

_LEAST = 1e-5  # of the mean distance by which a term is divided


def _inverse_distance(x: Tensor, denoised: Tensor) -> Tensor:
    """1 / mean |x - D|, one number a sample, of a shape that broadcasts over x, without a graph."""
    distance = (x - denoised).detach().abs().flatten(1).mean(1).clamp_min(_LEAST)
    return distance.reciprocal().reshape(-1, *(1,) * (x.ndim - 1))


def distribution_matching_loss(
    real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor
) -> Tensor:
    r"""A loss (B,) whose gradient in x is :math:`(D_g - D_r) / \operatorname{mean}|x - D_r|`, over the dimensions.

    Its value is half the mean square of that vector. No gradient runs through the denoisers, which makes it cheap.

    Args:
        real: D_r.
        generated: D_g.
        x: generated data, (B, ...), with a graph.
        t: times, (B,) float64.
        eps: standard normal noise, of the shape of x.
        y: labels, (B,), told to both.
    """
    with torch.no_grad():
        x_t = perturb(real.schedule, x, t, eps)
        towards = real(x_t, t, y)
        step = (generated(x_t, t, y) - towards) * _inverse_distance(x, towards)
    loss: Tensor = 0.5 * (x - (x - step).detach()).square().flatten(1).mean(1)
    return loss


def score_identity_loss(
    real: Denoiser, generated: Denoiser, x: Tensor, t: Tensor, eps: Tensor, y: Tensor, alpha: float = 1.0
) -> Tensor:
    r"""The loss (B,) of score identity distillation, a mean over dimensions; its gradient runs through both denoisers.

    Args:
        real: D_r.
        generated: D_g.
        x: generated data, (B, ...), with a graph.
        t: times, (B,) float64.
        eps: standard normal noise, of the shape of x.
        y: labels, (B,), told to both.
        alpha: a; 1/2 is half the difference of denoising errors.
    """
    x_t = perturb(real.schedule, x, t, eps)
    towards, away = real(x_t, t, y), generated(x_t, t, y)
    difference = towards - away
    terms = difference * ((towards - x) - alpha * difference)
    loss: Tensor = (terms * _inverse_distance(x, towards)).flatten(1).mean(1)
    return loss


def likelihood_loss(classifier: Likelihood, x: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
    """The loss -log p(y | x_t), (B,), of data (B, ...) at times t (B,), by a noise-aware classifier."""
    log_probabilities: Tensor = classifier(perturb(classifier.schedule, x, t, eps), t)
    return -log_probabilities.gather(1, y[:, None])[:, 0]
