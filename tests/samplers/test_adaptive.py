"""Samplers that choose their own steps: the law of the data, the published step, and independence of the batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from samplers.conftest import GaussianDenoiser

from condgen import EDM, VE, VP, Cosine, Oracle, Streams
from condgen.samplers.adaptive.loop import Controller
from condgen.samplers.adaptive.solvers import AdaptiveODE, AdaptiveSDE
from condgen.samplers.base import Finished
from condgen.samplers.catalogue import ADAPTIVE
from condgen.samplers.draw import draw
from condgen.schedules import RectifiedFlow

SCHEDULES = [VE(), VP(), Cosine(t_epsilon=2e-3), EDM(), RectifiedFlow()]
STD = 0.5


def samples(sampler, n, shape, slots, y=None):
    found: dict[int, Finished] = {}
    for finished in draw(sampler, None, range(n), y, shape, slots):
        found |= {sample.number: sample for sample in finished}
    assert sorted(found) == list(range(n))
    return [found[number] for number in range(n)]


def stacked(found):
    assert all(sample.problem is None for sample in found)
    return torch.stack([sample.x for sample in found])


@pytest.mark.parametrize("n", [400, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_one_dimension_keeps_its_standard_deviation(schedule, n):
    x = stacked(samples(AdaptiveSDE(GaussianDenoiser(schedule), relative=0.1 if n < 1000 else 0.05), n, (1,), n))
    assert abs(float(x.std()) / STD - 1) < 3 / math.sqrt(2 * n) + 0.01


def test_no_step_leaps_over_noise_levels():
    """With these seeds, steps that may double without end leave samples at 10, twenty deviations from any data."""
    means, weights = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.7, 0.3])
    oracle = Oracle(EDM(), means, torch.zeros(2, dtype=torch.int64), 1, stds=0.2, weights=weights)
    found = list(draw(AdaptiveSDE(oracle), None, range(77_000_400, 77_000_440), None, (1,), 40))
    assert all(float(sample.x.abs()) < 2.5 for finished in found for sample in finished)


@pytest.mark.parametrize("schedule", [VE(), VP()], ids=lambda s: s.kind)
def test_the_step_is_the_published_one(schedule, monkeypatch):
    """Against a plain numpy writing of the algorithm in float64, on an easy target where nothing is rejected.

    Steps that more than halve the noise level are cut short.
    """
    d, seed, relative, absolute, first, safety = 256, 3, 0.1, 0.01, 0.002, 0.4
    controller = Controller(exponent=0.9, shrink=1e-6, growth=1e6, first=first, safety=safety)
    monkeypatch.setattr(AdaptiveSDE, "controller", controller)
    sampler = AdaptiveSDE(GaussianDenoiser(schedule), relative=relative, absolute=absolute)
    one = samples(sampler, seed + 1, (d,), 4)[seed]
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
        h = min(h, t - of(sampler.time, of(schedule.noise_level, t) / 2))  # ours alone
        z = math.sqrt(h) * normal()
        low = x - h * drift(x, t) + of(schedule.diffusion, t) * z
        k2 = -h * drift(low, t - h) + of(schedule.diffusion, t - h) * z
        high = x + ((low - x) + k2) / 2
        delta = np.maximum(absolute, relative * np.maximum(np.abs(low), np.abs(previous)))
        error = math.sqrt(float(np.mean(((high - low) / delta) ** 2)))
        assert error <= 1, "choose an easier case: this one rejects"
        x, previous, t, steps = high, low, t - h, steps + 1
        h = safety * h * error**-0.9
    variance = of(schedule.alpha, t) ** 2 * STD**2 + of(schedule.sigma, t) ** 2
    expected = of(schedule.alpha, t) * STD**2 / variance * x
    assert (one.accepted, one.rejected) == (steps, 0)
    np.testing.assert_allclose(one.x.numpy(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize(
    ("schedule", "shape"),
    [(VE(), (2, 3)), (VP(), (1,)), (RectifiedFlow(), (3, 8, 8))],
    ids=lambda part: getattr(part, "kind", None),
)
def test_samples_are_the_same_in_any_number_of_slots(name, schedule, shape):
    sampler = ADAPTIVE[name](GaussianDenoiser(schedule), relative=0.3)
    found = {slots: samples(sampler, 8, shape, slots) for slots in (1, 3, 8)}
    for slots in (1, 3):
        assert torch.equal(stacked(found[slots]), stacked(found[8]))
        assert [s[2:] for s in found[slots]] == [s[2:] for s in found[8]]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_every_evaluation_is_of_a_step_and_the_batch_keeps_its_shape(name):
    denoiser = GaussianDenoiser(VE())
    found = samples(ADAPTIVE[name](denoiser, relative=0.1), 40, (2,), 8)
    assert sum(denoiser.batches) == sum(sample.evaluations for sample in found)
    assert denoiser.batches.count(8) > 0.6 * len(denoiser.batches)
    for sample in found:
        expected = {
            "adaptive-sde": 2 * sample.accepted + sample.rejected + 1,  # the first slope is kept on rejection
            "adaptive-ode": 3 * (sample.accepted + sample.rejected) + 1,  # the last slope of a step is of its end
        }
        assert sample.evaluations == expected[name]
        assert sample.x.untyped_storage().nbytes() == 2 * 4  # no more memory than its own


@pytest.mark.parametrize("name", ADAPTIVE)
def test_evaluations_are_limited(name):
    for sample in samples(ADAPTIVE[name](GaussianDenoiser(VE()), max_evaluations=9), 3, (2,), 3):
        assert "more than 9 evaluations" in sample.problem
        assert 6 <= sample.evaluations <= 9


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_the_error_of_the_flow_falls_with_the_tolerance(schedule):
    """Along the probability flow of N(0, STD^2), x_t grows as its standard deviation."""
    ends = torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)
    denoiser = GaussianDenoiser(schedule, STD)
    spread, start = denoiser.std_at(ends), schedule.sigma(ends[0]) * Streams(range(20)).normal((4,)).double()
    exact = denoiser(start * spread[1] / spread[0], ends[1])
    errors, costs = [], []
    for relative in (0.05, 5e-3, 5e-4):
        found = samples(AdaptiveODE(GaussianDenoiser(schedule), relative=relative, absolute=relative / 8), 20, (4,), 20)
        errors.append(float((stacked(found) - exact).square().mean().sqrt()))
        costs.append(sum(sample.evaluations for sample in found) / 20)
    assert errors[1] < errors[0] / 3
    assert errors[2] < min(errors[1] / 4, 5 * 5e-4)
    assert costs[2] < 4 * costs[0]  # a hundredth of the error at order 3


def test_only_the_noise_level_matters():
    """Schedules with the same range of noise levels give the same samples of the flow, which is in units of signal."""
    vp = VP()
    low, high = vp.noise_range
    ve = VE(sigma_min=low, sigma_max=high)
    on_vp, on_ve = (samples(AdaptiveODE(GaussianDenoiser(s)), 10, (5,), 10) for s in (vp, ve))
    assert [s.accepted for s in on_vp] == [s.accepted for s in on_ve]
    torch.testing.assert_close(stacked(on_vp), stacked(on_ve), rtol=1e-3, atol=1e-3)


CONTROLLER = Controller(safety=0.9, exponent=0.9, shrink=0.1, growth=5.0, first=0.01)


@given(st.floats(min_value=0) | st.just(math.nan))
def test_the_next_step_is_the_published_one_within_bounds(error):
    factor = CONTROLLER.factor(error)
    if error == 0 or not math.isfinite(error):
        assert factor == (5.0 if error == 0 else 0.1)
    else:
        assert factor == pytest.approx(min(max(0.9 * error**-0.9, 0.1), 5.0))


@pytest.mark.parametrize("size", [1, 17, 70_000])
def test_the_error_is_measured_as_published_with_the_same_bits_in_any_batch(size):
    sampler = AdaptiveSDE(GaussianDenoiser(VE()), relative=0.5, absolute=0.3)
    error, one, other = torch.randn(3, 16, size, generator=torch.Generator().manual_seed(0))
    together = sampler.error(error, one, other)
    delta = np.maximum(0.3, 0.5 * np.maximum(np.abs(one.numpy()), np.abs(other.numpy())))
    np.testing.assert_allclose(together, np.sqrt(((error.numpy() / delta) ** 2).mean(1)), rtol=1e-5)
    for n in (1, 3, 4):
        rows = slice(5, 5 + n)
        assert torch.equal(sampler.error(error[rows], one[rows], other[rows]), together[rows])


def test_a_stop_iteration_of_a_network_does_not_end_a_step():
    class Stopping(GaussianDenoiser):
        def forward(self, x, t, y=None):
            if self.batches:  # the second evaluation is within a step
                raise StopIteration("mine")
            return super().forward(x, t, y)

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(draw(AdaptiveSDE(Stopping(EDM())), None, range(2), None, (1,), 2))
