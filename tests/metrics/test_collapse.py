"""Whether collapse is seen: the spread within a class, recall, and what they are called collapse for."""

from dataclasses import replace

import pytest
import torch

from condgen.data.labelled import LabelledSet, stratified_order
from condgen.data.sets import load, parse_data
from condgen.metrics.collapse import Gauge, Reading
from condgen.rng import keyed_generator


@pytest.fixture(scope="module")
def digits():
    """Two halves of the training digits, and a gauge of the first that has seen no other."""
    data, test = (load(parse_data("digits"), split) for split in ("train", "test"))
    order = stratified_order(data.y, keyed_generator(1))
    half = len(order) // 2
    parts = [replace(data, x=data.x[rows], y=data.y[rows]) for rows in (order[:half], order[half:])]
    return *parts, Gauge(parts[0], test, 600)


def test_real_data_are_as_varied_as_real_data(digits):
    _, other, gauge = digits
    reading = gauge.read(other.floats()[:600], other.y[:600])
    assert reading.std_ratio == pytest.approx(1, abs=0.05)
    assert reading.recall > 0.9
    assert reading.accuracy > 0.95
    assert reading.n == 600
    assert not reading.collapsed


def test_one_image_a_class_is_a_collapse_whatever_its_accuracy(digits):
    train, _, gauge = digits
    y = torch.arange(600) % 10
    one = torch.stack([train.floats()[train.y == k][0] for k in range(10)])
    reading = gauge.read(one[y], y)
    assert reading.std_ratio == pytest.approx(0, abs=1e-6)
    assert reading.recall == 0
    assert reading.accuracy == 1
    assert reading.collapsed
    assert "collapsed within classes: 100%" in reading.warning()
    almost = gauge.read(one[y] + 0.02 * torch.randn(600, 1, 8, 8, generator=keyed_generator(0)), y)
    assert 0 < almost.std_ratio < 0.2
    assert almost.collapsed


def test_narrowing_the_classes_narrows_the_ratio_by_as_much(digits):
    _, other, gauge = digits
    x, y = other.floats()[:600], other.y[:600]
    means = torch.stack([x[y == k].mean(0) for k in range(10)])[y]
    wide, narrow = gauge.read(x, y), gauge.read(means + 0.5 * (x - means), y)
    assert narrow.std_ratio == pytest.approx(0.5 * wide.std_ratio, rel=0.02)
    assert narrow.recall < wide.recall


def test_mixing_up_the_classes_is_no_collapse(digits):
    _, other, gauge = digits
    shifted = gauge.read(other.floats()[:600], (other.y[:600] + 1) % 10)
    assert shifted.accuracy < 0.1
    assert not shifted.collapsed


@pytest.mark.parametrize(
    ("accuracy", "std_ratio", "judge", "collapsed"),
    [
        (1, 0.1, 0.99, True),
        (0.8, 0.29, 0.99, True),
        (0.4, 0.1, 0.99, False),  # no class is seen in it yet
        (1, 0.4, 0.99, False),
        (0.2, 0.0, 0.16, True),  # a weak judge, which sees as many of the classes as in real data
        (0.05, 0.0, 0.16, False),
    ],
)
def test_a_collapse_is_classes_as_the_judge_sees_them_without_variety(accuracy, std_ratio, judge, collapsed):
    reading = Reading(std_ratio=std_ratio, recall=0.0, accuracy=accuracy, n=10, judge=judge)
    assert reading.collapsed == collapsed
    assert reading.as_dict() == {"std_ratio": std_ratio, "recall": 0.0, "accuracy": accuracy, "n": 10, "judge": judge}


def test_a_single_class_needs_no_judge(digits):
    data, *_ = digits
    rows = data.y == 3
    one = LabelledSet(data.x[rows], torch.zeros_like(data.y[rows]), ("3",), "digits", "train", least_classes=1)
    reading = Gauge(one, one, 50).read(one.floats()[:50], one.y[:50])
    assert (reading.accuracy, reading.judge) == (1, 1)
