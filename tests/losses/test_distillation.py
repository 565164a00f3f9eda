"""Laws of the objectives of two denoisers: identities, rest where the two agree, and whom a gradient reaches."""

import copy

import pytest
import torch
from models import NET, score_model as small_score_model

from condgen import (
    EDM,
    VE,
    VP,
    ClassifierGuided,
    Oracle,
    cross_entropy_loss,
    distribution_matching_loss,
    perturb,
    score_identity_loss,
)
from condgen.generator import GeneratorConfig

SCHEDULE = VP()
Y = torch.tensor([0, 1, 1, 0, 1])
LEVELS = torch.tensor([0.1, 0.3, 1.0, 3.0, 10.0], dtype=torch.float64)
T = SCHEDULE.t_of_noise_level(LEVELS)


def score_model(seed, dtype=torch.float32):
    torch.manual_seed(seed)
    return small_score_model(labels="embedding", schedule=SCHEDULE, shape=(4,), sigma_data=0.6).to(dtype)


def oracle(seed, schedule=SCHEDULE):
    means = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Oracle(schedule, means, torch.arange(6) % 2, 2, stds=0.4)


def data(seed=0, dtype=torch.float64):
    x, eps = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x.requires_grad_(), eps


LOSSES = {
    "dmd": distribution_matching_loss,
    **{f"sid {a}": lambda *arguments, a=a: score_identity_loss(*arguments, alpha=a) for a in (0.5, 1.0, 1.2)},
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def estimates(real, fake, x, eps):
    x_t = perturb(SCHEDULE, x, T, eps)
    return real(x_t, T, Y).detach(), fake(x_t, T, Y).detach()


def test_the_difference_of_denoising_errors_is_twice_score_identity_with_alpha_one_half():
    real, fake, (x, eps) = oracle(0), oracle(1), data()
    towards, away = estimates(real, fake, x, eps)
    scale = (x - towards).abs().mean(1)
    errors = ((towards - x).square().mean(1) - (away - x).square().mean(1)) / scale
    torch.testing.assert_close(2 * score_identity_loss(real, fake, x, T, eps, Y, 0.5), errors, rtol=1e-10, atol=1e-12)


def test_distribution_matching_has_the_bracket_for_its_gradient_and_reaches_no_network():
    real, fake, (x, eps) = score_model(0, torch.float64), score_model(1, torch.float64), data()
    towards, away = estimates(real, fake, x, eps)
    step = (away - towards) / (x - towards).abs().mean(1, keepdim=True)
    loss = distribution_matching_loss(real, fake, x, T, eps, Y)
    torch.testing.assert_close(loss, 0.5 * step.square().mean(1))
    parameters = [*real.parameters(), *fake.parameters()]
    gradient, *reached = torch.autograd.grad(loss.sum(), [x, *parameters], allow_unused=True)
    torch.testing.assert_close(gradient, step.detach() / 4)
    assert all(found is None for found in reached)


@each_loss
@pytest.mark.parametrize("same", [lambda real: real, copy.deepcopy], ids=["one", "equal weights"])
def test_where_the_denoisers_agree_the_generator_is_at_rest(loss, same):
    torch.manual_seed(2)
    model = GeneratorConfig(network=NET, shape=(4,), names=("a", "b"), latent=3).build()
    real, (_, eps) = score_model(0), data(dtype=torch.float32)
    x = model(torch.randn(5, 3), Y)
    wanted = [x, *model.parameters()]
    for gradient in torch.autograd.grad(loss(real, same(real), x, T, eps, Y).sum(), wanted):
        assert float(gradient.abs().max()) < 1e-7  # rounding of sums in which equal terms cancel
    others = loss(real, score_model(1), model(torch.randn(5, 3), Y), T, eps, Y).sum()
    assert all(gradient.any() for gradient in torch.autograd.grad(others, wanted[1:]))  # the law is not one of silence


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("guided", [False, True])
def test_the_gradient_of_score_identity_runs_through_both_denoisers_and_a_guiding_likelihood(alpha, guided):
    """Against central differences, in which each sample's divisor is held fixed, as it is in the loss."""
    exact, fake, (x, eps) = oracle(0), oracle(1), data()
    real = ClassifierGuided(exact, exact.likelihood, scale=1.5) if guided else exact

    def terms(x):
        x_t = perturb(SCHEDULE, x, T, eps)
        towards, away = real(x_t, T, Y), fake(x_t, T, Y)
        return ((towards - away) * ((towards - x) - alpha * (towards - away))).sum(1) / 4

    with torch.no_grad():
        divisor = (x - real(perturb(SCHEDULE, x, T, eps), T, Y)).abs().mean(1)
    (gradient,) = torch.autograd.grad(score_identity_loss(real, fake, x, T, eps, Y, alpha).sum(), x)
    for j in range(4):
        h = 1e-5 * torch.eye(4, dtype=torch.float64)[j]
        difference = (terms(x.detach() + h) - terms(x.detach() - h)) / 2e-5 / divisor
        torch.testing.assert_close(gradient[:, j], difference, rtol=1e-5, atol=1e-7)


@each_loss
def test_the_unit_of_the_data_matters_to_no_gradient_but_by_that_unit(loss):
    """Data, denoisers and noise ten times as large: the same direction, and the loss of one unit less or the same."""
    means = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, eps = data()
    found = []
    for unit in (1.0, 10.0):
        schedule = EDM(sigma_min=0.01 * unit, sigma_max=20 * unit)
        both = [Oracle(schedule, unit * means + shift, torch.arange(6) % 2, 2, stds=0.4 * unit) for shift in (0, unit)]
        scaled = (unit * x.detach()).requires_grad_()
        found.append(torch.autograd.grad(loss(*both, scaled, unit * LEVELS, eps, Y).sum(), scaled)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)


def test_a_sample_at_its_own_estimate_is_divided_by_no_zero():
    class Still(torch.nn.Module):
        schedule = SCHEDULE

        def forward(self, x_t, t, y):
            return torch.zeros_like(x_t)

    x, eps = torch.zeros(5, 4, requires_grad=True), torch.randn(5, 4)
    for loss in LOSSES.values():
        value = loss(Still(), score_model(0), x, T, eps, Y)
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("schedule", [VP(), VE()], ids=lambda schedule: schedule.kind)
def test_the_likelihood_loss_is_minus_the_log_posterior_and_descends_along_the_likelihood_score(schedule):
    exact, (x, eps) = oracle(3, schedule), data()
    t = schedule.t_of_noise_level(LEVELS)
    loss = cross_entropy_loss(exact.likelihood, x, Y, t, eps)
    x_t = perturb(schedule, x.detach(), t, eps)
    posterior = exact.log_prob(x_t, t, Y) + exact.log_prior[Y] - exact.log_prob(x_t, t)
    torch.testing.assert_close(loss, -posterior, rtol=1e-8, atol=1e-10)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    expected = -schedule.alpha(t)[:, None] * exact.scores(x_t, t, Y).likelihood
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
