import math

import pytest
import scipy.optimize
import torch
from sliced import directions, sliced_wasserstein

from condgen.rng import keyed_generator


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=keyed_generator(seed))


@pytest.mark.parametrize("sizes", [(12, 12), (12, 18), (5, 7), (1, 9)], ids=str)
def test_on_a_line_it_is_the_best_assignment(sizes):
    """Copies of the points make sets of equal size, where the cheapest pairing is found by linear programming."""
    a, b = normal(sizes[0], 1), normal(sizes[1], 1, seed=1).exp()
    common = math.lcm(*sizes)
    costs = torch.cdist(a.repeat_interleave(common // sizes[0], 0), b.repeat_interleave(common // sizes[1], 0)) ** 2
    expected = math.sqrt(costs.numpy()[scipy.optimize.linear_sum_assignment(costs.numpy())].mean())
    assert sliced_wasserstein(a, b, torch.ones(1, 1, dtype=torch.float64)) == pytest.approx(expected, rel=1e-12)


def test_the_shape_of_samples_does_not_matter():
    a, b, along = normal(20, 4), normal(20, 4, seed=1), directions(4, 50, keyed_generator(3))
    assert sliced_wasserstein(a, a.flip(0), along) == 0
    assert sliced_wasserstein(a.view(20, 2, 2), b.view(20, 2, 2), along) == sliced_wasserstein(a, b, along)


def test_directions_are_unit_vectors_and_even():
    along = directions(5, 20_000, keyed_generator(4))
    torch.testing.assert_close(along.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    torch.testing.assert_close(along.T @ along / 20_000, torch.eye(5, dtype=torch.float64) / 5, rtol=0, atol=0.005)
