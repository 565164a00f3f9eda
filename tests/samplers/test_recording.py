"""Recorded trajectories: of the samples that `draw` makes, with falling noise, in bounded memory."""

import math
from itertools import pairwise

import pytest
import torch

from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers import (
    ADAPTIVE,
    SAMPLERS,
    Recorder,
    TrajectoryPoint,
    build_sampler,
    draw,
    grid_for,
    record_trajectories,
    thin_out,
    trajectory,
    unit_variance,
)
from condgen.schedules import EDM, VP, expand

POINTS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0], [-0.6, 0.9], [0.7, -0.1], [0.0, 0.4]])
SEEDS = (5, 9, 2)
LABELS = torch.tensor([2, 0, 1])


def setting(name, schedule):
    """A sampler around an exact denoiser of two points a class, and its grid."""
    sampler = build_sampler(name, Oracle(schedule, POINTS, torch.arange(6) % 3, 3))
    return sampler, None if name in ADAPTIVE else grid_for(sampler)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_falls_to_the_sample_and_every_estimate_is_that_of_its_state(name):
    sampler, grid = setting(name, VP())
    grid = grid_for(sampler, 25) if grid is not None else None
    recorded = record_trajectories(sampler, grid, SEEDS, LABELS, (2,), most=300)
    drawn = [s for found in draw(sampler, grid, SEEDS, LABELS, (2,), 3) for s in found]
    for path, sample, label in zip(recorded, sorted(drawn, key=lambda s: s.number), LABELS, strict=True):
        assert torch.equal(path.x, sample.x)
        assert (path.evaluations, path.problem) == (sample.evaluations, None)
        noises = [point.noise for point in path.points]
        assert all(before > after for before, after in pairwise(noises))
        assert noises[0] == pytest.approx(VP().noise_range[1], rel=0.6 if name == "annealed-langevin" else 1e-6)
        assert noises[-1] == pytest.approx(VP().noise_range[0])
        assert torch.equal(path.points[-1].denoised, path.x)
        for point in path.points[::5]:
            t = torch.tensor(point.t, dtype=torch.float64)
            assert point.noise == pytest.approx(float(VP().noise_level(t)))
            found = sampler.denoiser(point.x_t[None], t, label[None])[0]
            assert torch.allclose(point.denoised, found, atol=1e-5)


@pytest.mark.parametrize("name", ["heun", "restart"])
def test_of_several_states_at_one_level_the_last_counts(name):
    """The states of the steps that were taken, not those of trials."""
    sampler, grid = setting(name, EDM())
    (path,) = record_trajectories(sampler, grid, SEEDS[:1], LABELS[:1], (2,))
    states = {float(step.t): step.x[0] for step in trajectory(sampler, grid, Streams(SEEDS[:1]), LABELS[:1], (2,))}
    for point in path.points[1:-1]:
        if point.t in states:
            assert torch.equal(point.x_t, states[point.t])
    assert len(path.points) >= len(grid)


def test_thinning_keeps_the_ends_and_is_even_in_between():
    path = [TrajectoryPoint(t, t, torch.zeros(1), torch.zeros(1)) for t in torch.logspace(2, -2, 41).tolist()]
    assert [math.log10(point.noise) for point in thin_out(path, 5)] == pytest.approx([2, 1, 0, -1, -2], abs=1e-5)
    crowded = [path[0], *path[-6:]]  # all but one at the end
    assert [point.t for point in thin_out(crowded, 4)] == [point.t for point in (path[0], path[-6], path[-1])]
    assert thin_out(path[:3], 5) == path[:3]


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_pictures_of_states_have_unit_noise_at_first_and_the_sample_at_last(schedule):
    sampler, grid = setting("heun", schedule)
    (path,) = record_trajectories(sampler, grid, [0], LABELS[:1], (2,))
    first = unit_variance(path.points[0], schedule)
    assert torch.allclose(first, path.points[0].x_t / expand(schedule.sigma(grid[0]), first), rtol=1e-2)
    assert torch.allclose(unit_variance(path.points[-1], schedule), path.x, atol=5 * schedule.noise_range[0])


def test_memory_does_not_grow_with_the_number_of_evaluations(gaussian):
    denoiser = gaussian(EDM())
    recorder = Recorder(EDM(), 3, [0, 2], 5)
    with recorder.on(denoiser):
        for t in torch.logspace(1.5, -2, 1000, dtype=torch.float64):
            denoiser(torch.zeros(3, 4), t)
            parts = [part for point in recorder.points[0] for part in (point.x_t, point.denoised)]
            assert sum(part.untyped_storage().nbytes() for part in parts) <= 2 * 20 * 4 * 4
    points = recorder.points[2]
    assert (points[0].t, points[-1].t) == pytest.approx((10**1.5, 0.01))
