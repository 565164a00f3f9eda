"""How much samples of a class differ, against numpy and the spread over fresh draws."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from condgen.metrics.variety import class_distance, class_spread, classifier_score, vendi_score
from condgen.rng import keyed_generator


@pytest.mark.parametrize(
    ("measure", "by_hand"),
    [(class_spread, lambda x: np.std(x, axis=0, ddof=1).mean()), (class_distance, lambda x: pdist(x).mean())],
    ids=["standard deviation", "mean over pairs"],
)
def test_each_class_of_two_or_more_has_its_value(measure, by_hand):
    features = torch.randn(40, 3, generator=keyed_generator(0), dtype=torch.float64) + 100
    y = torch.arange(40) % 4 // 2  # of classes 0 and 1; class 2 is empty
    y[0] = 3  # alone
    found = measure(features, y, 4)
    for k in (0, 1):
        assert float(found.value[k]) == pytest.approx(by_hand(features[y == k].numpy()), rel=1e-9)
    assert found.value.isnan().tolist() == found.standard_error.isnan().tolist() == [False, False, True, True]


@pytest.mark.parametrize("measure", [class_spread, class_distance])
def test_standard_errors_are_the_spread_over_fresh_draws(measure):
    y = torch.arange(120) % 2
    draws = [measure(torch.randn(120, 5, generator=keyed_generator(i)).square(), y, 2) for i in range(200)]
    actual = torch.stack([draw.value for draw in draws]).std(0)
    claimed = torch.stack([draw.standard_error for draw in draws]).mean(0)
    assert ((claimed / actual - 1).abs() < 0.2).all()


def test_the_ratio_leaves_out_classes_without_one():
    features, y = torch.tensor([[0.0], [1.0], [5.0], [9.0], [2.0]]), torch.tensor([0, 0, 1, 1, 2])
    spread = class_spread(features, y, 3)
    ratio, error = spread.over(torch.tensor([1.0, 2.0, 3.0]))
    assert ratio == pytest.approx((0.5**0.5 + 8**0.5 / 2) / 2)
    assert error >= 0
    assert np.isnan(spread.over(torch.full((3,), torch.nan))[0])


def test_features_without_variance_have_no_error():
    found = class_spread(torch.ones(12, 2), torch.arange(12) % 2, 2)
    assert found.value.tolist() == found.standard_error.tolist() == [0, 0]


@pytest.mark.parametrize("measure", [class_spread, class_distance])
def test_classes_of_two_have_the_error_that_their_differences_tell(measure):
    """A hundred classes of two samples each: the two are equally far from each other, which says nothing of chance."""
    real = torch.ones(100, dtype=torch.float64)
    y = torch.arange(200) % 100
    draws = [measure(torch.randn(200, 4, generator=keyed_generator(i)), y, 100).over(real) for i in range(60)]
    actual = torch.tensor([ratio for ratio, _ in draws]).std()
    assert 0.75 < float(torch.tensor([error for _, error in draws]).mean() / actual) < 1.33


def test_of_large_classes_a_thousand_are_drawn():
    features = torch.randn(1500, 3, generator=keyed_generator(0))
    features[1000:] += 100  # a first thousand would miss these
    found = class_distance(features, torch.zeros(1500, dtype=torch.int64), 1)
    assert found.n == 1000
    assert float(found.value[0]) == pytest.approx(pdist(features.double().numpy()).mean(), rel=0.1)


def test_copies_count_once_and_far_samples_each():
    assert vendi_score(torch.ones(20, 3), 1.0) == pytest.approx(1)
    assert vendi_score(1e3 * torch.arange(20.0)[:, None], 1.0) == pytest.approx(20)
    assert vendi_score(1e3 * torch.tensor([[0.0], [1.0]]).repeat(10, 1), 1.0) == pytest.approx(2)


def test_two_samples_at_a_distance():
    k = math.exp(-0.5 * (3 / 2) ** 2)
    values = ((1 + k) / 2, (1 - k) / 2)  # the eigenvalues of [[1, k], [k, 1]] / 2
    expected = math.exp(-sum(value * math.log(value) for value in values))
    assert vendi_score(torch.tensor([[0.0], [3.0]]), 2.0) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "splits"), [(333, 10), (50, 1)])
def test_equal_to_torch_fidelity(n, splits):
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(n, 12, generator=keyed_generator(1))
    drawn = logits[torch.randperm(n, generator=keyed_generator(2))]
    expected = theirs.isc_features_to_metric(drawn, splits=splits, shuffle=False)
    mean, std = classifier_score(logits, keyed_generator(2), splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-6, abs=1e-12)
