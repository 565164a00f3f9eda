import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from condgen.samplers.adaptive.step_size import Controller, Tolerance

CONTROLLER = Controller(safety=0.9, exponent=0.9, shrink=0.1, growth=5.0)


def test_the_next_step_is_the_published_one():
    assert CONTROLLER.factor(0.5) == pytest.approx(0.9 * 0.5**-0.9)
    assert CONTROLLER.factor(2.0) == pytest.approx(0.9 * 2.0**-0.9)


@given(st.floats(min_value=0) | st.just(math.nan))
def test_growth_is_bounded_whatever_the_error(error):
    assert 0.1 <= CONTROLLER.factor(error) <= 5.0


@pytest.mark.parametrize("error", [math.nan, math.inf, 1e300])
def test_an_error_that_is_not_a_number_makes_the_least_step(error):
    assert CONTROLLER.factor(error) == 0.1


def test_the_error_is_measured_as_published():
    rng = np.random.default_rng(0)
    error, one, other = (rng.normal(size=(5, 3, 4)) for _ in range(3))
    delta = np.maximum(0.3, 0.5 * np.maximum(np.abs(one), np.abs(other)))
    expected = np.sqrt(((error / delta) ** 2).reshape(5, -1).mean(1))
    found = Tolerance(absolute=0.3, relative=0.5).measure(*(torch.from_numpy(a) for a in (error, one, other)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 17, 3072, 70_000])
def test_the_measure_has_the_same_bits_in_any_batch(size):
    error, one, other = torch.randn(3, 16, size, generator=torch.Generator().manual_seed(0))
    tolerance = Tolerance(absolute=0.3, relative=0.5)
    together = tolerance.measure(error, one, other)
    for n in (1, 3, 4):
        rows = slice(5, 5 + n)
        assert torch.equal(tolerance.measure(error[rows], one[rows], other[rows]), together[rows])
