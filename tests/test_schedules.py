"""The laws of the noise core: schedules, grids, densities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError
from scipy import stats

from condgen.errors import UserError
from condgen.schedules import (
    EDM,
    GRIDS,
    VE,
    VP,
    Cosine,
    Levels,
    LogNormal,
    LogUniform,
    RectifiedFlow,
    UniformTime,
    geometric_grid,
    karras_grid,
    linear_beta_levels,
    perturb,
    uniform_grid,
)

some = settings(deadline=None, max_examples=50)


def ordered(low, middle, high):
    return st.tuples(st.floats(low, middle), st.floats(2 * middle, high))


SCHEDULES = st.one_of(
    st.builds(lambda ends: VE(sigma_min=ends[0], sigma_max=ends[1]), ordered(1e-3, 0.5, 500)),
    st.builds(lambda ends: EDM(sigma_min=ends[0], sigma_max=ends[1]), ordered(1e-3, 0.5, 500)),
    st.builds(VP, beta_min=st.floats(1e-2, 30), beta_max=st.floats(1e-2, 40)),
    st.builds(Cosine, t_epsilon=st.floats(1e-5, 1e-2)),
    st.builds(RectifiedFlow, t_epsilon=st.floats(1e-5, 1e-2)),
)
DEFAULTS = [VE(), VP(), Cosine(), EDM(), RectifiedFlow()]
each = pytest.mark.parametrize("schedule", DEFAULTS, ids=lambda schedule: schedule.kind)


@some
@given(SCHEDULES, st.floats(0, 1))
def test_the_views_of_the_noise_agree_and_have_their_exact_inverses(schedule, u):
    t = torch.tensor(schedule.t_min + u * (schedule.t_max - schedule.t_min), dtype=torch.float64)
    for back in (schedule.t_of_log_snr(schedule.log_snr(t)), schedule.t_of_noise_level(schedule.noise_level(t))):
        assert back.item() == pytest.approx(t.item(), rel=1e-9, abs=1e-12)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.testing.assert_close((alpha / sigma).log() * 2, schedule.log_snr(t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sigma / alpha, schedule.noise_level(t), rtol=1e-9, atol=0.0)
    torch.testing.assert_close(alpha.log(), schedule.log_alpha(t), rtol=1e-9, atol=1e-12)


@some
@given(SCHEDULES, st.floats(0.01, 0.99))
def test_drift_and_diffusion_are_the_derivatives(schedule, u):
    t = torch.tensor(schedule.t_min + u * (schedule.t_max - schedule.t_min), dtype=torch.float64)
    h = 1e-4 * min(t.item(), 1 - t.item() if schedule.t_max <= 1 else 1)
    ahead, behind = t + h, t - h
    f = (schedule.alpha(ahead).log() - schedule.alpha(behind).log()) / (2 * h)
    slope = (schedule.sigma(ahead) ** 2 - schedule.sigma(behind) ** 2) / (2 * h)
    torch.testing.assert_close(schedule.drift(t), f, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(schedule.diffusion(t) ** 2, slope - 2 * f * schedule.sigma(t) ** 2, rtol=1e-5, atol=1e-9)


def test_closed_forms():
    t = torch.tensor([0.25, 0.8], dtype=torch.float64)
    torch.testing.assert_close(VE(sigma_min=0.01, sigma_max=50).sigma(t), 0.01 * 5000.0**t)
    torch.testing.assert_close(EDM().sigma(t), t)
    for kind in (VE, EDM):  # whose noise ends at levels of its own
        assert kind(sigma_min=0.02, sigma_max=90).noise_range == pytest.approx((0.02, 90))
    torch.testing.assert_close(Cosine().alpha(t), (t * torch.pi / 2).cos())
    torch.testing.assert_close(Cosine().sigma(t), (t * torch.pi / 2).sin())
    torch.testing.assert_close(RectifiedFlow().alpha(t), 1 - t)
    torch.testing.assert_close(RectifiedFlow().sigma(t), t)
    integral = 0.1 * t + 0.5 * t**2 * (20 - 0.1)  # of beta from 0 to t
    torch.testing.assert_close(VP().alpha(t), (-0.5 * integral).exp())
    torch.testing.assert_close(VP().sigma(t), (1 - (-integral).exp()).sqrt())


@each
def test_ends_of_the_range(schedule):
    low, high = schedule.noise_range
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    assert schedule.noise_level(ends).tolist() == [low, high]
    assert 0 < low < high < math.inf
    for name in ("alpha", "sigma", "log_snr", "drift", "diffusion"):
        assert getattr(schedule, name)(ends).isfinite().all(), name


@each
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_methods_keep_shape_and_float64(schedule, shape):
    t = torch.full(shape, 0.3, dtype=torch.float64)
    for name in ("alpha", "sigma", "log_alpha", "log_snr", "t_of_log_snr", "noise_level", "drift", "diffusion"):
        out = getattr(schedule, name)(t)
        assert out.shape == shape
        assert out.dtype == torch.float64


@each
def test_perturb_scales_signal_and_noise(schedule):
    torch.manual_seed(0)
    x, eps, t = torch.randn(5, 2, 3), torch.randn(5, 2, 3), geometric_grid(schedule, 5)
    x_t = perturb(schedule, x, t, eps)
    assert x_t.dtype == torch.float32
    for i in range(5):
        expected = schedule.alpha(t[i]).item() * x[i] + schedule.sigma(t[i]).item() * eps[i]
        torch.testing.assert_close(x_t[i], expected)
        torch.testing.assert_close(perturb(schedule, x, t[i], eps)[i], expected)


@each
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("n", [2, 3, 18, 200])
def test_grids_fall_from_end_to_end_in_float64(schedule, name, n):
    grid = GRIDS[name](schedule, n)
    assert grid.shape == (n,)
    assert grid.dtype == torch.float64
    assert (grid.diff() < 0).all()
    assert grid[0].item() == schedule.t_max
    assert grid[-1].item() == schedule.t_min


@each
def test_a_uniform_grid_has_equal_steps_and_a_geometric_one_a_constant_ratio_of_noise_levels(schedule):
    steps = uniform_grid(schedule, 12).diff()
    torch.testing.assert_close(steps, torch.full_like(steps, (schedule.t_min - schedule.t_max) / 11))
    low, high = schedule.noise_range
    grid = geometric_grid(schedule, 12)
    np.testing.assert_allclose(schedule.noise_level(grid), high * (low / high) ** (np.arange(12) / 11), rtol=1e-9)
    assert torch.equal(GRIDS["log-snr"](schedule, 12), grid)


@each
@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_karras_grid_is_equation_5_of_edm(schedule, rho):
    low, high = schedule.noise_range
    expected = (high ** (1 / rho) + np.arange(18) / 17 * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(schedule.noise_level(karras_grid(schedule, 18, rho)).numpy(), expected, rtol=1e-9)


UNIFORM = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
DENSITIES = [
    UniformTime(),
    LogUniform(),
    LogUniform(low=0.1, high=5),
    LogUniform(low=1e-9, high=1e9),
    LogNormal(),
    LogNormal(mean=0.5, std=0.3),
    LogNormal(mean=2.0, std=3.0),
]


def claimed_distribution(density, schedule):
    """The frozen scipy distribution and the variable that it is claimed for."""
    low, high = schedule.noise_range
    match density:
        case UniformTime():
            return stats.uniform(schedule.t_min, schedule.t_max - schedule.t_min), lambda t: t
        case LogUniform():
            low, high = max(low, density.low or 0), min(high, density.high or math.inf)
            return stats.loguniform(low, high), schedule.noise_level
        case LogNormal():
            a, b = ((math.log(end) - density.mean) / density.std for end in (low, high))
            return stats.truncnorm(a, b, density.mean, density.std), lambda t: schedule.noise_level(t).log()
    raise AssertionError(density)


@each
@pytest.mark.parametrize("density", DENSITIES, ids=repr)
def test_densities_are_the_claimed_ones_and_stay_in_the_range(schedule, density):
    distribution, variable = claimed_distribution(density, schedule)
    t = density.quantile(schedule, UNIFORM)
    assert t.dtype == torch.float64
    distance = stats.kstest(variable(t).numpy(), distribution.cdf).statistic
    assert distance < 1.01 * 0.5 / len(UNIFORM)  # midpoints are as even as 2000 points can be
    u = torch.tensor([[0.0, 1e-300, 1e-12], [0.5, 1 - 1e-12, math.nextafter(1, 0)]], dtype=torch.float64)
    t = density.quantile(schedule, u)
    assert t.shape == u.shape
    assert t.isfinite().all()
    slack = 1e-12 * schedule.t_max  # of the round trip through the noise level
    assert (t >= schedule.t_min - slack).all()
    assert (t <= schedule.t_max + slack).all()


@each
def test_every_level_of_a_list_is_equally_likely(schedule):
    levels = (0.3, 0.05, 2.0, 0.9, 7.0)
    t = Levels(levels=levels).quantile(schedule, UNIFORM)
    assert t.dtype == torch.float64
    found = schedule.noise_level(t)
    counts = [(abs(found / level - 1) < 1e-9).sum().item() for level in levels]
    assert counts == [len(UNIFORM) / len(levels)] * len(levels)
    ends = Levels(levels=levels).quantile(schedule, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(schedule.noise_level(ends), torch.tensor([[0.3, 7.0]], dtype=torch.float64))


@each
def test_the_ends_of_a_schedule_are_levels_of_it_and_what_lies_beyond_is_not(schedule):
    u = torch.tensor([0.2, 0.8], dtype=torch.float64)
    low, high = schedule.noise_range
    assert Levels(levels=(low, high)).quantile(schedule, u).isfinite().all()
    for outside in (0.99 * low, 1.01 * high):
        with pytest.raises(UserError, match=f"noise level {outside:g} is outside the schedule"):
            Levels(levels=(0.3, outside)).quantile(schedule, u)


def test_linear_betas_give_the_levels_of_the_paper():
    """Ye & Liu's ten, and how the greatest grows with their number (DDPM's rule: Ho et al. 2020)."""
    paper = [0.0100, 0.0491, 0.0832, 0.1167, 0.1498, 0.1826, 0.2151, 0.2472, 0.2790, 0.3103]
    levels = linear_beta_levels(10)
    assert levels.dtype == torch.float64
    assert [round(level, 4) for level in levels.tolist()] == paper
    greatest = {n: linear_beta_levels(n)[-1].item() for n in (1, 2, 5, 20, 50, 100, 1000)}
    expected = {1: 0.010, 2: 0.142, 5: 0.222, 20: 0.428, 50: 0.630, 100: 0.798, 1000: 1.0}
    assert greatest == pytest.approx(expected, abs=6e-4)
    assert (linear_beta_levels(1000).diff() > 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: VE(sigma_min=1, sigma_max=1),
        lambda: VE(sigma_min=2, sigma_max=1),
        lambda: EDM(sigma_min=2, sigma_max=1),
        lambda: VE(sigma_min=0),
        lambda: EDM(sigma_max=math.inf),
        lambda: Cosine(t_epsilon=0),
        lambda: RectifiedFlow(t_epsilon=0.5),
        lambda: LogNormal(std=0),
        lambda: LogUniform(low=-1),
        lambda: Levels(levels=()),
        lambda: Levels(levels=(0.1, 0.0)),
    ],
)
def test_settings_refuse_impossible_numbers(make):
    with pytest.raises(ValidationError):
        make()


def test_a_density_that_misses_the_schedule_is_refused():
    for density in (LogUniform(low=100), LogUniform(low=5, high=1), LogNormal(mean=-30), LogNormal(mean=30)):
        with pytest.raises(UserError, match="density"):
            density.quantile(EDM(), torch.tensor([0.5], dtype=torch.float64))
