"""The kernel distance, against torch-fidelity and the law of its errors."""

import pytest
import torch

from condgen.metrics import kernel
from condgen.metrics.kernel import kernel_distance, mean_within
from condgen.rng import keyed_generator


def cloud(n, key, scale=1.0, dimension=8):
    return scale * torch.randn(n, dimension, generator=keyed_generator(key), dtype=torch.float64)


@pytest.mark.parametrize("side", [2**11, 26])
def test_equal_to_torch_fidelity(side, monkeypatch):
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    monkeypatch.setattr(kernel, "_SIDE", side)
    x, y = cloud(200, 1), cloud(200, 2, 1.2)
    ours, _ = kernel_distance(x, y)
    assert ours == pytest.approx(theirs.kernel_mmd(x.numpy(), y.numpy()), rel=1e-9)
    published = theirs.kid_features_to_metric(x, y, kid_subsets=300, kid_subset_size=100, verbose=False, rng_seed=2020)
    spread = published["kernel_inception_distance_std"]
    assert ours == pytest.approx(published["kernel_inception_distance_mean"], abs=4 * spread / 300**0.5)


def test_no_bias_and_a_standard_error_that_is_the_spread():
    real = cloud(4000, 0)
    within = mean_within(real)
    for scale, widest in ((1.0, 1.8), (1.3, 1.4)):  # alike, the statistic is degenerate and the jackknife too wide
        found = [kernel_distance(cloud(100, 10 + i, scale), real, within) for i in range(150)]
        values, errors = torch.tensor(found).unbind(1)
        assert 0.8 < float(errors.mean() / values.std()) < widest
        if scale == 1:
            assert abs(float(values.mean())) < 4 * float(values.std()) / 150**0.5 + 2e-3


def test_single_precision_costs_seven_digits_of_a_kernel_value():
    x, y = cloud(900, 1, dimension=300), cloud(900, 2, 1.01, dimension=300)
    exact = kernel_distance(x, y)
    found = kernel_distance(x.float(), y.float())
    assert found == (pytest.approx(exact[0], abs=1e-7), pytest.approx(exact[1], rel=1e-3))
