import math

import pytest
import torch

from condgen.bayes import Denoiser
from condgen.guidance import ClassifierGuided, DenoiserGuided
from condgen.nets import MLPSettings, UNetSettings
from condgen.noise import EDM, GRIDS, VE, VP, Cosine, karras_grid
from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.sampling import FIXED, final, trajectory
from condgen.score import ScoreConfig, ScoreModel

SCHEDULES = [VE(), VP(), Cosine(t_epsilon=2e-3), EDM()]
STD = 0.5


class GaussianDenoiser(Denoiser):
    """The exact denoiser of N(0, STD^2)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.calls = schedule, 0

    def forward(self, x_t, t, y=None):
        self.calls += 1
        alpha, sigma = self.schedule.alpha(t).to(x_t.dtype), self.schedule.sigma(t).to(x_t.dtype)
        return alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x_t


def draw(sampler, grid, seeds, y=None, shape=(16,)):
    return final(trajectory(sampler, grid, Streams(seeds), y, shape)).x


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(("name", "steps"), [("heun", 60), ("euler-maruyama", 1000), ("ancestral", 1000)])
def test_standard_deviation_of_a_gaussian(name, steps, schedule):
    grid = GRIDS["geometric" if name == "euler-maruyama" else "karras"](schedule, steps)
    x = draw(FIXED[name](GaussianDenoiser(schedule)), grid, range(250))
    # 4000 values: the standard error of the std is 1.1%; discretisation may add 2%
    assert float(x.std()) == pytest.approx(STD, rel=0.045)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_heun_converges_with_order_two(schedule):
    """The flow of a Gaussian is known: x_s / std_s is constant along it."""
    errors = []
    for steps in (40, 80, 160):
        grid = karras_grid(schedule, steps)
        steps_of = list(trajectory(FIXED["heun"](GaussianDenoiser(schedule)), grid, Streams(range(4)), None, (4,)))
        start, end = steps_of[0].x.double(), steps_of[-2].x.double()
        ends = torch.stack([grid[0], grid[-1]])
        spread = (schedule.alpha(ends) ** 2 * STD**2 + schedule.sigma(ends) ** 2).sqrt()
        exact = start * spread[1] / spread[0]
        errors.append(float((end - exact).abs().mean() / exact.abs().mean()))
    order = math.log2(errors[0] / errors[1])
    assert 1.7 < order < 2.6, errors


@pytest.mark.parametrize("name", FIXED)
def test_batch_of_eight_is_eight_batches_of_one_bit_for_bit(name):
    # an elementwise denoiser: no matrix product, whose order of summation could depend on the batch
    sampler, y = FIXED[name](GaussianDenoiser(EDM())), torch.arange(8) % 3
    grid = karras_grid(EDM(), 9)
    together = draw(sampler, grid, range(8), y, (2, 3))
    alone = torch.cat([draw(sampler, grid, [i], y[i : i + 1], (2, 3)) for i in range(8)])
    backwards = draw(sampler, grid, range(7, -1, -1), y.flip(0), (2, 3)).flip(0)
    assert torch.equal(together, alone)
    assert torch.equal(together, backwards)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    "network",
    [MLPSettings(width=32, depth=1), UNetSettings(channels=16, multipliers=(1, 2), blocks=1, attention=())],
    ids=lambda n: n.kind,
)
def test_networks_add_rounding_at_most(name, network):
    torch.manual_seed(0)
    config = ScoreConfig(network=network, schedule=EDM(), shape=(1, 8, 8), names=("a", "b"), sigma_data=0.5)
    sampler = FIXED[name](ScoreModel(config).eval())
    grid = karras_grid(EDM(), 6)
    together = draw(sampler, grid, range(5), None, (1, 8, 8))
    alone = torch.cat([draw(sampler, grid, [i], None, (1, 8, 8)) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "expected"), [("heun", 35), ("euler-maruyama", 18), ("ancestral", 18)])
def test_evaluations_are_counted_as_they_happen(name, expected):
    denoiser = GaussianDenoiser(EDM())
    last = final(trajectory(FIXED[name](denoiser), karras_grid(EDM(), 18), Streams([0]), None, (2,)))
    assert last.evaluations == denoiser.calls == expected


@pytest.mark.parametrize("name", FIXED)
def test_guided_samples_land_in_the_class_asked_for(name):
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    oracle = Oracle(EDM(), means, torch.arange(3), 3, stds=0.3)
    y = torch.arange(60) % 3
    x = draw(FIXED[name](ClassifierGuided(oracle, oracle.likelihood)), karras_grid(EDM(), 40), range(60), y, (2,))
    assert torch.cdist(x, means).argmin(1).tolist() == y.tolist()
    spread = (x - means[y]).std()
    assert 0.2 < float(spread) < 0.4


def test_the_loop_yields_noise_first_and_every_step():
    grid = karras_grid(EDM(), 5)
    steps = list(trajectory(FIXED["heun"](GaussianDenoiser(EDM())), grid, Streams([3]), None, (2,)))
    assert [step.number for step in steps] == [0, 1, 2, 3, 4, 5]
    assert [float(step.t) for step in steps] == [*grid.tolist(), float(grid[-1])]
    assert torch.equal(steps[0].x, 80.0 * Streams([3]).normal((2,)))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("name", FIXED)
def test_exact_classifier_free_guidance_draws_what_classifier_guidance_draws(name, schedule):
    oracle = Oracle(schedule, torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.arange(3), 3, stds=0.3)
    y, grid = torch.arange(12) % 3, GRIDS["karras"](schedule, 12)
    free = draw(FIXED[name](DenoiserGuided(oracle, None, 2.0)), grid, range(12), y, (2,))
    by_classifier = draw(FIXED[name](ClassifierGuided(oracle, oracle.likelihood, 2.0)), grid, range(12), y, (2,))
    torch.testing.assert_close(free, by_classifier, rtol=1e-3, atol=1e-3)
    assert float((free - draw(FIXED[name](oracle), grid, range(12), y, (2,))).abs().max()) > 0.01
