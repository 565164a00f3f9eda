"""The Vendi score against closed forms."""

import math

import pytest
import torch

from condgen.data import Digits, load
from condgen.metrics import evaluate
from condgen.metrics.vendi import vendi_score


def test_copies_count_once_and_far_samples_each():
    assert vendi_score(torch.ones(20, 3), 1.0) == pytest.approx(1)
    assert vendi_score(1e3 * torch.arange(20.0)[:, None], 1.0) == pytest.approx(20)
    assert vendi_score(1e3 * torch.tensor([[0.0], [1.0]]).repeat(10, 1), 1.0) == pytest.approx(2)


def test_two_samples_at_a_distance():
    k = math.exp(-0.5 * (3 / 2) ** 2)
    values = ((1 + k) / 2, (1 - k) / 2)  # the eigenvalues of [[1, k], [k, 1]] / 2
    expected = math.exp(-sum(value * math.log(value) for value in values))
    assert vendi_score(torch.tensor([[0.0], [3.0]]), 2.0) == pytest.approx(expected)


def test_narrow_samples_score_lower_than_real_ones():
    train, test = load(Digits(), "train"), load(Digits(), "test")
    centres = torch.stack([train.floats()[train.y == label].mean(0) for label in range(10)])
    shrunk = centres[test.y] + 0.5 * (test.floats() - centres[test.y])
    rows = {
        row.method: row for row in evaluate({"shrunk": (shrunk, test.y)}, train, test, 0).rows if "Vendi" in row.metric
    }
    assert rows["shrunk"].high < rows["real (held out)"].low
    assert rows["real (held out)"].value == pytest.approx(1, abs=0.1)
