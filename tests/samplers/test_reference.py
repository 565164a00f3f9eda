"""Our samplers against those of diffusers: the same denoiser, the same noise, the same levels, in float64.

Where diffusers computes in float32, so does the comparison's tolerance. What it lacks is held by test_orders.py.
"""

from itertools import pairwise

import pytest
import torch
from libraries import library

from condgen import EDM, VP, Oracle, Streams, build_sampler
from condgen.samplers.base import Context
from condgen.schedules import karras_grid, uniform_grid

diffusers = library("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of other people's code

BATCH, SHAPE = 5, (3,)
DOUBLE = {"rtol": 1e-9, "atol": 1e-9}
SINGLE = {"rtol": 1e-5, "atol": 1e-5}
OF_SAMPLES = {"prediction_type": "sample", "lower_order_final": False}


def _mixture(schedule):
    means = torch.tensor([[-1.0, 0.3, 0.0], [1.0, 0.0, -0.5], [0.0, 1.0, 0.7]], dtype=torch.float64)
    return Oracle(schedule, means, torch.arange(3), 3, stds=torch.tensor([0.3, 0.2, 0.4], dtype=torch.float64))


class Draws:
    """The same noise for every library, whatever the arguments of its call."""

    def __init__(self):
        self.streams = Streams(range(BATCH))

    def __call__(self, *_, **__):
        return self.streams.normal(SHAPE, torch.float64)


def _ours(name, schedule, grid, options=None):
    """The states at every time of the grid."""
    sampler, draws = build_sampler(name, _mixture(schedule), options or {}), Draws()
    context = Context(None, draws.streams)
    x = [schedule.sigma(grid[0]) * draws()]
    for t, s in pairwise(grid):
        x.append(sampler.step(x[-1], t, s, context))
    return x


def _by_scheduler(scheduler, schedule, grid, monkeypatch, output=lambda denoised, x, level: denoised, **options):
    """The states that a scheduler with a list of sigmas makes; the scale of x is its own."""
    draws = Draws()
    monkeypatch.setattr(f"{type(scheduler).__module__}.randn_tensor", draws, raising=False)
    oracle, levels = _mixture(schedule), schedule.noise_level(grid)
    scheduler.set_timesteps(len(grid))
    scheduler.sigmas = torch.cat((levels, levels.new_zeros(1)))
    scheduler.set_begin_index(0)
    scheduler.is_scale_input_called = True
    x = [schedule.sigma(grid[0]) * draws()]
    for t in grid[:-1]:
        model = output(oracle(x[-1], t), x[-1], schedule.noise_level(t))
        x.append(scheduler.step(model, scheduler.timesteps[scheduler.step_index or 0], x[-1], **options).prev_sample)
    return x


def test_heun_of_diffusers():
    """A step of HeunDiscreteScheduler is two calls, between which its sigma does not change."""
    grid, oracle = karras_grid(EDM(), 12), _mixture(EDM())
    x = [grid[0] * Draws()()]
    for t, s in pairwise(grid):
        scheduler = diffusers.HeunDiscreteScheduler(prediction_type="sample")
        scheduler.set_timesteps(2)
        scheduler.sigmas = torch.stack((t, s, s))
        scheduler.set_begin_index(0)
        euler = scheduler.step(oracle(x[-1], t), 0, x[-1]).prev_sample
        x.append(scheduler.step(oracle(euler, s), 0, euler).prev_sample)
    torch.testing.assert_close(torch.stack(_ours("heun", EDM(), grid)), torch.stack(x), **DOUBLE)


def test_ancestral_of_diffusers(monkeypatch):
    """EulerAncestralDiscreteScheduler computes in float32."""
    grid = karras_grid(EDM(), 12)
    scheduler = diffusers.EulerAncestralDiscreteScheduler()
    theirs = _by_scheduler(scheduler, EDM(), grid, monkeypatch, lambda denoised, x, level: (x - denoised) / level)
    torch.testing.assert_close(torch.stack(_ours("ancestral", EDM(), grid)), torch.stack(theirs), **SINGLE)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [("ancestral", "DDPM", {}), *(("ddim", "DDIM", {"eta": eta}) for eta in (0.0, 0.4, 1.0))],
)
def test_ddpm_and_ddim_of_diffusers(name, kind, options, monkeypatch):
    """They count the times of a grid as integers, the noisiest last."""
    grid, oracle, draws = karras_grid(VP(), 15), _mixture(VP()), Draws()
    monkeypatch.setattr(f"diffusers.schedulers.scheduling_{kind.lower()}.randn_tensor", draws)
    make = getattr(diffusers, f"{kind}Scheduler")
    scheduler = make(num_train_timesteps=15, prediction_type="sample", clip_sample=False)
    scheduler.alphas_cumprod = VP().alpha(grid).square().flip(0)
    scheduler.set_timesteps(len(grid))
    x = [VP().sigma(grid[0]) * draws()]
    for k, t in enumerate(grid[:-1]):
        x.append(scheduler.step(oracle(x[-1], t), len(grid) - 1 - k, x[-1], **options).prev_sample)
    torch.testing.assert_close(torch.stack(_ours(name, VP(), grid, options)), torch.stack(x), **DOUBLE)


@pytest.mark.parametrize(("name", "algorithm"), [("dpm++2m", "dpmsolver++"), ("dpm++2m-sde", "sde-dpmsolver++")])
def test_dpm_solver_of_diffusers(name, algorithm, monkeypatch):
    """DPMSolverMultistepScheduler computes in float32, in the scale of VP."""
    grid = karras_grid(VP(), 12)
    scheduler = diffusers.DPMSolverMultistepScheduler(algorithm_type=algorithm, **OF_SAMPLES)
    theirs = _by_scheduler(scheduler, VP(), grid, monkeypatch)
    torch.testing.assert_close(torch.stack(_ours(name, VP(), grid)), torch.stack(theirs), **SINGLE)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc_of_diffusers(order, variant, monkeypatch):
    """States as they are predicted; `lower_order_final` would lower the order of the last step."""
    grid = karras_grid(VP(), 12)
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=order, solver_type=variant, **OF_SAMPLES)
    theirs = _by_scheduler(scheduler, VP(), grid, monkeypatch)
    ours = _ours("unipc", VP(), grid, {"order": order, "variant": variant})
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **DOUBLE)


def test_euler_maruyama_of_diffusers(monkeypatch):
    """ScoreSdeVpScheduler takes steps of one over the number of times: those of ten times from 1 to 0.1."""
    module = library("diffusers.schedulers.deprecated.scheduling_sde_vp")
    schedule, draws = VP(t_epsilon=0.1), Draws()
    grid, oracle = uniform_grid(schedule, 10), _mixture(schedule)
    monkeypatch.setattr(module, "randn_tensor", draws)
    scheduler = module.ScoreSdeVpScheduler(beta_min=0.1, beta_max=20)
    scheduler.set_timesteps(len(grid))
    x = schedule.sigma(grid[0]) * draws()
    for t in grid[:-1]:
        x, _ = scheduler.step_pred(oracle.eps(x, t), x, t)
    torch.testing.assert_close(_ours("euler-maruyama", schedule, grid)[-1], x, **DOUBLE)
