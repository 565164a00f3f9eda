"""The exact error of samplers on a Gaussian."""

import math

import pytest

from condgen.samplers import FIXED, evaluations_on, grid_for
from condgen.samplers.bias import (
    SCHEDULES,
    STD,
    evaluations_within,
    gaussian_denoiser,
    sampled_width_error,
    width_error,
    width_errors,
)

EDM_NOISE = SCHEDULES[0]


@pytest.mark.parametrize("name", FIXED)
def test_the_exact_width_is_that_of_many_samples(name):
    d, n = 256, 40
    sampler = FIXED[name](gaussian_denoiser(EDM_NOISE, d))
    grid = grid_for(sampler, 15)
    sampled, evaluations = sampled_width_error(sampler, grid, n, d)
    exact = width_error(FIXED[name](gaussian_denoiser(EDM_NOISE)), grid)
    assert abs(sampled - exact) < 4 * (1 + exact) / math.sqrt(2 * n * d)
    assert evaluations == evaluations_on(sampler, grid)


def test_eulers_method_has_the_width_of_its_product():
    """A step from level t to s keeps 1 - (1 - s/t) t^2/(t^2 + STD^2) of u; the last estimate, STD^2/(s^2 + STD^2)."""
    sampler = FIXED["ddim"](gaussian_denoiser(EDM_NOISE))
    grid = grid_for(sampler, 12)
    left = grid[0] * (1 - (1 - grid[1:] / grid[:-1]) * grid[:-1] ** 2 / (grid[:-1] ** 2 + STD**2)).prod()
    expected = float(left * STD**2 / (grid[-1] ** 2 + STD**2)) / STD - 1
    assert width_error(sampler, grid) == pytest.approx(expected, rel=1e-4)


def test_widths_by_name():
    errors, evaluations = width_errors("unipc")
    assert list(errors) == ["edm", "ve", "vp"]
    assert max(map(abs, errors.values())) < 0.02
    assert evaluations == 20
    assert evaluations_within("unipc", 0.02) == 20
    assert evaluations_within("heun", 0.02) > 39
    assert evaluations_within("annealed-langevin", 0.02) is None


@pytest.mark.parametrize("name", ["adaptive-ode", "adaptive-sde"])
def test_adaptive_samplers_keep_the_width(name):
    errors, _ = width_errors(name)
    assert max(map(abs, errors.values())) < 0.03
