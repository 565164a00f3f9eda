"""Where samples stop being made of finite numbers: found for every sampler, named, and no other sample is touched."""

import re

import pytest
import torch

from condgen import EDM, ClassifierGuided, Denoiser, Oracle, build_sampler
from condgen.samplers.catalogue import FIXED, SAMPLERS, grid_for
from condgen.samplers.draw import draw
from condgen.schedules import expand

SCHEDULE = EDM(sigma_min=0.02, sigma_max=20)
LEVEL = 2.0


class NotANumber(Denoiser):
    """The exact denoiser of a Gaussian, but not finite for class 1 at noise levels below LEVEL."""

    def __init__(self, value):
        super().__init__()
        self.schedule, self.value = SCHEDULE, value

    def forward(self, x_t, t, y=None):
        estimate = x_t / (1 + expand(self.schedule.noise_level(t), x_t) ** 2)
        bad = (y == 1) & (self.schedule.noise_level(t) < LEVEL)
        return torch.where(expand(bad, bad[:, None]).bool(), self.value, estimate)


def drawn(name, denoiser, labels, batch=4, size=3, options=None):
    sampler = build_sampler(name, denoiser, options or {})
    grid = grid_for(sampler, 40) if name in FIXED else None
    rounds = draw(sampler, grid, list(range(len(labels))), torch.tensor(labels), (size,), batch)
    return sorted((sample for found in rounds for sample in found), key=lambda sample: sample.number)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_says_which_sample_broke_and_where(name, value):
    labels = [0, 1, 0, 1, 0, 0]
    found, whole = drawn(name, NotANumber(value), labels), drawn(name, NotANumber(value), [0] * 6)
    for label, sample, same in zip(labels, found, whole, strict=True):
        if label == 0:
            assert sample.problem is None
            assert torch.equal(sample.x, same.x)
            continue
        evaluation, level = re.search(r"from evaluation (\d+) on, at noise level ([\d.]+);", sample.problem).groups()
        assert 1 < int(evaluation) <= sample.evaluations
        assert 0.02 <= float(level) < 20
        if name in ("ddim", "dpm++2m", "euler-maruyama"):  # one evaluation a step: it breaks in the first below
            levels = SCHEDULE.noise_level(grid_for(build_sampler(name, NotANumber(value)), 40))
            assert float(level) == pytest.approx(float(levels[levels < LEVEL][0]), rel=5e-3)
            assert int(evaluation) == int((levels >= LEVEL).sum()) + 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_guided_samples_land_in_the_class_asked_for(name):
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    oracle = Oracle(EDM(), means, torch.arange(3), 3, stds=0.3)
    y, options = torch.arange(60) % 3, {"eta": 0.5, "repeats": 3} if name == "annealed-langevin" else {}
    found = drawn(name, ClassifierGuided(oracle, oracle.likelihood), y.tolist(), 15, 2, options)
    x = torch.stack([sample.x for sample in found])
    assert torch.cdist(x, means).argmin(1).tolist() == y.tolist()
    assert 0.2 < float((x - means[y]).std()) < 0.4


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_guidance_scale_of_a_million_gives_finite_samples_or_a_problem(name):
    means = torch.tensor([[1.0, 0.0, 0.5], [-1.0, 0.3, 0.0]])
    oracle = Oracle(SCHEDULE, means, torch.tensor([0, 1]), 2, stds=0.3)
    for sample in drawn(name, ClassifierGuided(oracle, oracle.likelihood, 1e6), [0, 1, 0]):
        assert (sample.problem is None) == bool(sample.x.isfinite().all()) or "evaluations" in sample.problem
