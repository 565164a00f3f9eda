"""Consistent annealed sampling keeps to the row of noise levels; annealed Langevin does not (arXiv 2009.05475)."""

import math

import pytest
import torch
from samplers.conftest import GaussianDenoiser, exact_stds, final

from condgen.errors import UserError
from condgen.samplers.euler import DDIM, Ancestral
from condgen.samplers.langevin import AnnealedLangevin, ConsistentAnnealed
from condgen.samplers.multistep import DPM2MSDE
from condgen.schedules import EDM, VE, VP, Cosine, geometric_grid

SCHEDULES = [VE(), VP(), Cosine(), EDM()]
PAPER = VE(sigma_min=0.01, sigma_max=50.0)
LEVELS = 232
GAMMA = (0.01 / 50) ** (1 / (LEVELS - 1))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("options", [{}, {"power": 3.0}], ids=str)
def test_the_noise_about_a_point_is_that_of_the_level_everywhere(schedule, options):
    sampler = ConsistentAnnealed(GaussianDenoiser(schedule, std=0.0), **options)
    stds = exact_stds(sampler, geometric_grid(schedule, LEVELS))
    assert stds == pytest.approx([1.0] * LEVELS, abs=1e-9)


@pytest.mark.parametrize("eta", [0.056, 1 - GAMMA, 1 - GAMMA**2])
def test_a_gaussian_is_tracked_to_the_spread_that_an_estimate_forgets(eta):
    r"""An estimate stands in for draws from p(x | x_t), so each update loses eta^2 of the variance of those.

    With the exact D, x_t - D shrinks by 1 - eta and the rest is made up, so that
    v_s = (1 - (1 - rho) eta)^2 v_t + l_s^2 - (1 - eta)^2 l_t^2 with rho = c^2 / (c^2 + l_t^2): exact for a point, short
    by eta^2 rho l_t^2 from the true v_t.
    """
    c, grid = 0.5, geometric_grid(PAPER, LEVELS)
    stds = exact_stds(ConsistentAnnealed(GaussianDenoiser(PAPER, std=c), eta=eta), grid)
    levels = PAPER.noise_level(grid).tolist()
    variance, expected = levels[0] ** 2, []
    for i, level in enumerate(levels):
        expected.append(math.sqrt(variance / (c**2 + level**2)))
        if i + 1 < LEVELS:
            rho = c**2 / (c**2 + level**2)
            variance = (1 - (1 - rho) * eta) ** 2 * variance + levels[i + 1] ** 2 - (1 - eta) ** 2 * level**2
    assert stds == pytest.approx(expected, abs=1e-9)
    assert min(stds[:80]) > 0.999  # down to noise of five times the spread
    assert stds[-1] == pytest.approx({0.056: 0.9857}.get(eta, 0.9908 if eta < 0.056 else 0.9819), abs=1e-4)


@pytest.mark.parametrize(
    ("c", "eta", "repeats", "excess"), [(0, 0.18, 1, 1.14), (0, 0.036, 5, 1.11), (0.5, 0.18, 1, 1.13)]
)
def test_annealed_langevin_ends_with_more_noise_than_the_level_says(c, eta, repeats, excess):
    """On a Gaussian of variance c^2 an update is v <- (1 - eta l^2/(c^2 + l^2))^2 v + 2 eta l^2, at the new l."""
    grid, variance, expected = geometric_grid(PAPER, LEVELS), 50.0**2, []
    for level in PAPER.noise_level(grid)[1:].tolist():
        for _ in range(repeats):
            variance = (1 - eta * level**2 / (c**2 + level**2)) ** 2 * variance + 2 * eta * level**2
        expected.append(math.sqrt(variance / (c**2 + level**2)))
    stds = exact_stds(AnnealedLangevin(GaussianDenoiser(PAPER, std=c), eta=eta, repeats=repeats), grid, repeats)
    assert stds[1:] == pytest.approx(expected, abs=1e-9)
    assert stds[-1] == pytest.approx(excess, abs=0.005)


def test_a_step_of_less_than_none_of_the_noise_is_refused():
    with pytest.raises(UserError, match=r"eta is below 0\.03\d+, the step without noise"):
        final(ConsistentAnnealed(GaussianDenoiser(PAPER), eta=0.03), geometric_grid(PAPER, LEVELS))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_its_ends_are_ddim_and_ancestral_sampling(schedule):
    denoiser, grid, close = GaussianDenoiser(schedule), geometric_grid(schedule, 30), {"rtol": 2e-5, "atol": 2e-6}
    euler, ancestral = final(DDIM(denoiser), grid).x, final(Ancestral(denoiser), grid).x
    torch.testing.assert_close(final(ConsistentAnnealed(denoiser, power=1.0), grid).x, euler, **close)
    for same in (ConsistentAnnealed(denoiser, power=2.0), DDIM(denoiser, eta=1.0)):
        torch.testing.assert_close(final(same, grid).x, ancestral, **close)


def test_the_power_less_one_is_the_noise_of_the_sde():
    """The first step of DPM-Solver++(2M) SDE knows no history."""
    denoiser, grid = GaussianDenoiser(VP()), geometric_grid(VP(), 30)[10:12]
    consistent, sde = ConsistentAnnealed(denoiser, power=1.7), DPM2MSDE(denoiser, eta=0.7)
    torch.testing.assert_close(final(consistent, grid).x, final(sde, grid).x)
