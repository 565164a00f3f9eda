"""Nearest neighbours and pairs within reach, against distances of every pair in float64."""

import pytest
import torch

from condgen.metrics import neighbours
from condgen.metrics.neighbours import inside, nearest, nearest_others
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


@pytest.mark.parametrize("tile", [1024, 37])
@pytest.mark.parametrize("kind", SETS)
def test_as_in_float64(kind, tile, monkeypatch):
    monkeypatch.setattr(neighbours, "_TILE", tile)
    a, b = SETS[kind](150, 1), SETS[kind](110, 2)
    exact = distances(a, b)
    found = nearest(a, b, 4)
    assert torch.allclose(found.distances, exact.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(exact.gather(1, found.indices), found.distances, rtol=1e-9, atol=0)

    own = distances(a, a).fill_diagonal_(torch.inf)
    others = nearest_others(a, 4)
    assert torch.allclose(others.distances, own.topk(4, largest=False).values, rtol=1e-9, atol=0)
    assert torch.allclose(own.gather(1, others.indices), others.distances, rtol=1e-9, atol=0)
    assert all(len(set(row)) == 4 for row in others.indices.tolist())

    radii = exact.median(1).values * 0.999, exact.median(0).values * 0.999
    masks = torch.zeros_like(exact), torch.zeros_like(exact)
    for pairs in inside(a, b, *radii):
        for mask, one in zip(masks, pairs, strict=True):
            mask[one.first, one.second] += 1
    assert torch.equal(masks[0], (exact < radii[0][:, None]).double())  # each pair once
    assert torch.equal(masks[1], (exact < radii[1]).double())


def test_a_radius_is_open_to_the_last_bit():
    a, b = cloud(40, 1), cloud(30, 2)
    reach = (a[:, None] - b[None]).square().sum(2).min(1).values.sqrt()  # each ball just reaches its nearest
    wider = torch.nextafter(reach, torch.tensor(torch.inf, dtype=torch.float64)) * (1 + 1e-14)
    nothing = torch.zeros(30, dtype=torch.float64)
    assert sum(len(pairs.first) for pairs, _ in inside(a, b, reach * (1 - 1e-14), nothing)) == 0
    assert sum(len(pairs.first) for pairs, _ in inside(a, b, wider, nothing)) == 40


def test_the_bound_on_rounding_holds_and_is_not_idle():
    a, b = cloud(200, 1, 500), cloud(200, 2, 500) * torch.linspace(0.01, 5, 200, dtype=torch.float64)[:, None]
    blocks = [next(neighbours._Set(x, b.mean(0), torch.float32).blocks()) for x in (a, b)]
    squared, wrong = neighbours._squared(*blocks)
    error = (squared.double() - distances(a, b).square()).abs().max(1).values
    assert (error <= wrong).all()
    assert error.max() > 1e-3 * wrong.max()
    alike = [x.abs() + 10 for x in (a, b)]  # all products of one sign, so that rounding adds up
    blocks = [next(neighbours._Set(x, torch.zeros(500), torch.float32).blocks()) for x in alike]
    squared, wrong = neighbours._squared(*blocks)
    error = (squared.double() - distances(*alike).square()).abs().max(1).values
    assert (error <= wrong).all()
    assert error.max() > 1e-3 * wrong.max()


def test_a_radius_that_just_reaches_holds_nothing():
    """Its square may be above the square that it is the root of."""
    for scale in torch.linspace(0.1, 3, 60).tolist():
        real = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64) * scale
        fake = torch.tensor([[1.0, 1.0]], dtype=torch.float64) * scale
        radii = nearest_others(real, 1).distances[:, 0]
        found = [pairs.first.tolist() for pairs, _ in inside(real, fake, radii, torch.zeros(1, dtype=torch.float64))]
        assert found == [[1]]  # the copy, and not the one that the ball just reaches


def test_an_undecided_row_is_searched_again():
    """More near copies than the list of candidates is long: the last resort looks at every pair."""
    x = torch.cat((cloud(1, 1).expand(40, -1), cloud(10, 2)))
    x[:40] += 1e-13 * cloud(40, 3)
    exact = distances(x, x).fill_diagonal_(torch.inf)
    assert torch.allclose(nearest_others(x, 3).distances, exact.topk(3, largest=False).values, rtol=1e-9, atol=0)


@pytest.mark.parametrize("k", [0, 6])
def test_neighbours_that_do_not_exist(k):
    with pytest.raises(ValueError, match=f"the {k}-th neighbour .*among 5 samples"):
        nearest(cloud(3, 1), cloud(5, 2), k)
    with pytest.raises(ValueError, match="among 5 samples"):
        nearest_others(cloud(5, 1), 5)
