"""Nearest neighbours, overlaps and memory, against distances of every pair, reference packages, and sets by hand."""

import pytest
import torch
from libraries import library

from condgen.metrics import neighbours
from condgen.metrics.neighbours import memory, nearest, nearest_radii, prdc
from condgen.rng import keyed_generator


def cloud(n, key, dimension=12, dtype=torch.float64):
    return torch.randn(n, dimension, generator=keyed_generator(key), dtype=torch.float64).to(dtype)


def distances(a, b):
    return (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()


SETS = {
    "spread": lambda n, key: cloud(n, key),
    "float32": lambda n, key: cloud(n, key, dtype=torch.float32),
    "far from the origin": lambda n, key: cloud(n, key) + 1e4,
    "copies": lambda n, key: cloud(n, 3)[torch.arange(n) // 7],
}


@pytest.mark.parametrize("held", [2**23, 4000])
@pytest.mark.parametrize("kind", SETS)
def test_as_in_float64(kind, held, monkeypatch):
    monkeypatch.setattr(neighbours, "_HELD", held)
    a, b = SETS[kind](150, 1), SETS[kind](110, 2)
    exact = distances(a, b)
    found, indices = nearest(a, b, 4)
    assert torch.allclose(found, exact.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(exact.gather(1, indices), found, rtol=1e-9, atol=0)

    own = distances(a, a).fill_diagonal_(torch.inf)
    found, indices = nearest(a, a, 4, others=True)
    assert torch.allclose(found, own.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(own.gather(1, indices), found, rtol=1e-9, atol=0)
    assert all(len(set(row)) == 4 for row in indices.tolist())
    assert torch.equal(nearest_radii(a, 4), found[:, 3])


def test_a_ball_does_not_hold_the_sample_that_it_just_reaches():
    for scale in torch.linspace(0.1, 3, 60).tolist():
        real = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64) * scale
        fake = torch.tensor([[1.0, 1.0], [9.0, 9.0]], dtype=torch.float64) * scale
        assert prdc(real, fake, 1).coverage.tolist() == [0, 1]  # the copy alone


@pytest.mark.parametrize("tile", [1024, 70])
@pytest.mark.parametrize(("n_fake", "scale", "k"), [(500, 1.0, 5), (500, 1.6, 5), (300, 0.5, 3)])
def test_equal_to_the_package_of_naeem_et_al(n_fake, scale, k, tile, monkeypatch):
    monkeypatch.setattr(neighbours, "_HELD", tile)
    real, fake = cloud(500, 1, 6) + 100, scale * cloud(n_fake, 2, 6) + 100
    theirs = library("prdc").compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    ours = prdc(real, fake, k)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(ours, name).mean().item() == pytest.approx(theirs[name], abs=1e-12), name
    assert (len(ours.precision), len(ours.density), len(ours.recall), len(ours.coverage)) == (n_fake, n_fake, 500, 500)


def test_radii_known_beforehand_change_nothing():
    real, fake = cloud(50, 1), cloud(40, 2)
    assert torch.equal(prdc(real, fake, 5, nearest_radii(real, 5)).density, prdc(real, fake, 5).density)
    assert prdc(real, fake, 5, torch.zeros(50)).density.sum() == 0


def test_items_on_a_line_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0]])  # balls of k = 1: radii 1, 1, 2
    fake = torch.tensor([[0.5], [10.0]])  # radii 9.5, 9.5
    items = prdc(real, fake, k=1)
    assert items.precision.tolist() == [1, 0]
    assert items.density.tolist() == [2, 0]  # 0.5 lies in the balls of 0 and 1; that of 3 is open and begins at 1
    assert items.coverage.tolist() == [1, 1, 0]
    assert items.recall.tolist() == [1, 1, 1]


def test_memory_on_a_line_by_hand():
    train = torch.tensor([[0.0], [1.0], [5.0]])  # nearest other ones: at 1, 1, 4
    found = memory(train, torch.tensor([[0.4], [-1.5], [8.0], [9.5]]), k=2)
    assert found.indices[:, 0].tolist() == [0, 0, 2, 2]
    assert torch.allclose(found.distances, torch.tensor([[0.4, 0.6], [1.5, 2.5], [3.0, 7.0], [4.5, 8.5]]).double())
    assert found.elsewhere.tolist() == [1, 1, 4, 4]
    assert found.authentic.tolist() == [0, 1, 0, 1]
    assert found.closest(2).tolist() == [0, 2]  # 0.4 and 0.75 of what lies between training samples


def test_new_draws_are_authentic_as_often_as_not_and_copies_never():
    train, fresh = (torch.randn(3000, 4, generator=keyed_generator(i)) for i in range(2))
    # The nearest training sample of a new draw and of a training sample are a distance of one law away.
    assert 0.4 < float(memory(train, fresh).authentic.mean()) < 0.6
    assert memory(train, train[:50]).authentic.sum() == 0
    assert memory(train, train[:50] + 1e-5).authentic.sum() == 0


def test_copies_within_the_training_set():
    found = memory(torch.tensor([[0.0], [0.0], [3.0]]), torch.tensor([[0.0], [0.1], [3.0]]))
    assert found.elsewhere.tolist() == [0, 0, 3]
    assert found.authentic.tolist() == [0, 1, 0]
    assert found.closest(3).tolist() == [0, 2, 1]  # what lies beside a pair of copies is no copy
