"""Laws that every sampler keeps."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import pytest
import torch
from models import score_model
from pydantic import Field
from samplers.conftest import GaussianDenoiser, exact_stds, final

from condgen import EDM, VE, VP, Cosine, Sampler, Streams, UNetSettings, UserError, build_sampler, trajectory
from condgen.samplers.base import Context, evaluations_on
from condgen.samplers.catalogue import FIXED, grid_for, points_within
from condgen.schedules import RectifiedFlow, karras_grid

SCHEDULES = [VE(), VP(), Cosine(t_epsilon=2e-3), EDM(), RectifiedFlow()]
OPTIONS = {
    "ddim": {"eta": 0.7},
    "edm": {"gamma": 0.3},
    "predictor-corrector": {"corrections": 2},
    "annealed-langevin": {"repeats": 5},
}


def draw(sampler, grid, seeds, y=None, shape=(16,)):
    return final(sampler, grid, seeds, y, shape).x


@pytest.mark.parametrize("schedule", [Cosine(t_epsilon=2e-3), RectifiedFlow()], ids=lambda s: s.kind)
@pytest.mark.parametrize("name", sorted(set(FIXED) - {"annealed-langevin"}))  # which is not: test_langevin.py
def test_standard_deviation_of_a_gaussian(name, schedule):
    """Known exactly, without chance; on other schedules test_sampler_bias.py states it."""
    sampler = FIXED[name](GaussianDenoiser(schedule))
    assert exact_stds(sampler, grid_for(sampler, 200))[-1] == pytest.approx(1, abs=0.065)


@pytest.mark.parametrize(("schedule", "shape"), [(EDM(), (1,)), (VP(), (3, 17, 5))], ids=["edm", "vp"])
@pytest.mark.parametrize("options", [False, True], ids=["defaults", "options"])
@pytest.mark.parametrize("name", FIXED)
def test_a_sample_depends_on_its_own_seed_alone_bit_for_bit(name, options, shape, schedule):
    # an elementwise denoiser: no matrix product, whose order of summation could depend on the batch
    sampler = build_sampler(name, GaussianDenoiser(schedule), OPTIONS.get(name, {}) if options else {})
    grid, y = karras_grid(schedule, 9), torch.arange(16) % 3
    together = draw(sampler, grid, range(16), y, shape)
    assert together.unique(dim=0).shape[0] == 16
    for batch in (1, 4):
        parts = [draw(sampler, grid, seeds.tolist(), y[seeds], shape) for seeds in torch.arange(16).split(batch)]
        assert torch.equal(together, torch.cat(parts))
    assert torch.equal(together, draw(sampler, grid, range(15, -1, -1), y.flip(0), shape).flip(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_a_gpu_adds_rounding_at_most():
    """Noise is drawn on the processor for every device."""
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=())
    model, grid, found = score_model(network=network, shape=(1, 8, 8)).eval(), karras_grid(EDM(), 6), []
    for device in ("cpu", "cuda"):
        streams = Streams(range(5), torch.device(device))
        *_, last = trajectory(FIXED["heun"](model.to(device)), grid, streams, None, (1, 8, 8))
        found.append(last.x.cpu())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("name", FIXED)
def test_evaluations_are_counted_as_they_happen(name, schedule):
    for options in ({}, OPTIONS.get(name, {})):
        denoiser = GaussianDenoiser(schedule)
        sampler = build_sampler(name, denoiser, options)
        grid = grid_for(sampler, 18)
        last = final(sampler, grid, [0])
        assert last.evaluations == len(denoiser.batches) == evaluations_on(sampler, grid)


@pytest.mark.parametrize("name", FIXED)
def test_rescaling_the_state_changes_nothing(name):
    """At equal noise levels VP is VE seen through a factor alpha: most samplers cannot tell them apart."""
    ve, vp = VE(sigma_min=0.02, sigma_max=100.0), VP()
    levels = torch.linspace(4.0, -3.0, 12, dtype=torch.float64).exp()
    out = []
    for schedule in (ve, vp):
        sampler, grid = FIXED[name](GaussianDenoiser(schedule)), schedule.t_of_noise_level(levels)
        noise = Streams(range(3))
        x, context = schedule.sigma(grid[0]) * noise.normal((4,), torch.float64), Context(None, noise)
        for t, s in pairwise(grid):
            x = sampler.step(x, t, s, context)
        out.append(sampler.denoiser(x, grid[-1]))
    same = torch.allclose(*out, rtol=1e-9, atol=1e-9)
    assert same == (name not in {"euler-maruyama", "reverse-diffusion", "predictor-corrector"})


def test_the_loop_yields_noise_first_and_every_step():
    grid = karras_grid(EDM(), 5)
    steps = list(trajectory(FIXED["heun"](GaussianDenoiser(EDM())), grid, Streams([3]), None, (2,)))
    assert [step.number for step in steps] == [0, 1, 2, 3, 4, 5]
    assert [float(step.t) for step in steps] == [*grid.tolist(), float(grid[-1])]
    assert torch.equal(steps[0].x, 80.0 * Streams([3]).normal((2,)))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("heun", {"eta": 1}, "no such setting"),
        ("ddim", {"eta": 1.5}, "eta: Input should be less than or equal to 1"),
        ("edm", {"gamma": 0.5}, "gamma"),
        ("edm", {"s_min": 3, "s_max": 2}, "s_min to s_max, which 3 and 2 leave empty"),
        ("unipc", {"order": 4}, "order"),
    ],
)
def test_impossible_options_are_refused(name, options, words):
    with pytest.raises(UserError, match=words):
        build_sampler(name, GaussianDenoiser(EDM()), options)


@pytest.mark.parametrize(("name", "evaluations", "points"), [("heun", 35, 18), ("heun", 36, 18), ("dpm++2m", 10, 10)])
def test_points_within_a_budget(name, evaluations, points):
    assert points_within(FIXED[name](GaussianDenoiser(EDM())), evaluations) == points


def test_a_budget_too_small_for_the_sampler_is_refused():
    with pytest.raises(UserError, match="evaluations are too few"):
        points_within(build_sampler("annealed-langevin", GaussianDenoiser(EDM()), {"repeats": 200}), 100)


@dataclass(frozen=True, eq=False)
class Midpoint(Sampler):
    """A sampler from outside: the flow's slope halfway down, with an option of its own."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def step(self, x_t, t, s, context):
        middle = t + self.share * (s - t)
        x_m = x_t + (middle - t) / t * (x_t - self.denoiser(x_t, t, context.y))
        return x_t + (s - t) / middle * (x_m - self.denoiser(x_m, middle, context.y))

    def evaluations(self, t, s):
        return 2


def test_a_sampler_from_outside_is_named_by_its_import_path():
    name = f"{__name__}:Midpoint"
    sampler = build_sampler(name, GaussianDenoiser(EDM()), {"share": 0.6})
    assert sampler.share == 0.6
    sampler = build_sampler(name, GaussianDenoiser(EDM()))
    assert exact_stds(sampler, grid_for(sampler, 200))[-1] == pytest.approx(1, abs=0.01)
    with pytest.raises(UserError, match="share"):
        build_sampler(name, GaussianDenoiser(EDM()), {"share": 2})
    with pytest.raises(UserError, match="cannot be imported"):
        build_sampler("no_such_package:Sampler", GaussianDenoiser(EDM()))
    with pytest.raises(UserError, match="is no sampler"):
        build_sampler("math:pi", GaussianDenoiser(EDM()))
    with pytest.raises(UserError, match="no sampler 'huen'; choose one of heun, "):
        build_sampler("huen", GaussianDenoiser(EDM()))
