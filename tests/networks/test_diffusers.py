"""A network of diffusers in the role of ours: beside diffusers' own arithmetic."""

import sys
from itertools import pairwise

import pytest
import torch
from libraries import library

from condgen import EDM, VP, Streams, UserError
from condgen.networks.diffusers import DiffusersSettings
from condgen.samplers.base import Context
from condgen.samplers.euler import DDIM
from condgen.score import ScoreConfig

diffusers = library("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of other people's code

SHAPE = (1, 8, 8)
UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}
NOISES = [
    {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2", "beta_start": 1e-4, "beta_end": 0.02},
]


def _model(prediction="epsilon", betas=NOISES[0], schedule=None, sigma_data=1.0):
    torch.manual_seed(0)
    settings = DiffusersSettings(unet=UNET, prediction=prediction, **betas)
    about = {"schedule": schedule or EDM(), "shape": SHAPE, "names": ("a", "b"), "sigma_data": sigma_data}
    config = ScoreConfig(network=settings, **about)
    return config.build().eval().requires_grad_(False)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("betas", NOISES, ids=lambda betas: betas["beta_schedule"])
def test_at_whole_timesteps_the_estimate_is_that_of_diffusers(prediction, betas):
    model = _model(prediction, betas)
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction, clip_sample=False, **betas)
    levels = model.config.network.levels()
    for k in (0, 1, 17, 250, 500, 777, 998, 999):
        alpha = float(scheduler.alphas_cumprod[k]) ** 0.5
        x = Streams([k, k + 1]).normal(SHAPE)
        theirs = scheduler.step(model.net.unet(x, k).sample, k, x).pred_original_sample
        torch.testing.assert_close(model(x / alpha, levels[k]), theirs, rtol=2e-6, atol=2e-6 / alpha)


def test_a_step_of_a_rectified_flow_is_that_of_diffusers():
    """An Euler step from one time to the next, which is DDIM's, and exact at every time: embeddings take any number."""
    model, scheduler = _model("flow"), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(7)
    sampler, context, noise = DDIM(model), Context(None, Streams([3, 4])), Streams([3, 4]).normal(SHAPE)
    for k, (now, then) in zip(scheduler.timesteps[1:], pairwise(scheduler.sigmas[1:-1]), strict=False):
        theirs = scheduler.step(model.net.unet(noise, k).sample, k, noise).prev_sample
        level, next_level = (share.double() / (1 - share.double()) for share in (now, then))
        ours = sampler.step(noise / (1 - now), level, next_level, context) * (1 - then)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_preconditioned_network_is_that_of_karras():
    model, scheduler = _model("edm", sigma_data=0.5), diffusers.EDMEulerScheduler(sigma_data=0.5)
    for level in [*model.config.network.levels().tolist(), 0.3, 5.0]:
        x, sigma = Streams([3, 4]).normal(SHAPE) * level, torch.tensor(level)
        noise = scheduler.precondition_noise(sigma)
        out = model.net.unet(scheduler.precondition_inputs(x, sigma), noise).sample
        theirs = scheduler.precondition_outputs(x, out, sigma)
        torch.testing.assert_close(model(x, torch.tensor(level, dtype=torch.float64)), theirs, rtol=1e-5, atol=1e-5)


def test_the_estimate_does_not_depend_on_the_scale_of_the_schedule():
    """Of variance preserving noise at the same noise level, and of labels, the estimate is the same."""
    exploding, preserving = _model(), _model(schedule=VP())
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    level, alpha = VP().noise_level(t), VP().alpha(t).float().view(-1, 1, 1, 1)
    x = Streams([0, 1]).normal(SHAPE)
    torch.testing.assert_close(preserving(x, t), exploding(x / alpha, level), rtol=1e-4, atol=1e-4)
    assert torch.equal(exploding(x, level, torch.tensor([0, 1])), exploding(x, level))


def test_between_timesteps_time_is_linear_in_log_snr_and_beyond_them_it_ends():
    net, seen = DiffusersSettings(unet=UNET).build_denoiser(SHAPE, None), []
    levels = DiffusersSettings(unet=UNET).levels()
    assert (len(levels), bool((levels.diff() > 0).all())) == (1000, True)
    log_snr = -2 * levels.log()
    middle = (-0.25 * (log_snr[400] + log_snr[401])).float()
    asked = torch.stack([levels[0] / 9, levels[400], levels[401], levels[999] * 9]).log().float()
    net.unet.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[1].tolist()))
    net(torch.zeros(5, *SHAPE), torch.cat([asked, middle[None]]) / 4)
    assert seen == pytest.approx([0, 400, 401, 999, 400.5], abs=1e-3)


def test_no_timestep_without_signal_is_asked_for():
    levels = DiffusersSettings(unet=UNET, zero_terminal_snr=True).levels()
    assert (len(levels), bool(levels.isfinite().all())) == (999, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_channels": 2}, "out_channels 2, where 1 is needed"),
        ({"in_channels": 3, "out_channels": 3}, "in_channels 3, where 1 is needed"),
        ({"time_embedding_type": "fourier"}, "'fourier'"),
        ({"num_class_embeds": 10}, "num_class_embeds 10, where None is needed"),
        ({"colour": "red"}, "colour"),
        ({"down_block_types": ["DownBlock2D"]}, "same number"),
        ({"block_out_channels": [8] * 5}, "halves or doubles the image 4 times"),
    ],
)
def test_what_cannot_be_a_score_model_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        DiffusersSettings(unet=UNET | changes).build_denoiser(SHAPE, None)


def test_a_missing_installation_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'condgen\[diffusers\]'"):
        DiffusersSettings(unet=UNET).build_denoiser(SHAPE, None)
