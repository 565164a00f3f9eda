"""How much samples of a class differ, against numpy and the spread over fresh draws."""

import numpy as np
import pytest
import torch

from condgen.metrics.variety import class_spread, classifier_score
from condgen.rng import keyed_generator


def test_each_class_of_two_or_more_has_its_value():
    features = torch.randn(40, 3, generator=keyed_generator(0), dtype=torch.float64) + 100
    y = torch.arange(40) % 4 // 2  # of classes 0 and 1; class 2 is empty
    y[0] = 3  # alone
    found = class_spread(features, y, 4)
    for k in (0, 1):
        by_hand = np.std(features[y == k].numpy(), axis=0, ddof=1).mean()
        assert float(found.value[k]) == pytest.approx(by_hand, rel=1e-9)
    assert found.value.isnan().tolist() == found.standard_error.isnan().tolist() == [False, False, True, True]


def test_standard_errors_are_the_spread_over_fresh_draws():
    y = torch.arange(120) % 2
    draws = [class_spread(torch.randn(120, 5, generator=keyed_generator(i)).square(), y, 2) for i in range(200)]
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


def test_classes_of_two_have_the_error_that_their_differences_tell():
    """A hundred classes of two samples each: the two are equally far from each other, which says nothing of chance."""
    real = torch.ones(100, dtype=torch.float64)
    y = torch.arange(200) % 100
    draws = [class_spread(torch.randn(200, 4, generator=keyed_generator(i)), y, 100).over(real) for i in range(60)]
    actual = torch.tensor([ratio for ratio, _ in draws]).std()
    assert 0.75 < float(torch.tensor([error for _, error in draws]).mean() / actual) < 1.33


@pytest.mark.parametrize(("n", "splits"), [(333, 10), (50, 1)])
def test_equal_to_torch_fidelity(n, splits):
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(n, 12, generator=keyed_generator(1))
    drawn = logits[torch.randperm(n, generator=keyed_generator(2))]
    expected = theirs.isc_features_to_metric(drawn, splits=splits, shuffle=False)
    mean, std = classifier_score(logits, keyed_generator(2), splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-6, abs=1e-12)
