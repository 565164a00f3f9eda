"""Adversarial score matching: two least-squares losses."""

import numpy as np
import pytest
import torch
from models import score_model

from condgen.losses.score_matching import (
    AdversarialScoreMatching,
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    score_matching_loss,
)
from condgen.networks.discriminator import MLPDiscriminatorSettings
from condgen.schedules import EDM, VP, perturb

X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
T = torch.linspace(0.2, 4, 5, dtype=torch.float64)


def model(schedule=None, shape=(1, 4, 4)):
    torch.manual_seed(0)
    return score_model(schedule=schedule or EDM(), shape=shape, sigma_data=0.7)


def discriminator(net, told_noise=False):
    torch.manual_seed(1)
    settings = AdversarialScoreMatching(network=MLPDiscriminatorSettings(width=16, depth=1), told_noise=told_noise)
    return Discriminator(settings, net).eval()


def test_losses_of_an_adversary_are_least_squares_to_plus_and_minus_one():
    judge = discriminator(model())
    real, fake = 0.4 * X, 0.1 * X.flip(0)
    _, on_real, on_fake = discriminator_loss(judge, real, fake, T).values()
    c_real, c_fake = judge(real, T).detach().double().numpy(), judge(fake, T).detach().double().numpy()
    np.testing.assert_allclose(on_real.detach().numpy(), (c_real - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(on_fake.detach().numpy(), (c_fake + 1) ** 2, rtol=1e-5)
    losses = adversarial_loss(model(), judge, real, T, X, weight=0.7)
    c = judge(model()(perturb(EDM(), real, T, X), T), T).detach().double().numpy()
    np.testing.assert_allclose(losses["adversarial"].detach().numpy(), (c - 1) ** 2, rtol=1e-5)
    assert torch.equal(losses["dsm"], score_matching_loss(model(), real, T, X))


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_weight_one_is_the_papers_balance_but_for_the_stated_term(schedule):
    """2/d of (half the squared norm of s_theta + z, summed, plus lambda (C(H) - 1)^2), plus |H - x|^2 / (d s_d^2)."""
    net, weight = model(schedule), 1.7
    judge = discriminator(net)
    t = schedule.t_of_noise_level(torch.tensor([0.02, 0.3, 1, 5, 50], dtype=torch.float64))
    x, eps = 0.4 * X, torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    total = adversarial_loss(net, judge, x, t, eps, weight=weight)["loss"].detach().double()
    s = schedule.noise_level(t)
    wide = s.view(-1, 1, 1, 1)
    x_noised = x.double() + wide * eps.double()  # the paper's x~
    denoised = net(perturb(schedule, x, t, eps), t).detach()
    s_theta = (denoised.double() - x_noised) / wide  # H = x~ + sigma s_theta
    adversarial = (judge(denoised, t).detach().double() - 1) ** 2
    paper = 0.5 * (s_theta + eps.double()).square().sum((1, 2, 3)) + weight * adversarial
    surplus = (denoised - x).double().square().mean((1, 2, 3)) / 0.7**2
    torch.testing.assert_close(total, 2 / 16 * paper + surplus, rtol=2e-3, atol=1e-4)
    below = s < 0.1 * 0.7
    assert float((surplus / total)[below].max()) < 0.01


def test_a_discriminator_sees_images_clamped_and_points_as_they_are():
    judge = discriminator(model())
    assert torch.equal(judge(3 * X, T), judge((3 * X).clamp(-1, 1), T))
    points = discriminator(model(shape=(3,)))
    x = torch.linspace(2, 4, 15).view(5, 3)
    assert float((points(x, T) - points(x.clamp(-1, 1), T)).detach().abs().min()) > 1e-3


def test_a_discriminator_sees_unit_variance_and_the_noise_level_where_it_is_told():
    seen = []
    for schedule in (EDM(), VP()):
        judge = discriminator(model(schedule), told_noise=True)
        judge.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
        level = torch.tensor([0.1, 0.5, 1, 5, 20], dtype=torch.float64)
        judge(0.3 * X, schedule.t_of_noise_level(level))
        torch.testing.assert_close(seen[-1][0], (0.3 * X).clamp(-1, 1) / 0.7)
        torch.testing.assert_close(seen[-1][1], (level.log() / 4).float(), rtol=1e-4, atol=1e-4)
    blind = discriminator(model())
    assert torch.equal(blind(X, T), blind(X, T + 1))
