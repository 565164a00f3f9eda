"""Noise added to Heun's method."""

import pytest
import torch
from samplers.conftest import GaussianDenoiser, final

from condgen.samplers.heun import EDMStochastic, Heun
from condgen.schedules import EDM, karras_grid


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
