"""One step of each sampler of the reverse SDE, against its formula written out for one schedule."""

import torch
from samplers.conftest import GaussianDenoiser

from condgen import VP, Streams
from condgen.samplers.base import Context
from condgen.samplers.euler import PredictorCorrector, ReverseDiffusion


def _step(sampler, level_t=1.0, level_s=0.7, seeds=range(6), width=8):
    """The state at t, the noise of the step, and the state at s; all float64."""
    t, s = sampler.schedule.t_of_noise_level(torch.tensor([level_t, level_s], dtype=torch.float64))
    noise, streams = Streams(seeds), Streams(seeds)
    x = streams.normal((width,), torch.float64)
    noise.normal((width,), torch.float64)
    x_s = sampler.step(x, t, s, Context(None, streams))
    return t, s, x, noise.normal((width,), torch.float64), x_s


def test_reverse_diffusion_is_the_papers_on_vp():
    """Song et al. 2021, eq. 48: (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z."""
    denoiser = GaussianDenoiser(VP())
    t, s, x, z, x_s = _step(ReverseDiffusion(denoiser))
    beta = 1 - (VP().alpha(t) / VP().alpha(s)) ** 2
    expected = (2 - (1 - beta).sqrt()) * x + beta * denoiser.score(x, t) + beta.sqrt() * z
    torch.testing.assert_close(x_s, expected)


def test_a_correction_is_langevins_step_of_the_length_of_its_level():
    """x + l score + sqrt(2 l) z with l = 2 (r sigma_s)^2, behind the predictor."""
    denoiser, streams = GaussianDenoiser(VP()), Streams(range(6))
    _, s, _, _, predicted = _step(ReverseDiffusion(denoiser))
    corrected = _step(PredictorCorrector(denoiser, snr=0.3))[-1]
    *_, z = [streams.normal((8,), torch.float64) for _ in range(3)]
    length = 2 * (0.3 * VP().sigma(s)) ** 2
    torch.testing.assert_close(corrected, predicted + length * denoiser.score(predicted, s) + (2 * length).sqrt() * z)
