"""One step of each sampler of the reverse SDE, against its formula written out for one schedule."""

import torch

from condgen.rng import Streams
from condgen.samplers import Context
from condgen.samplers.euler import DDIM, Ancestral, PredictorCorrector, ReverseDiffusion
from condgen.schedules import VE, VP


def _step(sampler, level_t=1.0, level_s=0.7, seeds=range(6), width=8):
    """The state at t, the noise of the step, and the state at s; all float64."""
    t, s = sampler.schedule.t_of_noise_level(torch.tensor([level_t, level_s], dtype=torch.float64))
    noise, streams = Streams(seeds), Streams(seeds)
    x = streams.normal((width,), torch.float64)
    noise.normal((width,), torch.float64)
    x_s = sampler.step(x, t, s, Context(None, streams))
    return t, s, x, noise.normal((width,), torch.float64), x_s


def test_reverse_diffusion_is_the_papers_on_vp(gaussian):
    """Song et al. 2021, eq. 48: (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z."""
    denoiser = gaussian(VP())
    t, s, x, z, x_s = _step(ReverseDiffusion(denoiser))
    beta = 1 - (VP().alpha(t) / VP().alpha(s)) ** 2
    expected = (2 - (1 - beta).sqrt()) * x + beta * denoiser.score(x, t) + beta.sqrt() * z
    torch.testing.assert_close(x_s, expected)


def test_ddim_draws_eta_times_the_noise_of_ancestral_sampling(gaussian):
    """And keeps what makes the rest of the level."""
    for eta in (0.5, 1.0):
        sampler = DDIM(gaussian(VE()), eta=eta)
        t, _, x, z, x_s = _step(sampler)
        fresh = eta * 0.7 * (1 - 0.7**2) ** 0.5
        denoised = sampler.denoiser(x, t)
        expected = denoised + (0.7**2 - fresh**2) ** 0.5 * (x - denoised) + fresh * z
        torch.testing.assert_close(x_s, expected)
    torch.testing.assert_close(_step(Ancestral(gaussian(VE())))[-1], _step(DDIM(gaussian(VE()), eta=1.0))[-1])


def test_langevin_steps_by_level_are_those_by_norms_where_norms_concentrate(gaussian):
    """About a point in many dimensions, whose score is all noise."""
    x = [
        _step(PredictorCorrector(gaussian(VE(), std=0.0), length=length), 1.0, 0.99, range(4), width=20_000)[-1]
        for length in ("level", "norms")
    ]
    assert float((x[0] - x[1]).square().mean().sqrt()) < 0.005
    assert not torch.equal(*x)


def test_a_sample_sets_the_length_of_its_own_langevin_step(gaussian):
    sampler = PredictorCorrector(gaussian(VE()), length="norms", corrections=2)
    together = _step(sampler)[-1]
    for i in range(6):
        assert torch.equal(_step(sampler, seeds=[i])[-1], together[i : i + 1])
