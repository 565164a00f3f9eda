"""The frames of a trajectory: the samples that `draw` makes, and what they came from."""

import math
import sys
from itertools import pairwise

import pytest
import torch

from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers import (
    ADAPTIVE,
    FIXED,
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
from condgen.schedules import EDM, VP, Cosine, expand

POINTS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0], [-0.6, 0.9], [0.7, -0.1], [0.0, 0.4]])
SEEDS = (5, 9, 2)
LABELS = torch.tensor([2, 0, 1])


def setting(name, schedule):
    """A sampler around an exact denoiser of two points a class, and its grid."""
    oracle = Oracle(schedule, POINTS, torch.arange(6) % 3, 3)
    sampler = build_sampler(name, oracle)
    return sampler, None if name in ADAPTIVE else grid_for(sampler)


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_samples_are_those_of_draw_bit_for_bit(name, schedule):
    sampler, grid = setting(name, schedule)
    paths = record_trajectories(sampler, grid, SEEDS, LABELS, (2,))
    drawn = [s for found in draw(sampler, grid, SEEDS, LABELS, (2,), 3) for s in found]
    for path, sample in zip(paths, sorted(drawn, key=lambda s: s.number), strict=True):
        assert torch.equal(path.x, sample.x)
        assert path.evaluations == sample.evaluations
        assert path.problem is sample.problem is None


@pytest.mark.parametrize("schedule", [EDM(), Cosine()], ids=lambda s: s.kind)
@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_falls_to_the_sample_and_every_estimate_is_that_of_its_state(name, schedule):
    sampler, grid = setting(name, schedule)
    for path, label in zip(record_trajectories(sampler, grid, SEEDS, LABELS, (2,)), LABELS, strict=True):
        noises = [frame.noise for frame in path.frames]
        assert all(before > after for before, after in pairwise(noises))
        assert noises[0] == pytest.approx(schedule.noise_range[1], rel=0.1 if name == "annealed-langevin" else 1e-6)
        assert noises[-1] == pytest.approx(schedule.noise_range[0])
        assert torch.equal(path.frames[-1].denoised, path.x)
        for frame in path.frames:
            t = torch.tensor(frame.t, dtype=torch.float64)
            assert frame.noise == pytest.approx(float(schedule.noise_level(t)))
            found = sampler.denoiser(frame.x_t[None], t, label[None])[0]
            assert torch.allclose(frame.denoised, found, atol=1e-5)


@pytest.mark.parametrize("name", ["heun", "predictor-corrector", "restart"])
def test_of_several_states_at_one_level_the_last_counts(name):
    """The states of the steps that were taken, not those of trials: they are where the loop itself stands."""
    sampler, grid = setting(name, EDM())
    assert name in FIXED
    (path,) = record_trajectories(sampler, grid, SEEDS[:1], LABELS[:1], (2,))
    states = {float(step.t): step.x[0] for step in trajectory(sampler, grid, Streams(SEEDS[:1]), LABELS[:1], (2,))}
    for frame in path.frames[1:-1]:
        if frame.t in states and name != "predictor-corrector":  # whose corrector moves on after it has asked
            assert torch.equal(frame.x_t, states[frame.t])
    assert len(path.frames) >= len(grid)
    assert path.evaluations > len(grid)


def test_a_few_frames_are_the_ends_and_even_in_between():
    path = [TrajectoryPoint(t, t, torch.zeros(1), torch.zeros(1)) for t in torch.logspace(2, -2, 41).tolist()]
    chosen = thin_out(path, 5)
    assert [math.log10(frame.noise) for frame in chosen] == pytest.approx([2, 1, 0, -1, -2], abs=1e-5)
    crowded = [path[0], *path[-6:]]  # all but one at the end: none is chosen twice
    assert [f.t for f in thin_out(crowded, 4)] == [f.t for f in (crowded[0], crowded[1], crowded[2], crowded[-1])]
    early = [*path[:6], path[-1]]  # all but one at the beginning: there are as many as asked for
    assert [f.t for f in thin_out(early, 5)] == [early[i].t for i in (0, 3, 4, 5, 6)]
    assert thin_out(path[:3], 5) == path[:3]


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_pictures_of_states_have_unit_noise_at_first_and_the_sample_at_last(schedule):
    sampler, grid = setting("heun", schedule)
    (path,) = record_trajectories(sampler, grid, [0], LABELS[:1], (2,))
    first = unit_variance(path.frames[0], schedule)
    sigma = expand(schedule.sigma(grid[0]), first)
    assert torch.allclose(first, path.frames[0].x_t / sigma, rtol=1e-2)
    assert torch.allclose(unit_variance(path.frames[-1], schedule), path.x, atol=5 * schedule.noise_range[0])


@pytest.mark.parametrize("name", ["heun", "restart", "annealed-langevin", "adaptive-ode"])
def test_of_long_ways_few_frames_are_kept_and_the_samples_stay(name, monkeypatch):
    """Those that are kept reach from end to end, and are as even in between as the whole way allows."""
    sampler, grid = setting(name, EDM())
    if grid is not None:
        grid = grid_for(sampler, max(200, len(grid)))
    whole = record_trajectories(sampler, grid, SEEDS, LABELS, (2,))
    monkeypatch.setattr(sys.modules["condgen.samplers.recording"], "_BYTES", 1)
    few = record_trajectories(sampler, grid, SEEDS, LABELS, (2,), shown=5)
    for path, other in zip(whole, few, strict=True):
        assert torch.equal(path.x, other.x)
        assert (path.evaluations, path.problem) == (other.evaluations, other.problem)
        assert 5 <= len(other.frames) <= 20
        assert {frame.t for frame in other.frames} <= {frame.t for frame in path.frames}
        assert (other.frames[0].t, other.frames[-1].t) == (path.frames[0].t, path.frames[-1].t)
        assert torch.equal(other.frames[-1].denoised, other.x)
        step = math.log(path.frames[0].noise / path.frames[-1].noise) / 4
        for picked, best in zip(thin_out(other.frames, 5), thin_out(path.frames, 5), strict=True):
            assert abs(math.log(picked.noise / best.noise)) < step / 2


@pytest.mark.parametrize("together", [True, False])
def test_memory_does_not_grow_with_the_number_of_evaluations(together, monkeypatch):
    monkeypatch.setattr(sys.modules["condgen.samplers.recording"], "_BYTES", 1)
    watcher, most = Recorder(EDM(), 3, [0, 2], 4, 5, together=together), 0
    for t in torch.logspace(1.5, -2, 1000, dtype=torch.float64):
        watcher(None, (torch.zeros(3, 4), t), torch.ones(3, 4))
        frames_kept = [frame for way in watcher._ways.values() for frame in way]
        kept = [part.untyped_storage() for frame in frames_kept for part in (frame.x_t, frame.denoised)]
        most = max(most, sum({storage.data_ptr(): storage.nbytes() for storage in kept}.values()))
    assert 0 < most <= 2 * (20 + 1) * 2 * 4 * 4  # states and estimates, of two samples, of four numbers, of four bytes
    assert len(watcher.path(2)) <= 20


def test_no_seeds_no_paths():
    sampler, grid = setting("heun", EDM())
    assert record_trajectories(sampler, grid, [], LABELS[:0], (2,)) == []
