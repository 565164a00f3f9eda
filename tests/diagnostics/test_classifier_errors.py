"""Gains and scales without an oracle, checked on oracles, where both are known."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from condgen import EDM, VE, VP, Likelihood, Oracle, ScaleCurve
from condgen.diagnostics.classifier_errors import (
    LevelRow,
    calibrate,
    expected_calibration_error,
    measure_classifier,
    spread_levels,
    worthwhile,
)
from condgen.rng import keyed_generator

LEVELS = (0.3, 1.0, 3.0, 10.0)

BARE = {"sigma": 1.0, "n": 10, "draws": 1, "accuracy": 0.5, "cross_entropy": 0.7, "ece": 0.0, "norm": 1.0}


def oracle(schedule=None):
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0], [0.3, -2.0]], dtype=torch.float64)
    return Oracle(schedule or EDM(), means, torch.tensor([0, 1, 0, 1]), 2, stds=0.4)


class Steeper(Likelihood):
    """Another classifier with the gradient of its log-probabilities multiplied."""

    def __init__(self, inner, factor):
        super().__init__()
        self.inner, self.factor = inner, factor
        self.schedule, self.n_classes = inner.schedule, inner.n_classes

    def forward(self, x_t, t):
        return self.factor * self.inner(x_t, t)


class Sharper(Steeper):
    """Another classifier with its log-odds multiplied: too sure of itself, or with 0 unsure of everything."""

    def forward(self, x_t, t):
        return (self.factor * self.inner(x_t, t)).log_softmax(1)


def measured(exact, likelihood, n=600, draws=2, key=0, levels=LEVELS, prior=True, **options):
    x, y = exact.sample(n, keyed_generator(key, 1))
    given = {"draws": draws, "generator": keyed_generator(key, 2)} | options
    return list(measure_classifier(likelihood, exact if prior else None, x, y, levels, **given))


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda schedule: schedule.kind)
def test_exact_models_need_no_other_scale_than_one(schedule):
    exact = oracle(schedule)
    rows = measured(exact, exact.likelihood)
    for row in rows:
        assert abs(row.scale - 1) < 3 * row.scale_se
        assert 0 < row.scale_se < 0.2
        assert row.scale_gain <= row.gain < -3 * row.gain_se
        assert row.z > 5
        assert (row.n, row.draws) == (600, 2)
    assert [row.sigma for row in rows] == list(LEVELS)


def test_a_change_of_schedule_changes_no_pure_number():
    edm, vp = (measured(oracle(schedule), oracle(schedule).likelihood) for schedule in (EDM(), VP()))
    for one, other in zip(edm, vp, strict=True):
        for name in ("accuracy", "cross_entropy", "ece", "gain", "gain_se", "scale", "scale_se", "z"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6), name
        alpha = float(VP().alpha(VP().t_of_noise_level(torch.tensor(one.sigma, dtype=torch.float64))))
        assert one.norm == pytest.approx(alpha * other.norm, rel=1e-6)  # x_t = alpha u: gradients are 1/alpha as long


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_a_gradient_that_is_too_long_is_scaled_back_by_as_much(factor):
    exact = oracle()
    right, wrong = measured(exact, exact.likelihood), measured(exact, Steeper(exact.likelihood, factor))
    for one, other in zip(right, wrong, strict=True):
        assert other.scale == pytest.approx(one.scale / factor)
        assert other.scale_se == pytest.approx(one.scale_se / factor)
        assert other.norm == pytest.approx(factor * one.norm)
        assert other.scale_gain == pytest.approx(one.scale_gain)  # the best that can be had is the same
        assert other.z == pytest.approx(one.z)
        by_hand = one.scale_gain * (1 - (1 - factor / one.scale) ** 2)  # a parabola through L(0) with its vertex at a*
        assert other.gain == pytest.approx(by_hand)
    assert max(row.gain for row in measured(exact, Steeper(exact.likelihood, 3.0))) > 0  # three times too long harms


@pytest.mark.parametrize(("schedule", "level"), [(EDM(), 0.5), (EDM(), 2.0), (VP(), 2.0)], ids=str)
def test_gain_norm_and_entropy_of_two_gaussians_are_those_of_quadrature(schedule, level):
    m, s = 1.0, 0.5  # class means at -m and m in the first of 3 dimensions
    means = torch.zeros(2, 3, dtype=torch.float64)
    means[:, 0] = torch.tensor([-m, m])
    exact = Oracle(schedule, means, torch.tensor([0, 1]), 2, stds=s)
    (row,) = measured(exact, exact.likelihood, n=4000, draws=2, levels=[level])
    # In units of the data x_t / alpha: log-odds of the true class 2 m u / v, where u ~ N(m, v) given the class.
    v = s**2 + level**2
    slope, width = 2 * m / v, math.sqrt(v)

    def mean_of(function):
        return quad(lambda u: function(u) * norm.pdf(u, m, width), m - 10 * width, m + 10 * width)[0]

    def doubt(u):
        return 1 / (1 + math.exp(slope * u))

    expected = -0.5 * level**2 / 3 * mean_of(lambda u: (slope * doubt(u)) ** 2)
    assert row.gain == pytest.approx(expected, abs=4 * row.gain_se)
    assert row.gain_se < 0.1 * abs(expected)
    alpha = float(schedule.alpha(schedule.t_of_noise_level(torch.tensor(level))))
    assert row.norm * alpha == pytest.approx(mean_of(lambda u: slope * doubt(u)), rel=0.05)
    assert row.cross_entropy == pytest.approx(mean_of(lambda u: math.log1p(math.exp(-slope * u))), rel=0.06)
    assert row.accuracy == pytest.approx(norm.cdf(m / width), abs=0.02)


def test_standard_errors_are_the_spread_over_fresh_data():
    """At high noise the draws of one image agree: errors that took them for independent would be near 3 times less."""
    exact, levels = oracle(), (1.0, 10.0)
    tables = [measured(exact, exact.likelihood, n=80, draws=8, key=key, levels=levels) for key in range(30)]
    for place in range(len(levels)):
        rows = [table[place] for table in tables]
        for value, error in (("scale", "scale_se"), ("gain", "gain_se")):
            spread = float(torch.tensor([getattr(row, value) for row in rows]).std())
            claimed = sum(getattr(row, error) for row in rows) / len(rows)
            assert 0.7 < claimed / spread < 1.4, (levels[place], value)


def test_a_classifier_that_knows_nothing_gets_no_guidance():
    exact = oracle()
    x, y = exact.sample(600, keyed_generator(3))
    chance = y[torch.randperm(len(y), generator=keyed_generator(4))]  # labels that have nothing to do with the images
    for labels in (chance, 1 - y):
        rows = list(measure_classifier(exact.likelihood, exact, x, labels, LEVELS, generator=keyed_generator(5)))
        assert calibrate(rows) == ScaleCurve(levels=LEVELS, scales=(0,) * len(LEVELS))
        assert min(row.gain for row in rows) > 0
    assert rows[-1].z < -3  # of swapped labels, the scale would be negative
    (row,) = measured(exact, Sharper(exact.likelihood, 0.0), levels=[1.0])
    assert (row.scale, row.scale_se, row.z, row.gain, row.norm) == (0, 0, 0, 0, 0)
    assert row.cross_entropy == pytest.approx(math.log(2))


def test_scales_are_kept_where_they_surely_help_and_a_vanishing_gradient_is_not_scaled_up():
    def row(sigma, scale, z=6.0, scale_gain=-0.1):
        return LevelRow(**BARE | {"sigma": sigma}, scale=scale, scale_gain=scale_gain, z=z)

    rows = [row(2.0, 0.7, 3.5), row(0.5, 1.4, 2.9), row(8.0, -0.7, -9.0)]
    assert calibrate(rows) == ScaleCurve(levels=(0.5, 2.0, 8.0), scales=(0.0, 0.7, 0.0))
    assert worthwhile(rows) == [True, False, False]
    gains = {(0.1, 4000.0): -1e-9, (0.5, 0.9): -0.0009, (1.0, 0.9): -0.1, (2.0, 0.8): -0.0011}
    rows = [row(sigma, scale, scale_gain=gain) for (sigma, scale), gain in gains.items()]
    assert calibrate(rows).scales == (0.0, 0.0, 0.9, 0.8)
    assert worthwhile([]) == []


def test_calibration_error_by_hand_and_of_a_calibrated_oracle():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.2, 0.2, 0.15, 1 / 15, 0.0], dtype=torch.float64)
    correct = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    # 0.95 is in the last bin, 0.2 = 3/15 and 0.15 in the third, 1/15 and 0 in the first.
    by_hand = (abs(3 - 3.8) + abs(1 - 0.55) + abs(1 - 1 / 15)) / 9
    assert expected_calibration_error(confidence, correct) == pytest.approx(by_hand)
    exact = oracle()
    for row, sharp in zip(
        measured(exact, exact.likelihood, n=3000, draws=1),
        measured(exact, Sharper(exact.likelihood, 4.0), n=3000, draws=1),
        strict=True,
    ):
        assert row.ece < 0.025  # below sqrt(15 bins x p (1 - p) / n)
        assert sharp.accuracy == row.accuracy
        if row.accuracy < 0.9:
            assert sharp.ece > 3 * row.ece


def test_the_same_noise_at_every_level_whatever_the_batch_and_the_neighbours():
    exact = oracle()
    rows = measured(exact, exact.likelihood, n=50)
    assert measured(exact, exact.likelihood, n=50, levels=LEVELS[2:]) == rows[2:]
    for one, other in zip(rows, measured(exact, exact.likelihood, n=50, batch=7), strict=True):
        assert list(one.as_dict().values()) == pytest.approx(list(other.as_dict().values()), rel=1e-9)


def test_without_a_prior_there_is_no_gain_and_one_on_another_schedule_is_refused():
    exact = oracle()
    bare, full = (measured(exact, exact.likelihood, n=50, prior=prior) for prior in (False, True))
    assert set(bare[0].as_dict()) == {"sigma", "n", "draws", "accuracy", "cross_entropy", "ece", "norm"}
    assert bare[1].as_dict().items() <= full[1].as_dict().items()

    with pytest.raises(ValueError, match="differ in schedule"):
        measured(exact, oracle(VP()).likelihood)


def test_levels_span_the_data_within_the_schedule():
    levels = spread_levels(EDM(sigma_min=0.005, sigma_max=40), 0.5, 16)
    assert (len(levels), levels[0], levels[-1]) == (16, 0.01, 40)
    ratios = [after / before for before, after in pairwise(levels)]
    assert max(ratios) / min(ratios) < 1.02
    schedule = VE(sigma_min=0.10001, sigma_max=0.999999)
    inside = spread_levels(schedule, 0.5, 8)
    assert schedule.noise_range[0] <= inside[0]
    assert inside[-1] <= schedule.noise_range[1]
