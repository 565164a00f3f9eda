"""The inception score's formula, against torch-fidelity and closed forms."""

import pytest
import torch

from condgen.metrics import classifier_score
from condgen.rng import keyed_generator


@pytest.mark.parametrize(("n", "splits"), [(333, 10), (50, 1)])
def test_equal_to_torch_fidelity(n, splits):
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(n, 12, generator=keyed_generator(1))
    expected = theirs.isc_features_to_metric(logits, splits=splits, shuffle=False)
    found = classifier_score(logits, splits=splits)
    assert found.mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found.std == pytest.approx(expected["inception_score_std"], rel=1e-6, abs=1e-12)


def test_from_one_to_the_number_of_classes():
    sure = 1e3 * torch.eye(5).repeat(40, 1)
    assert classifier_score(sure).mean == pytest.approx(5)
    assert classifier_score(torch.zeros(200, 5)).mean == pytest.approx(1)
    one = classifier_score(sure[torch.zeros(200, dtype=torch.int64)])
    assert one.mean == pytest.approx(1)  # sure, of one class alone


def test_an_order_by_class_needs_a_generator():
    by_class = 1e3 * torch.eye(5).repeat_interleave(200, 0)
    assert classifier_score(by_class).mean < 2
    assert classifier_score(by_class, keyed_generator(0)).mean == pytest.approx(5, rel=0.05)
    with pytest.raises(ValueError, match="9 samples cannot be split into 10 parts"):
        classifier_score(torch.zeros(9, 2))
