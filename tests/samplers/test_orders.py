"""Measured orders of convergence, on the flow and the reverse SDE of a Gaussian, whose solutions are known."""

import math

import pytest
import torch
from samplers.conftest import GaussianDenoiser, exact_stds

from condgen.samplers.catalogue import FIXED, build_sampler
from condgen.schedules import EDM, VP, geometric_grid


def _slope(errors):
    return math.log2(abs(errors[-2] / errors[-1]))


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("heun", {}, 2),
        ("edm", {"gamma": 0}, 2),
        ("ddim", {}, 1),
        ("consistent-annealed", {"power": 1}, 1),
        ("dpm++2m", {}, 2),
        ("dpm++2m-sde", {"eta": 0}, 2),
        ("unipc", {}, 3),
        ("unipc", {"variant": "bh1"}, 3),
        ("unipc", {"order": 3}, 4),
    ],
)
def test_along_the_flow(name, options, order, schedule):
    """x_t / std_t is constant along it. Over all levels the errors of odd order above and below the spread cancel."""
    sampler, errors = build_sampler(name, GaussianDenoiser(schedule), options), []
    for points in (161, 321):
        levels = torch.linspace(math.log(60), math.log(0.3), points, dtype=torch.float64).exp()
        stds = exact_stds(sampler, schedule.t_of_noise_level(levels))
        errors.append(stds[-1] / stds[0] - 1)
    assert _slope(errors) == pytest.approx(order, abs=0.15 if order < 4 else 0.45), errors
    if name in {"heun", "ddim", "dpm++2m", "unipc"} and not options:
        assert FIXED[name].info.order == order


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("euler-maruyama", {}, 1),
        ("reverse-diffusion", {}, 1),
        ("ancestral", {}, 1),
        ("ddim", {"eta": 0.5}, 1),
        ("consistent-annealed", {}, 1),
        ("dpm++2m-sde", {}, 2),
    ],
)
def test_of_the_standard_deviation_with_noise(name, options, order, schedule):
    sampler = build_sampler(name, GaussianDenoiser(schedule), options)
    errors = [exact_stds(sampler, geometric_grid(schedule, points), 1)[-1] - 1 for points in (161, 321)]
    assert _slope(errors) == pytest.approx(order, abs=0.15), errors
