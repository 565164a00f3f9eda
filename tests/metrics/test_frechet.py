"""The Fréchet distance, against closed forms and another matrix square root."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from condgen.metrics.frechet import Gaussian, frechet_distance, influences
from condgen.rng import keyed_generator


def samples(n, dimension, key):
    mixing = torch.randn(dimension, dimension, generator=keyed_generator(key), dtype=torch.float64)
    return torch.randn(n, dimension, generator=keyed_generator(key, 1), dtype=torch.float64) @ mixing + key


def gaussian(mean, covariance):
    return Gaussian.of(torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64))


def covariance(fitted):
    return fitted.factor.T @ fitted.factor


@pytest.mark.parametrize("n", [500, 10])  # of full rank, and of rank 9 in 20 dimensions
def test_zero_from_itself(n):
    fitted = Gaussian.fit(samples(n, 20, 1))
    assert frechet_distance(fitted, fitted) < 1e-9 * float(covariance(fitted).trace())


def test_fit_gives_mean_and_unbiased_covariance():
    x = samples(50, 4, 1)
    fitted = Gaussian.fit(x.float())
    assert fitted.mean.dtype == covariance(fitted).dtype == torch.float64
    assert np.allclose(fitted.mean, x.float().double().mean(0))
    assert np.allclose(covariance(fitted), np.cov(x.float().double().numpy().T), atol=1e-12)


def test_equal_to_the_matrix_square_root_of_scipy_and_symmetric():
    a, b = Gaussian.fit(samples(200, 30, 1)), Gaussian.fit(samples(300, 30, 2))
    root = sqrtm((covariance(a) @ covariance(b)).numpy()).real
    expected = float((a.mean - b.mean).square().sum() + (covariance(a) + covariance(b)).trace()) - 2 * np.trace(root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_covariances_of_deficient_rank():
    # Points: only the means differ. A point against a Gaussian: its whole variance is added.
    zeros = np.zeros((3, 3))
    assert frechet_distance(gaussian([0, 0, 0], zeros), gaussian([1, 2, 2], zeros)) == pytest.approx(9)
    assert frechet_distance(gaussian([0, 0, 0], zeros), gaussian([0, 0, 0], np.diag([1, 2, 3]))) == pytest.approx(6)
    # Two perpendicular lines share no variance, two parallel ones share theirs.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    line = [turn @ np.diag(variances) @ turn.T for variances in ([4.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0])]
    origin = [0.0, 0.0, 0.0]
    assert frechet_distance(gaussian(origin, line[0]), gaussian(origin, line[1])) == pytest.approx(13, abs=1e-6)
    assert frechet_distance(gaussian(origin, line[0]), gaussian(origin, line[2])) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(12, 200), (200, 12), (12, 15), (15, 12), (30, 31), (31, 30)])
def test_fewer_samples_than_features(n, m):
    """Their products are never formed whole, and the distance is the same."""
    x, y = samples(n, 30, 1), samples(m, 30, 2)
    whole = [Gaussian.of(fitted.mean, covariance(fitted)) for fitted in map(Gaussian.fit, (x, y))]
    assert frechet_distance(Gaussian.fit(x), Gaussian.fit(y)) == pytest.approx(frechet_distance(*whole), rel=1e-6)


@pytest.mark.parametrize(("n", "dimension"), [(400, 10), (60, 100)])
def test_influences_are_derivatives_of_the_weights(n, dimension):
    """Doubling the weight of a sample moves the distance by its influence over n, to first order."""
    x, other = samples(n, dimension, 1), Gaussian.fit(samples(500, dimension, 2))
    found = influences(x, Gaussian.fit(x), other)
    assert abs(float(found.mean())) < 1e-9 * float(found.abs().mean())
    many = x.repeat(500, 1)  # so that one more copy is a small step
    base = frechet_distance(Gaussian.fit(many), other)
    for place in (0, 7, int(found.abs().argmax())):
        moved = (frechet_distance(Gaussian.fit(torch.cat((many, x[place, None]))), other) - base) * len(many)
        assert moved == pytest.approx(float(found[place]), rel=0.05, abs=0.02 * float(found.std()))


def test_influences_give_the_spread_of_fresh_samples():
    """Far from the floor to rounding of first order, on the floor up to 1.5 times as much."""
    other = Gaussian.of(torch.zeros(12).double(), torch.eye(12).double())
    for shift, most in ((0.5, 1.2), (0.0, 1.8)):
        drawn = [torch.randn(300, 12, generator=keyed_generator(seed)) + shift for seed in range(60)]
        spread = torch.tensor([frechet_distance(Gaussian.fit(x), other) for x in drawn]).std()
        claimed = [influences(x, Gaussian.fit(x), other).square().sum().sqrt() / 300 for x in drawn]
        assert 0.85 < float(torch.stack(claimed).mean() / spread) < most
