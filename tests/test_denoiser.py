"""The two terms of Bayes' rule, on Gaussians, where every answer is known."""

import numpy as np
import pytest
import torch
from samplers.conftest import GaussianDenoiser
from torch import nn
from torch.autograd import gradcheck

from condgen.denoiser import Likelihood, precondition
from condgen.losses.base import gradient_of
from condgen.oracle import Oracle
from condgen.schedules import EDM, VE, VP, Cosine

schedules = pytest.mark.parametrize("schedule", [VE(), VP(), Cosine(), EDM()], ids=lambda schedule: schedule.kind)
MEANS = torch.tensor([[-1.0, 0.5], [2.0, 1.0]], dtype=torch.float64)
PRIOR = torch.tensor([0.3, 0.7], dtype=torch.float64)
STD = 0.6


class TwoGaussians(Likelihood):
    """log p(y | x_t) of two Gaussian classes, each with a shift that can be learnt."""

    n_classes = 2

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.shift = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))

    def forward(self, x_t, t):
        alpha, sigma = self.schedule.alpha(t).expand(len(x_t)), self.schedule.sigma(t).expand(len(x_t))
        variance = (alpha * STD) ** 2 + sigma**2
        distance = x_t[:, None] - alpha[:, None, None] * (MEANS + self.shift)
        return (PRIOR.log() - distance.square().sum(dim=2) / (2 * variance[:, None])).log_softmax(dim=1)


def batch(schedule, size=6):
    x_t = torch.randn(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    levels = torch.logspace(-1, 1, size, dtype=torch.float64)
    return x_t, schedule.t_of_noise_level(levels), torch.arange(size) % 2


@schedules
def test_score_and_eps_of_a_gaussian(schedule):
    """The marginal of x_t is N(0, (alpha STD)^2 + sigma^2), whose score is linear."""
    x_t, t, y = batch(schedule)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    score = -x_t / (alpha**2 * STD**2 + sigma**2)
    denoiser = GaussianDenoiser(schedule, STD)
    torch.testing.assert_close(denoiser.score(x_t, t), score)
    torch.testing.assert_close(denoiser.eps(x_t, t), -sigma * score)
    labelled = Oracle(schedule, MEANS, torch.arange(2), 2, stds=STD)
    torch.testing.assert_close(labelled.eps(x_t, t, y), -sigma * labelled.score(x_t, t, y))


@schedules
def test_a_scalar_time_serves_the_whole_batch_and_estimates_keep_the_dtype_of_the_data(schedule):
    x_t, t, y = batch(schedule)
    denoiser, likelihood = GaussianDenoiser(schedule), TwoGaussians(schedule)
    everywhere = t[2].expand(len(x_t))
    assert {denoiser.score(x_t.float(), t).dtype, denoiser.eps(x_t.float(), t).dtype} == {torch.float32}
    torch.testing.assert_close(denoiser.score(x_t, t[2]), denoiser.score(x_t, everywhere))
    torch.testing.assert_close(denoiser.eps(x_t, t[2]), denoiser.eps(x_t, everywhere))
    torch.testing.assert_close(likelihood.score(x_t, t[2], y), likelihood.score(x_t, everywhere, y))


def posterior_score(schedule, x_t, t, y):
    """By hand: p(1 - y | x_t) times the difference of the two class scores, for equal variances."""
    alpha, variance = schedule.alpha(t)[:, None], (schedule.alpha(t) * STD) ** 2 + schedule.sigma(t) ** 2
    difference = MEANS[1] - MEANS[0]
    middle = alpha * MEANS.mean(dim=0)
    log_odds = (PRIOR[1] / PRIOR[0]).log() + ((x_t - middle) * alpha * difference).sum(dim=1) / variance
    other = torch.where(y == 1, torch.sigmoid(-log_odds), torch.sigmoid(log_odds))
    sign = 2.0 * y - 1
    return (sign * other / variance)[:, None] * alpha * difference


def test_the_likelihood_score_can_be_differentiated():
    schedule = VE()
    x_t, t, y = batch(schedule)
    likelihood = TwoGaussians(schedule)
    assert gradcheck(lambda _: gradient_of(likelihood, x_t, t, y)[1], likelihood.shift, eps=1e-5, rtol=1e-5, atol=1e-8)


@schedules
def test_likelihood_score_of_two_gaussians_and_its_derivative_in_data_with_a_graph(schedule):
    """Its Jacobian is the Hessian of log p(y | x_t)."""
    x_t, t, y = batch(schedule)
    torch.testing.assert_close(TwoGaussians(schedule).score(x_t, t, y), posterior_score(schedule, x_t, t, y))
    x_t.requires_grad_()
    score, by_hand = TwoGaussians(schedule).score(x_t, t, y), posterior_score(schedule, x_t, t, y)
    torch.testing.assert_close(score, by_hand)
    for i in range(2):
        found, expected = (torch.autograd.grad(one[:, i].sum(), x_t, retain_graph=True)[0] for one in (score, by_hand))
        torch.testing.assert_close(found, expected)


def test_the_likelihood_score_has_no_graph_where_the_data_have_none_or_none_is_wanted():
    schedule = VE()
    x_t, t, y = batch(schedule)
    likelihood = TwoGaussians(schedule)
    score = likelihood.score(x_t, t, y)
    assert (score.requires_grad, x_t.requires_grad) == (False, False)  # though the likelihood has parameters
    with torch.no_grad():
        inside = likelihood.score(x_t.clone().requires_grad_(), t, y)
    assert not inside.requires_grad
    torch.testing.assert_close(inside, score)
    assert likelihood.shift.grad is None
    graph = x_t.clone().requires_grad_()
    likelihood.score(2 * graph, t, y).sum().backward()  # a graph that began before x_t
    assert graph.grad.any()


# --- Preconditioning

RANGE = torch.logspace(-3, 2, 41, dtype=torch.float64)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 16.0])
def test_preconditioning_is_the_table_of_karras(sigma_data):
    c = precondition(RANGE, sigma_data)
    s, d = RANGE.numpy(), sigma_data
    np.testing.assert_allclose(c.c_skip, d**2 / (s**2 + d**2), rtol=1e-12)
    np.testing.assert_allclose(c.c_out, s * d / np.sqrt(d**2 + s**2), rtol=1e-12)
    np.testing.assert_allclose(c.c_in, 1 / np.sqrt(s**2 + d**2), rtol=1e-12)
    np.testing.assert_allclose(c.c_noise, np.log(s) / 4, rtol=1e-12)
