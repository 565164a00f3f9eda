"""Nearest neighbours and pairs within reach, against distances of every pair in float64."""

import pytest
import torch

from condgen.metrics import neighbours
from condgen.metrics.neighbours import nearest, pairs_within
from condgen.rng import keyed_generator


def cloud(n, key, dimension=12, dtype=torch.float64):
    return torch.randn(n, dimension, generator=keyed_generator(key), dtype=torch.float64).to(dtype)


def distances(a, b):
    return (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()


FAR = cloud(1, 9) * 1e4
SETS = {
    "spread": lambda n, key: cloud(n, key),
    "float32": lambda n, key: cloud(n, key, dtype=torch.float32),
    "far from the origin": lambda n, key: cloud(n, key) + FAR,
    "two clusters far apart": lambda n, key: cloud(n, key) * 1e-4 + FAR * (torch.arange(n)[:, None] % 2),
    "nearly copies": lambda n, key: FAR + 1e-7 * cloud(n, key),
    "copies": lambda n, key: cloud(n, 3)[torch.arange(n) // 7],
}


@pytest.mark.parametrize("held", [2**23, 4000])
@pytest.mark.parametrize("kind", SETS)
def test_as_in_float64(kind, held, monkeypatch):
    monkeypatch.setattr(neighbours, "_HELD", held)
    a, b = SETS[kind](150, 1), SETS[kind](110, 2)
    exact = distances(a, b)
    found = nearest(a, b, 4)
    assert torch.allclose(found.distances, exact.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(exact.gather(1, found.indices), found.distances, rtol=1e-9, atol=0)

    own = distances(a, a).fill_diagonal_(torch.inf)
    others = nearest(a, a, 4, others=True)
    assert torch.allclose(others.distances, own.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(own.gather(1, others.indices), others.distances, rtol=1e-9, atol=0)
    assert all(len(set(row)) == 4 for row in others.indices.tolist())

    radii = exact.median(1).values * 0.999, exact.median(0).values * 0.999
    for rows, first, second in pairs_within(a, b, *radii):
        assert torch.equal(first, exact[rows] < radii[0][rows, None])
        assert torch.equal(second, exact[rows] < radii[1])


def test_a_radius_is_open_to_the_last_bit():
    a, b = cloud(40, 1), cloud(30, 2)
    reach = (a[:, None] - b[None]).square().sum(2).min(1).values.sqrt()  # each ball just reaches its nearest
    wider = torch.nextafter(reach, torch.tensor(torch.inf, dtype=torch.float64)) * (1 + 1e-14)
    nothing = torch.zeros(30, dtype=torch.float64)
    assert sum(int(mask.sum()) for _, mask, _ in pairs_within(a, b, reach * (1 - 1e-14), nothing)) == 0
    assert sum(int(mask.sum()) for _, mask, _ in pairs_within(a, b, wider, nothing)) == 40


@pytest.mark.parametrize("offset", [0.0, 10.0])  # with one sign, rounding of products adds up
def test_the_bound_on_rounding_holds(offset):
    a, b = cloud(200, 1, 500), cloud(200, 2, 500) * torch.linspace(0.01, 5, 200, dtype=torch.float64)[:, None]
    a, b = a + offset, b + offset
    (_, squared, bound), *_ = neighbours._squared_distances(a, b)
    assert ((squared - distances(a, b).square()).abs() <= bound).all()


def test_a_ball_does_not_hold_the_sample_that_it_just_reaches():
    """The square of a radius may be above the square that it is the root of."""
    for scale in torch.linspace(0.1, 3, 60).tolist():
        real = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64) * scale
        fake = torch.tensor([[1.0, 1.0]], dtype=torch.float64) * scale
        radii = nearest(real, real, 1, others=True).distances[:, 0]
        ((_, mask, _),) = pairs_within(real, fake, radii, torch.zeros(1, dtype=torch.float64))
        assert mask.tolist() == [[False], [True]]  # the copy alone


@pytest.mark.parametrize("k", [0, 6])
def test_neighbours_that_do_not_exist(k):
    with pytest.raises(ValueError, match=f"the {k}-th neighbour .*among 5 samples"):
        nearest(cloud(3, 1), cloud(5, 2), k)
    with pytest.raises(ValueError, match="among 4 samples"):
        nearest(cloud(5, 1), cloud(5, 1), 5, others=True)
