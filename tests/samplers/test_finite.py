"""Where samples stop being made of finite numbers: found for every sampler, named, and no other sample is touched."""

import pytest
import torch

from condgen.denoiser import Denoiser
from condgen.guidance import ClassifierGuided
from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers import FIXED, SAMPLERS, build_sampler, draw, grid_for, out_of_range, trajectory
from condgen.samplers.finite import Track, finite_rows
from condgen.schedules import EDM, expand

SCHEDULE = EDM(sigma_min=0.02, sigma_max=20)
LEVEL = 2.0


class Spoilt(Denoiser):
    """The exact denoiser of a Gaussian, but not a number for class 1 at noise levels below one."""

    def __init__(self, value):
        super().__init__()
        self.schedule, self.value = SCHEDULE, value

    def forward(self, x_t, t, y=None):
        estimate = x_t / (1 + expand(self.schedule.noise_level(t), x_t) ** 2)
        bad = (y == 1) & (self.schedule.noise_level(t) < LEVEL)
        return torch.where(expand(bad, bad[:, None]).bool(), self.value, estimate)


def drawn(name, denoiser, labels, batch=6):
    sampler = build_sampler(name, denoiser)
    grid = grid_for(sampler, None) if name in FIXED else None
    rounds = draw(sampler, grid, list(range(len(labels))), torch.tensor(labels), (3,), batch)
    return sorted((sample for found in rounds for sample in found), key=lambda sample: sample.number)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_says_which_sample_broke_and_where(name, value):
    labels = [0, 1, 0, 1, 0, 0]
    found, whole = drawn(name, Spoilt(value), labels), drawn(name, Spoilt(value), [0] * 6)
    for label, sample, same in zip(labels, found, whole, strict=True):
        if label == 0:
            assert (sample.problem, sample.not_finite) == (None, None)
            assert torch.equal(sample.x, same.x)
            continue
        assert "its numbers are not finite from evaluation" in sample.problem
        assert 1 < sample.not_finite.evaluation <= sample.evaluations
        assert 0.02 <= sample.not_finite.noise_level < 20
        if name in ("ddim", "dpm++2m", "euler-maruyama"):  # one evaluation a step: it breaks in the first below
            levels = SCHEDULE.noise_level(grid_for(build_sampler(name, Spoilt(value)), None))
            expected = levels[levels < LEVEL][0]
            assert sample.not_finite.noise_level == pytest.approx(float(expected))


def test_a_track_tells_the_step_and_takes_no_overflow_of_a_sum_for_one():
    track = Track()
    states = [torch.ones(2, 4), torch.full((2, 4), 3e38), torch.ones(2, 4), torch.tensor([[1.0] * 4, [torch.nan] * 4])]
    for number, x in enumerate(states):
        track.note(x, 3 * number)
    broken = track.read(1, [8.0, 4.0, 2.0, 1.0])
    assert (broken.evaluation, broken.noise_level) == (9, 2.0)
    assert str(broken) == "its numbers are not finite from evaluation 9 on, at noise level 2"
    assert finite_rows(states[1]) == [True, True]
    assert finite_rows(states[3]) == [True, False]


def test_images_far_beyond_their_range_are_told():
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0, 0], x[2, 0, 0, 0], x[3, 0, 0, 0] = -11.0, 9.0, torch.inf
    assert out_of_range(x) == [False, True, False, False]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_guidance_scale_of_a_million_gives_finite_samples_or_a_problem(name):
    means = torch.tensor([[1.0, 0.0, 0.5], [-1.0, 0.3, 0.0]])
    oracle = Oracle(SCHEDULE, means, torch.tensor([0, 1]), 2, stds=0.3)
    for sample in drawn(name, ClassifierGuided(oracle, oracle.likelihood, 1e6), [0, 1, 0]):
        assert (sample.problem is None) == bool(sample.x.isfinite().all()) or "evaluations" in sample.problem


def test_a_trajectory_is_the_same_whether_it_is_tracked_or_not():
    sampler = build_sampler("heun", Spoilt(torch.nan))
    grid = grid_for(sampler, 5)
    *_, last = trajectory(sampler, grid, Streams([0, 1]), torch.tensor([0, 0]), (3,))
    (found,) = draw(sampler, grid, [0, 1], torch.tensor([0, 0]), (3,), 2)
    assert torch.equal(last.x, torch.stack([sample.x for sample in found]))
