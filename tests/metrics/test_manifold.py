"""Precision, recall, density and coverage, against the reference package and against sets drawn by hand."""

import warnings

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from condgen.metrics.manifold import nearest_radii, prdc
from condgen.rng import keyed_generator


def cloud(n, key, dimension=6, scale=1.0):
    return scale * torch.randn(n, dimension, generator=keyed_generator(key), dtype=torch.float64)


@pytest.mark.parametrize("tile", [1024, 70])
@pytest.mark.parametrize(("n_fake", "scale", "k"), [(500, 1.0, 5), (500, 1.6, 5), (300, 0.5, 3)])
def test_equal_to_the_package_of_naeem_et_al(n_fake, scale, k, tile, monkeypatch):
    monkeypatch.setattr("condgen.metrics.neighbours._HELD", tile)
    real, fake = cloud(500, 1) + 100, cloud(n_fake, 2, scale=scale) + 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own dependencies
        from prdc import compute_prdc

        theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    ours = prdc(real, fake, k)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(ours, name).mean().item() == pytest.approx(theirs[name], abs=1e-12), name
    assert (len(ours.precision), len(ours.density), len(ours.recall), len(ours.coverage)) == (n_fake, n_fake, 500, 500)


@pytest.mark.parametrize("tile", [1024, 30])
def test_radii_are_distances_to_the_kth_other_sample(tile, monkeypatch):
    monkeypatch.setattr("condgen.metrics.neighbours._HELD", tile)
    x = cloud(200, 3)
    expected = KDTree(x.numpy()).query(x.numpy(), k=6)[0][:, 5]
    assert np.allclose(nearest_radii(x, 5), expected, rtol=1e-9)


def test_radii_known_beforehand_change_nothing():
    real, fake = cloud(50, 1), cloud(40, 2)
    given = prdc(real, fake, 5, nearest_radii(real, 5))
    assert torch.equal(given.density, prdc(real, fake, 5).density)
    assert prdc(real, fake, 5, torch.zeros(50)).density.sum() == 0


def test_items_on_a_line_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0]])  # balls of k = 1: radii 1, 1, 2
    fake = torch.tensor([[0.5], [10.0]])  # radii 9.5, 9.5
    items = prdc(real, fake, k=1)
    assert items.precision.tolist() == [1, 0]
    assert items.density.tolist() == [2, 0]  # 0.5 lies in the balls of 0 and 1; that of 3 is open and begins at 1
    assert items.coverage.tolist() == [1, 1, 0]
    assert items.recall.tolist() == [1, 1, 1]


def test_balls_are_open():
    real = torch.tensor([[0.0], [1.0], [3.0], [4.0]])  # radii 1; the mean is an integer, so distances are exact
    items = prdc(real, torch.tensor([[2.0], [10.0]]), k=1)
    assert items.precision.sum() == items.density.sum() == items.coverage.sum() == 0


def test_a_set_far_away_shares_nothing_and_the_same_set_everything():
    real = cloud(100, 1)
    away, same = prdc(real, real + 1e3), prdc(real, real.clone())
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(away, name).sum() == 0
    assert same.precision.mean() == same.recall.mean() == same.coverage.mean() == 1


def test_too_few_samples():
    for real, fake in ((5, 10), (10, 5)):
        with pytest.raises(ValueError, match="5-th neighbour"):
            prdc(cloud(real, 1), cloud(fake, 2), k=5)
