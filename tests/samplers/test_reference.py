"""Our samplers beside independent libraries: the same denoiser, the same noise, the same levels, in float64.

diffusers is among the development dependencies; k-diffusion and azula, in the dependency group `bench`, have
what diffusers lacks. Where a library computes in float32, so does the comparison's tolerance.
"""

import sys
import warnings
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest
import torch

from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers import Context, build_sampler
from condgen.samplers.heun import Restart
from condgen.schedules import EDM, VE, VP, geometric_grid, karras_grid, uniform_grid

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of other people's code

BATCH, SHAPE = 5, (3,)
DOUBLE = {"rtol": 1e-9, "atol": 1e-9}
SINGLE = {"rtol": 1e-5, "atol": 1e-5}


def _library(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's dependencies
        return pytest.importorskip(name)


def _k_diffusion(monkeypatch):
    """Its metrics import clip, which needs setuptools of before 70; its samplers need neither."""
    monkeypatch.setitem(sys.modules, "clip", ModuleType("clip"))
    return _library("k_diffusion").sampling


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


# ----------------------------------------------------------------------------------------------------
# diffusers


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
    diffusers = _library("diffusers")
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
    diffusers = _library("diffusers")
    grid = karras_grid(EDM(), 12)
    theirs = _by_scheduler(
        diffusers.EulerAncestralDiscreteScheduler(),
        EDM(),
        grid,
        monkeypatch,
        lambda denoised, x, level: (x - denoised) / level,
    )
    torch.testing.assert_close(torch.stack(_ours("ancestral", EDM(), grid)), torch.stack(theirs), **SINGLE)


def _by_cumulative_alphas(scheduler, schedule, grid, draws, **options):
    """DDPM and DDIM count the times of a grid as integers, the noisiest last."""
    oracle = _mixture(schedule)
    scheduler.alphas_cumprod = schedule.alpha(grid).square().flip(0)
    scheduler.set_timesteps(len(grid))
    x = [schedule.sigma(grid[0]) * draws()]
    for k, t in enumerate(grid[:-1]):
        x.append(scheduler.step(oracle(x[-1], t), len(grid) - 1 - k, x[-1], **options).prev_sample)
    return x


def test_ddpm_of_diffusers(monkeypatch):
    diffusers = _library("diffusers")
    grid, draws = karras_grid(VP(), 15), Draws()
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", draws)
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=15, prediction_type="sample", clip_sample=False)
    theirs = _by_cumulative_alphas(scheduler, VP(), grid, draws)
    torch.testing.assert_close(torch.stack(_ours("ancestral", VP(), grid)), torch.stack(theirs), **DOUBLE)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_of_diffusers(eta, monkeypatch):
    diffusers = _library("diffusers")
    grid, draws = karras_grid(VP(), 15), Draws()
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddim.randn_tensor", draws)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=15, prediction_type="sample", clip_sample=False)
    theirs = _by_cumulative_alphas(scheduler, VP(), grid, draws, eta=eta)
    torch.testing.assert_close(torch.stack(_ours("ddim", VP(), grid, {"eta": eta})), torch.stack(theirs), **DOUBLE)


@pytest.mark.parametrize(
    ("name", "algorithm"), [("dpm++2m", "dpmsolver++"), ("dpm++2m-sde", "sde-dpmsolver++")], ids=["2m", "2m-sde"]
)
def test_dpm_solver_of_diffusers(name, algorithm, monkeypatch):
    """DPMSolverMultistepScheduler computes in float32, in the scale of VP."""
    diffusers = _library("diffusers")
    grid = karras_grid(VP(), 12)
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type=algorithm, prediction_type="sample", lower_order_final=False
    )
    theirs = _by_scheduler(scheduler, VP(), grid, monkeypatch)
    torch.testing.assert_close(torch.stack(_ours(name, VP(), grid)), torch.stack(theirs), **SINGLE)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc_of_diffusers(order, variant, monkeypatch):
    """States as they are predicted; `lower_order_final` would lower the order of the last step."""
    diffusers = _library("diffusers")
    grid = karras_grid(VP(), 12)
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order, solver_type=variant, prediction_type="sample", lower_order_final=False
    )
    theirs = _by_scheduler(scheduler, VP(), grid, monkeypatch)
    ours = _ours("unipc", VP(), grid, {"order": order, "variant": variant})
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **DOUBLE)


@pytest.mark.parametrize("corrections", [0, 2])
def test_predictor_corrector_of_diffusers(corrections, monkeypatch):
    """ScoreSdeVeScheduler averages the norms of a batch: one sample at a time, they are its own."""
    diffusers = _library("diffusers")
    schedule = VE(sigma_max=20.0)
    grid, oracle = geometric_grid(schedule, 12), _mixture(schedule)
    options = {"corrections": corrections, "length": "norms", "snr": 0.1}
    ours = (
        _ours("predictor-corrector", schedule, grid, options)
        if corrections
        else _ours("reverse-diffusion", schedule, grid)
    )
    scheduler, draws = diffusers.ScoreSdeVeScheduler(snr=0.1), Draws()
    scheduler.set_timesteps(len(grid))
    scheduler.discrete_sigmas = schedule.sigma(grid).flip(0)
    noise = [draws() for _ in range(1 + (len(grid) - 1) * (1 + corrections))]
    for i in range(BATCH):
        left = iter([draw[i : i + 1] for draw in noise])
        monkeypatch.setattr(
            "diffusers.schedulers.scheduling_sde_ve.randn_tensor", lambda *_, left=left, **__: next(left)
        )
        x = schedule.sigma(grid[0]) * next(left)
        for k, (t, s) in enumerate(pairwise(grid)):
            place = (len(grid) - 1 - k + 0.5) / (len(grid) - 1)  # it rounds the time down to one of its levels
            x = scheduler.step_pred(oracle.score(x, t), place, x).prev_sample
            for _ in range(corrections):
                x = scheduler.step_correct(oracle.score(x, s), x).prev_sample
        torch.testing.assert_close(ours[-1][i : i + 1], x, rtol=1e-6, atol=1e-6)  # its steps are float32


def test_euler_maruyama_of_diffusers(monkeypatch):
    """ScoreSdeVpScheduler takes steps of one over the number of times: those of ten times from 1 to 0.1."""
    _library("diffusers")
    module = _library("diffusers.schedulers.deprecated.scheduling_sde_vp")
    schedule, draws = VP(t_epsilon=0.1), Draws()
    grid, oracle = uniform_grid(schedule, 10), _mixture(schedule)
    monkeypatch.setattr(module, "randn_tensor", draws)
    scheduler = module.ScoreSdeVpScheduler(beta_min=0.1, beta_max=20)
    scheduler.set_timesteps(len(grid))
    x = schedule.sigma(grid[0]) * draws()
    for t in grid[:-1]:
        x, _ = scheduler.step_pred(oracle.eps(x, t), x, t)
    torch.testing.assert_close(_ours("euler-maruyama", schedule, grid)[-1], x, **DOUBLE)


# ----------------------------------------------------------------------------------------------------
# k-diffusion: functions of a list of sigmas, for alpha = 1


def _by_k_diffusion(function, grid, monkeypatch, **options):
    sampling = _k_diffusion(monkeypatch)
    oracle, draws = _mixture(EDM()), Draws()
    monkeypatch.setattr(torch, "randn_like", draws)
    if "sde" in function:
        options["noise_sampler"] = draws
    return getattr(sampling, function)(
        lambda x, sigma: oracle(x, sigma), grid[0] * draws(), grid, disable=True, **options
    )


@pytest.mark.parametrize(
    ("name", "options", "function", "theirs"),
    [
        (
            "edm",
            {"gamma": 0.3, "s_min": 0.05, "s_max": 90.0, "s_noise": 1.007},
            "sample_heun",
            {"s_churn": 0.3 * 12, "s_tmin": 0.05, "s_tmax": 90.0, "s_noise": 1.007},
        ),
        ("dpm++2m-sde", {"eta": 0.6}, "sample_dpmpp_2m_sde", {"eta": 0.6}),
    ],
)
def test_k_diffusion(name, options, function, theirs, monkeypatch):
    grid, roomy = karras_grid(EDM(), 13), EDM(sigma_max=200)  # which lets the first level be raised
    expected = _by_k_diffusion(function, grid, monkeypatch, **theirs)
    torch.testing.assert_close(_ours(name, roomy, grid, options)[-1], expected, **DOUBLE)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_3m_differs_from_k_diffusion_by_half_the_second_difference(eta, monkeypatch):
    """A parabola with second difference d adds c_2 d to a step; `sample_dpmpp_3m_sde` adds c_2 d / 2.

    Its error on the flow therefore falls with the second power of the step, and ours with the third (test_orders.py).
    Up to its first step with two earlier estimates there is no difference.
    """
    grid = karras_grid(EDM(), 40)[10:14]
    ours, oracle = _ours("dpm++3m-sde", EDM(), grid, {"eta": eta}), _mixture(EDM())
    two = _by_k_diffusion("sample_dpmpp_3m_sde", grid[:3], monkeypatch, eta=eta)
    torch.testing.assert_close(ours[2], two, **DOUBLE)
    three = _by_k_diffusion("sample_dpmpp_3m_sde", grid, monkeypatch, eta=eta)
    h = -grid.log().diff()
    d0, d1, d2 = (oracle(x, t) for x, t in zip(ours[2::-1], grid[:3].flip(0), strict=False))
    second = ((d0 - d1) / h[1] - (d1 - d2) / h[0]) / (h[0] + h[1])  # of the Newton form, per squared lambda
    length = (1 + eta) * h[2]
    c2 = 1 - 2 / length * (1 - (1 - torch.exp(-length)) / length)
    difference = 0.5 * c2 * h[2] ** 2 * second
    assert float(difference.abs().max()) > 1e-5
    torch.testing.assert_close(ours[3] - three, difference, rtol=1e-7, atol=1e-10)


def test_restart_is_heun_of_k_diffusion_run_again(monkeypatch):
    sampling = _k_diffusion(monkeypatch)
    oracle, grid, draws = _mixture(EDM()), karras_grid(EDM(), 14), Draws()
    x, low = grid[0] * draws(), int((grid <= 0.06).nonzero()[0, 0])

    def heun(x, sigmas):
        return sampling.sample_heun(lambda x, sigma: oracle(x, sigma), x, sigmas, disable=True)

    x = heun(x, grid[: low + 1])
    again = sampling.get_sigmas_karras(5, float(grid[low]), 0.3)[:-1].double()
    for _ in range(2):
        x = heun(x + draws() * (0.3**2 - grid[low] ** 2).sqrt(), again)
    x = heun(x, grid[low:])
    torch.testing.assert_close(_ours("restart", EDM(), grid)[-1], x, **SINGLE)  # its restart's levels are float32
    assert Restart(oracle).evaluations(grid[low - 1], grid[low]) == 2 + 2 * 8


# ----------------------------------------------------------------------------------------------------
# azula


@pytest.mark.parametrize("schedule", [VE(), VP()], ids=lambda s: s.kind)
def test_3m_without_noise_is_the_exponential_adams_bashforth_of_azula(schedule):
    """Both integrate the polynomial through three estimates exactly."""
    sample, oracle, draws = _library("azula.sample"), _mixture(schedule), Draws()

    class AzulaDenoiser:
        def schedule(self, t):
            return schedule.alpha(t), schedule.sigma(t)

        def __call__(self, x, t):
            return SimpleNamespace(mean=oracle(x, t), var=None)

    grid = uniform_grid(schedule, 13)
    ends = {"start": schedule.t_max, "stop": schedule.t_min, "steps": 12, "dtype": torch.float64}
    runner = sample.xEABSampler(AzulaDenoiser(), order=3, silent=True, **ends)
    expected = runner(schedule.sigma(grid[0]) * draws())
    torch.testing.assert_close(_ours("dpm++3m-sde", schedule, grid, {"eta": 0.0})[-1], expected, **DOUBLE)
