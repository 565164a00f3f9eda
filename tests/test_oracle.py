import math
import resource

import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from condgen.noise import EDM, VE, VP, Cosine, expand
from condgen.oracle import Oracle

SCHEDULES = [VE(), VP(), Cosine(), EDM()]


def mixture(schedule, *, stds=(0.3, 0.5, 0.0, 0.7, 1.1), **chunks):
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1])
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])
    return (
        Oracle(schedule, means, labels, 3, stds=torch.tensor(stds), weights=weights, **chunks),
        means,
        labels,
        weights,
    )


def queries(n=7, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_density_equals_scipy(schedule):
    oracle, means, labels, weights = mixture(schedule)
    stds = torch.tensor([0.3, 0.5, 0.0, 0.7, 1.1]).double()
    t = torch.tensor(0.4 * schedule.t_max + 0.6 * schedule.t_min, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    x = queries()
    parts = torch.stack(
        [
            torch.tensor(multivariate_normal(alpha * m, (alpha * s) ** 2 + sigma**2).logpdf(x)) + w.double().log()
            for m, s, w in zip(means.numpy(), stds.tolist(), weights, strict=True)
        ],
        1,
    )
    assert torch.allclose(oracle.log_prob(x, t), torch.tensor(logsumexp(parts, axis=1)), rtol=1e-7)
    of_class_1 = torch.tensor(logsumexp(parts[:, labels == 1], axis=1)) - math.log(0.45)
    assert torch.allclose(oracle.log_prob(x, t, torch.ones(7, dtype=torch.long)), of_class_1, rtol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_scores_equal_autograd_and_bayes_rule(schedule):
    oracle, *_ = mixture(schedule)
    t = torch.linspace(schedule.t_min, schedule.t_max, 9, dtype=torch.float64)[1:-1]  # one time a query
    alpha, sigma = expand(schedule.alpha(t), queries()), expand(schedule.sigma(t), queries())
    x = (alpha * queries() + sigma * queries().flip(0)).requires_grad_()
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    exact = oracle.scores(x.detach(), t, y)
    for value, score in (
        (oracle.log_prob(x, t), exact.prior),
        (oracle.log_prob(x, t, y), exact.posterior),
        (oracle.log_posterior(x, t).gather(1, y[:, None]), exact.likelihood),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), x)
        torch.testing.assert_close(score, gradient, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(exact.posterior, exact.prior + exact.likelihood, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(oracle.score(x.detach(), t), exact.prior, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(oracle.score(x.detach(), t, y), exact.posterior, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(oracle.likelihood.score(x.detach(), t, y), exact.likelihood, rtol=1e-7, atol=1e-9)


def test_posterior_sums_to_one_and_mixes_to_the_marginal():
    oracle, *_ = mixture(EDM())
    t, x = torch.tensor(0.8, dtype=torch.float64), queries()
    posterior = oracle.log_posterior(x, t)
    torch.testing.assert_close(posterior.exp().sum(1), torch.ones(7, dtype=torch.float64))
    by_class = torch.stack([oracle(x, t, torch.full((7,), k)) for k in range(3)], 1)
    torch.testing.assert_close((posterior.exp()[..., None] * by_class).sum(1), oracle(x, t))


@pytest.mark.parametrize(("query_chunk", "component_chunk"), [(1, 1), (3, 2), (100, 100)])
def test_chunks_do_not_matter(query_chunk, component_chunk):
    oracle, *_ = mixture(VP(), query_chunk=query_chunk, component_chunk=component_chunk)
    whole, *_ = mixture(VP())
    t, x, y = torch.tensor(0.3, dtype=torch.float64), queries(), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    for ours, theirs in zip(oracle.scores(x, t, y), whole.scores(x, t, y), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_points_far_from_everything_and_tiny_noise_stay_finite():
    oracle, means, *_ = mixture(EDM(sigma_min=1e-4), stds=(0.0,) * 5)
    t = torch.tensor(1e-4, dtype=torch.float64)
    exact = oracle.scores(means[:1] + 50.0, t, torch.tensor([2]))
    assert all(score.isfinite().all() for score in exact)
    near = oracle(means + 1e-5, t)
    torch.testing.assert_close(near, means)  # the nearest point takes all


def test_images_keep_their_shape_and_dtype():
    points = torch.rand(20, 1, 4, 4)
    oracle = Oracle(EDM(), points, torch.arange(20) % 4, 4)
    x, y = torch.rand(6, 1, 4, 4), torch.arange(6) % 4
    denoised = oracle(x, torch.tensor(0.5), y)
    assert (denoised.shape, denoised.dtype) == (x.shape, torch.float32)
    assert oracle.scores(x.double(), torch.tensor(0.5), y).likelihood.dtype == torch.float64


def test_samples_have_the_moments_of_the_mixture():
    oracle, means, labels, weights = mixture(EDM())
    x, y = oracle.sample(40_000, torch.Generator().manual_seed(3))
    share = torch.bincount(y, minlength=3) / len(y)
    expected = torch.stack([weights[labels == k].sum() for k in range(3)])
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(x.mean(0), (weights.double() @ means) / weights.sum(), atol=0.03, rtol=0)


def test_a_class_without_points_is_refused():
    with pytest.raises(ValueError, match="cover the 3 classes"):
        Oracle(EDM(), torch.zeros(2, 2), torch.tensor([0, 2]), 3)


def test_moons_reference_values():
    """Exact values of the DLSM paper's plane, computed independently: means on the 35x35 grid at sigma 7.5."""
    from condgen.data import Moons, load
    from condgen.diagnostics.score_errors import grid_queries

    data = load(Moons(), "train")
    oracle = Oracle(EDM(), data.floats(), data.y, 2)
    t, x, y = grid_queries(oracle, (-40, 40), (-25, 25), 35, 7.5)
    means = [float(score.norm(dim=1).mean()) for score in oracle.scores(x, t, y)]
    assert means == pytest.approx([0.157, 0.267, 0.150], abs=6e-4)


@pytest.mark.slow
def test_cifar_sized_oracle_stays_under_two_gigabytes():
    points = torch.rand(50_000, 3, 32, 32)
    oracle = Oracle(VE(), points, torch.arange(50_000) % 10, 10)
    del points
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    oracle.scores(torch.rand(1000, 3, 32, 32), torch.tensor(0.5), torch.arange(1000) % 10)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert grown + 50_000 * 3072 * 4 / 2**30 < 2
