"""The learning rate, as a function of the step."""

import math

import pytest

from condgen.training.settings import TrainingSettings, learning_rate_factor


def factors(**how):
    settings = TrainingSettings(steps=100, **how)
    return [learning_rate_factor(settings, step) for step in range(100)]


def test_a_cosine_falls_to_zero_after_a_warm_up():
    found = factors(warmup=5)
    assert found[0] > 0
    assert found[4:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 100) for step in range(4, 100)])
    assert factors(decay="constant", warmup=0) == [1] * 100


def test_a_tail_is_constant_for_seven_tenths_and_then_falls_in_a_straight_line():
    found = factors(warmup=10, decay="tail")
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10:71] == pytest.approx([1.0] * 61)
    assert found[70:] == pytest.approx([(100 - step) / 30 for step in range(70, 100)])
    assert found[-1] > 0
    # A warm-up that is not over when the fall begins
    assert factors(warmup=90, decay="tail")[84] == pytest.approx(85 / 90 * 16 / 30)
