"""Noise added to Heun's method."""

import pytest
import torch
from samplers.conftest import GaussianDenoiser, final

from condgen.samplers.heun import EDMStochastic, Heun, Restart
from condgen.schedules import EDM, VE, VP, Cosine, geometric_grid, karras_grid


@pytest.mark.parametrize("schedule", [VE(), VP(), Cosine(), EDM()], ids=lambda s: s.kind)
def test_a_restart_goes_up_to_high_once_it_is_below_low(schedule):
    denoiser = GaussianDenoiser(schedule)
    final(Restart(denoiser, points=4, repeats=2, low=0.05, high=0.4), geometric_grid(schedule, 15))
    levels = [float(schedule.noise_level(t)) for t in denoiser.times]
    ups = [i for i in range(1, len(levels)) if levels[i] > levels[i - 1] * 1.001]
    assert [levels[i] for i in ups] == pytest.approx([0.4, 0.4])
    base = levels[ups[0] - 1]
    assert base == pytest.approx(levels[ups[1] - 1])
    grid_levels = schedule.noise_level(geometric_grid(schedule, 15))
    assert base == pytest.approx(float(grid_levels[grid_levels <= 0.05].max()))


def test_no_noise_is_heuns_method():
    denoiser, grid = GaussianDenoiser(EDM()), karras_grid(EDM(), 12)
    plain = final(Heun(denoiser), grid).x
    assert torch.equal(final(EDMStochastic(denoiser, gamma=0.0), grid).x, plain)
    assert torch.equal(final(EDMStochastic(denoiser, s_min=90.0, s_max=95.0), grid).x, plain)
    assert not torch.equal(final(EDMStochastic(denoiser), grid).x, plain)


def test_noise_is_added_within_its_interval_and_never_beyond_the_schedule():
    denoiser, grid = GaussianDenoiser(EDM()), karras_grid(EDM(), 12)
    final(EDMStochastic(denoiser, gamma=0.3, s_min=1.0, s_max=100.0), grid)
    starts, raised = grid[:-1].tolist(), [float(t) for t in denoiser.times[:-1:2]]
    assert raised[0] == 80.0  # nothing is above it
    assert raised[1:] == pytest.approx([t * 1.3 if t >= 1 else t for t in starts[1:]])


def test_a_restart_may_reach_to_the_ends_of_the_schedule():
    assert Restart(GaussianDenoiser(EDM()), low=0.002, high=80.0).high == 80
