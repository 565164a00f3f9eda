import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from condgen.denoiser import Denoiser
from condgen.guidance import ClassifierGuided
from condgen.oracle import Oracle
from condgen.rng import Streams
from condgen.samplers import ADAPTIVE, AdaptiveMultistep, AdaptiveODE, AdaptiveSDE, Finished, draw
from condgen.schedules import EDM, VE, VP, Cosine, expand

SCHEDULES = [VE(), VP(), Cosine(t_epsilon=2e-3), EDM()]
STD = 0.5


class GaussianDenoiser(Denoiser):
    """The exact denoiser of N(0, STD^2), which counts what it is asked."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.batches = schedule, []

    def forward(self, x_t, t, y=None):
        self.batches.append(len(x_t))
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x_t


def samples(sampler, n, shape, slots, y=None):
    found: dict[int, Finished] = {}
    for finished in draw(sampler, None, range(n), y, shape, slots):
        found |= {sample.number: sample for sample in finished}
    assert sorted(found) == list(range(n))
    return [found[number] for number in range(n)]


def stacked(found):
    assert all(sample.problem is None for sample in found)
    return torch.stack([sample.x for sample in found])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize("d", [1, 16])
def test_standard_deviation_in_few_dimensions(schedule, d):
    """What the redraw of noise after rejections gets wrong by half and more."""
    n = 500 // d
    x = stacked(samples(AdaptiveSDE(GaussianDenoiser(schedule), relative=0.05), n, (d,), n))
    standard_error = STD / math.sqrt(2 * n * d)
    assert abs(float(x.std()) - STD) < 3 * standard_error + 0.02 * STD


def test_redrawing_the_noise_after_a_rejection_is_biased():
    x = stacked(samples(AdaptiveSDE(GaussianDenoiser(VE()), redraw=True), 300, (1,), 300))
    assert float(x.std()) > 1.5 * STD


@pytest.mark.parametrize("schedule", [VE(), VP()], ids=lambda s: s.kind)
def test_the_step_is_the_published_one(schedule):
    """Against a plain numpy writing of the algorithm in float64, on an easy target where nothing is rejected."""
    d, seed, relative, absolute, first, safety = 256, 3, 0.1, 0.01, 0.002, 0.4
    one = samples(
        AdaptiveSDE(
            GaussianDenoiser(schedule),
            relative=relative,
            absolute=absolute,
            first_step=first,
            safety=safety,
            shrink=1e-6,
            growth=1e6,
        ),
        seed + 1,
        (d,),
        1,
    )[seed]
    streams = Streams([seed])

    def normal():
        return streams.normal((d,))[0].double().numpy()

    def of(function, t):
        return float(function(torch.tensor(t, dtype=torch.float64)))

    def drift(x, t):  # F(x, t) = f x - g^2 s, with the score of N(0, alpha^2 STD^2 + sigma^2)
        score = -x / (of(schedule.alpha, t) ** 2 * STD**2 + of(schedule.sigma, t) ** 2)
        return of(schedule.drift, t) * x - of(schedule.diffusion, t) ** 2 * score

    x = of(schedule.sigma, 1.0) * normal()
    previous, t, h, steps = x, 1.0, first * (1 - schedule.t_min), 0
    while t > schedule.t_min + 1e-12:
        z = math.sqrt(h) * normal()
        low = x - h * drift(x, t) + of(schedule.diffusion, t) * z
        k2 = -h * drift(low, t - h) + of(schedule.diffusion, t - h) * z
        high = x + ((low - x) + k2) / 2
        delta = np.maximum(absolute, relative * np.maximum(np.abs(low), np.abs(previous)))
        error = math.sqrt(float(np.mean(((high - low) / delta) ** 2)))
        assert error <= 1, "choose an easier case: this one rejects"
        x, previous, t, steps = high, low, t - h, steps + 1
        h = min(max(t - schedule.t_min, 0), safety * h * error**-0.9)
    variance = of(schedule.alpha, t) ** 2 * STD**2 + of(schedule.sigma, t) ** 2
    expected = of(schedule.alpha, t) * STD**2 / variance * x
    assert (one.accepted, one.rejected) == (steps, 0)
    np.testing.assert_allclose(one.x.numpy(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize(
    ("schedule", "shape"),
    [*((schedule, (2, 3)) for schedule in SCHEDULES), (VP(), (1,)), (VE(), (3, 8, 8))],
    ids=lambda part: getattr(part, "kind", None),
)
def test_sixteen_samples_are_the_same_in_any_number_of_slots(name, schedule, shape):
    sampler = ADAPTIVE[name](GaussianDenoiser(schedule), relative=0.2)
    found = {slots: samples(sampler, 16, shape, slots) for slots in (1, 4, 16)}
    for slots in (1, 4):
        assert torch.equal(stacked(found[slots]), stacked(found[16]))
        assert [s[2:] for s in found[slots]] == [s[2:] for s in found[16]]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_nothing_is_evaluated_in_vain_and_the_batch_keeps_its_shape(name):
    denoiser = GaussianDenoiser(VP())
    found = samples(ADAPTIVE[name](denoiser, relative=0.05), 40, (2,), 8)
    assert sum(denoiser.batches) == sum(sample.evaluations for sample in found)
    assert denoiser.batches == sorted(denoiser.batches, reverse=True)  # it shrinks at the end alone
    assert denoiser.batches.count(8) > 0.6 * len(denoiser.batches)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_evaluations_follow_from_the_steps(name):
    for sample in samples(ADAPTIVE[name](GaussianDenoiser(VE())), 20, (2,), 20):
        attempts = sample.accepted + sample.rejected
        expected = {
            "adaptive-sde": 2 * sample.accepted + sample.rejected + 1,  # the first slope is kept on rejection
            "adaptive-ode": 3 * attempts + 2,
            "adaptive-multistep": sample.accepted + 1,
        }
        assert sample.evaluations == expected[name]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_guided_samples_land_in_the_class_asked_for_although_slots_are_refilled(name):
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    oracle = Oracle(EDM(), means, torch.arange(3), 3, stds=0.3)
    y = torch.arange(45) % 3
    sampler = ADAPTIVE[name](ClassifierGuided(oracle, oracle.likelihood), relative=0.05)
    x = stacked(samples(sampler, 45, (2,), 7, y))
    assert torch.cdist(x, means).argmin(1).tolist() == y.tolist()
    assert 0.2 < float((x - means[y]).std()) < 0.4


class Broken(GaussianDenoiser):
    """Fails below a noise level, for samples of class one."""

    def forward(self, x_t, t, y=None):
        bad = (self.schedule.noise_level(t) < 1) & (y == 1)
        return torch.where(bad[:, None], math.nan, super().forward(x_t, t, y))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_undefined_numbers_end_a_sample_and_no_other(name):
    y = torch.arange(12) % 3
    found = samples(ADAPTIVE[name](Broken(EDM())), 12, (2,), 4, y)
    whole = samples(ADAPTIVE[name](GaussianDenoiser(EDM())), 12, (2,), 4, y)
    for label, sample, same in zip(y.tolist(), found, whole, strict=True):
        if label == 1:
            assert "its numbers are not finite from evaluation" in sample.problem
        else:
            assert sample.problem is None
            assert torch.equal(sample.x, same.x)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_evaluations_are_limited(name):
    found = samples(ADAPTIVE[name](GaussianDenoiser(VE()), max_evaluations=9), 3, (2,), 3)
    assert all("it needs more than 9 evaluations; allow more" in sample.problem for sample in found)
    assert all(sample.evaluations == 9 for sample in found)


def exact_flow(schedule, seeds, shape):
    """Where the probability flow of N(0, STD^2) ends, and its denoised mean there."""
    ends = torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)
    spread = (schedule.alpha(ends) ** 2 * STD**2 + schedule.sigma(ends) ** 2).sqrt()
    start = schedule.sigma(ends[0]) * Streams(seeds).normal(shape).double()
    return GaussianDenoiser(schedule)(start * spread[1] / spread[0], ends[1])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_the_error_of_the_flow_falls_with_the_tolerance(schedule):
    exact = exact_flow(schedule, range(50), (4,))
    errors, costs = [], []
    for relative in (0.05, 5e-3, 5e-4):
        found = samples(AdaptiveODE(GaussianDenoiser(schedule), relative=relative, absolute=relative / 8), 50, (4,), 50)
        errors.append(float((stacked(found) - exact).square().mean().sqrt()))
        costs.append(sum(sample.evaluations for sample in found) / 50)
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 4
    assert errors[2] < 5 * 5e-4
    assert costs[2] < 4 * costs[0]  # a hundredth of the error at order 3


def test_the_flow_costs_what_scipys_solver_costs():
    """`scipy.integrate.solve_ivp` with the same pair in log noise level, at the same tolerances."""
    schedule, tolerance = VE(), 1e-3
    low, high = schedule.noise_range
    theirs = []
    for seed in range(5):
        start = float(schedule.sigma(torch.tensor(1.0, dtype=torch.float64)) * Streams([seed]).normal((1,))[0])
        solution = solve_ivp(
            lambda log_level, u: u * np.exp(2 * log_level) / (STD**2 + np.exp(2 * log_level)),
            (math.log(high), math.log(low)),
            [start],
            method="RK23",
            rtol=tolerance,
            atol=tolerance / 8,
        )
        theirs.append(solution.nfev)
    found = samples(AdaptiveODE(GaussianDenoiser(schedule), relative=tolerance, absolute=tolerance / 8), 5, (1,), 5)
    assert np.mean([sample.evaluations for sample in found]) < 1.2 * np.mean(theirs)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_multistep_sampler_converges_to_the_law_of_the_data(eta):
    errors = []
    for relative in (0.2, 0.005):
        sampler = AdaptiveMultistep(GaussianDenoiser(VP()), relative=relative, absolute=relative / 8, eta=eta)
        errors.append(abs(float(stacked(samples(sampler, 600, (4,), 300)).std()) - STD) / STD)
    assert errors[1] < 0.05
    assert errors[1] < errors[0]


def test_the_multistep_flow_is_the_exact_flow():
    sampler = AdaptiveMultistep(GaussianDenoiser(EDM()), relative=2e-4, absolute=1e-4, eta=0.0)
    torch.testing.assert_close(
        stacked(samples(sampler, 20, (3,), 20)).double(), exact_flow(EDM(), range(20), (3,)), rtol=0.02, atol=2e-3
    )


@pytest.mark.parametrize("sampler", [AdaptiveODE, AdaptiveMultistep])
def test_only_the_noise_level_matters(sampler):
    """Schedules with the same range of noise levels give the same samples: these two work in units of signal."""
    vp = VP()
    low, high = vp.noise_range
    ve = VE(sigma_min=low, sigma_max=high)
    on_vp, on_ve = (samples(sampler(GaussianDenoiser(s)), 10, (5,), 10) for s in (vp, ve))
    assert [s.accepted for s in on_vp] == [s.accepted for s in on_ve]
    torch.testing.assert_close(stacked(on_vp), stacked(on_ve), rtol=1e-3, atol=1e-3)


def test_iterating_leaves_the_callers_gradients_alone():
    for _ in draw(AdaptiveODE(GaussianDenoiser(EDM())), None, range(2), None, (2,), 1):
        assert torch.is_grad_enabled()


def test_a_finished_sample_holds_no_more_memory_than_its_own():
    for sample in samples(AdaptiveSDE(GaussianDenoiser(VP()), relative=0.3), 4, (3,), 2):
        assert sample.x.untyped_storage().nbytes() == 3 * 4
