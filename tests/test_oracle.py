import math
from decimal import MIN_EMIN, Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from condgen import EDM, VE, VP, Cosine, Oracle, UserError, parse_data
from condgen.data.sets import Moons, load
from condgen.diagnostics.score_errors import grid_queries
from condgen.schedules import expand

SCHEDULES = [VE(), VP(), Cosine(), EDM()]
STDS = (0.3, 0.5, 0.0, 0.7, 1.1)


def mixture(schedule, **chunks):
    means = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1])
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15])
    oracle = Oracle(schedule, means, labels, 3, stds=torch.tensor(STDS), weights=weights, **chunks)
    return oracle, means, labels, weights


def queries(n=7, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
def test_density_equals_scipy(schedule):
    oracle, means, labels, weights = mixture(schedule)
    t = torch.tensor(0.4 * schedule.t_max + 0.6 * schedule.t_min, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    x = queries()
    variances = (alpha * torch.tensor(STDS).double()) ** 2 + sigma**2
    laws = map(multivariate_normal, alpha * means.numpy(), variances.tolist())
    parts = torch.stack([torch.tensor(law.logpdf(x)) for law in laws], 1) + weights.double().log()
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


@pytest.mark.parametrize("held", [1, 7, 11, 1000])
def test_chunks_do_not_matter(held):
    oracle, *_ = mixture(VP(), held=held)
    whole, *_ = mixture(VP())
    t, x, y = torch.tensor(0.3, dtype=torch.float64), queries(), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    for ours, theirs in zip(oracle.scores(x, t, y), whole.scores(x, t, y), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_samples_have_the_moments_of_the_mixture():
    oracle, means, labels, weights = mixture(EDM())
    x, y = oracle.sample(40_000, torch.Generator().manual_seed(3))
    share = torch.bincount(y, minlength=3) / len(y)
    expected = torch.stack([weights[labels == k].sum() for k in range(3)])
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(x.mean(0), (weights.double() @ means) / weights.sum(), atol=0.03, rtol=0)


def test_moons_reference_values():
    """Exact values of the DLSM paper's plane, computed independently: means on the 35x35 grid at sigma 7.5."""
    data = load(Moons(), "train")
    oracle = Oracle(EDM(), data.floats(), data.y, 2)
    t, x, y = grid_queries(oracle, (-40, 40), (-25, 25), 35, 7.5)
    means = [float(score.norm(dim=1).mean()) for score in oracle.scores(x, t, y)]
    assert means == pytest.approx([0.157, 0.267, 0.150], abs=6e-4)


# At scale

LEVELS = (0.002, 0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 80.0)


def by_differences(points, labels, x_t, sigma, y):
    """Scores of a point set by softmax over float64 distances, without a product; and p(not y | x_t)."""
    points, x_t = points.double().flatten(1), x_t.double().flatten(1)
    logits = torch.stack([-0.5 * ((x - points) / sigma).square().sum(1) for x in x_t])
    own = y[:, None] == labels
    of_class, of_rest = (logits.masked_fill(~which, -math.inf).softmax(1) @ points for which in (own, ~own))
    rest = logits.masked_fill(own, -math.inf).logsumexp(1, keepdim=True)
    doubt = (rest - logits.logsumexp(1, keepdim=True)).exp()
    likelihood = doubt * (of_class - of_rest) / sigma**2
    posterior = (of_class - x_t) / sigma**2
    return (posterior - likelihood, posterior, likelihood), doubt


CIFAR = [pytest.param(name, 10, marks=pytest.mark.cifar) for name in ("cifar10", "cifar100")]


@pytest.mark.parametrize(("name", "per_class"), [("digits", None), *CIFAR])
def test_sets_agree_with_plain_float64_at_twelve_noise_levels(name, per_class):
    """Relative to the length of each score, query by query; where doubt has underflowed there is nothing to compare."""
    data = load(parse_data(name), "train").per_class(per_class, torch.Generator())
    oracle = Oracle(EDM(), data.x, data.y, data.n_classes)
    x, y = oracle.sample(24, torch.Generator().manual_seed(0))
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    times = [torch.tensor(level, dtype=torch.float64) for level in LEVELS]
    seen = 0
    for level, (x_t, scores) in zip(LEVELS, oracle.scores_along(x, eps, times, y), strict=True):
        torch.testing.assert_close(x_t, x.double() + level * eps, rtol=1e-12, atol=1e-12)
        expected, doubt = by_differences(data.floats(), data.y, x_t, level, y)
        for kind, found, exact in zip(scores._fields, scores, expected, strict=True):
            kept = doubt[:, 0] > 1e-290 if kind == "likelihood" else torch.ones(24, dtype=torch.bool)
            gap = (found.flatten(1) - exact).norm(dim=1)[kept]
            assert (gap <= 1e-5 * exact.norm(dim=1)[kept]).all(), (level, kind, gap)
            seen += int(kept.sum())
        for one, other in zip(oracle.scores(x_t, times[LEVELS.index(level)], y), scores, strict=True):
            assert float((one - other).norm()) <= 1e-6 * float(other.norm())
    assert seen > 2.3 * 24 * len(LEVELS)


def test_training_in_lower_precision_changes_no_score(tiny_images):
    """Products of float32 numbers may be rounded to bfloat16 elsewhere: not here, and elsewhere again afterwards."""
    oracle = Oracle(EDM(), tiny_images.x, tiny_images.y, 3)
    assert oracle.means.dtype == torch.uint8  # whose means are summed in float32
    x, y = oracle.sample(32, torch.Generator().manual_seed(0))
    exact, products = oracle.scores(x, torch.tensor(3.0), y), torch.backends.cuda.matmul
    before = products.fp32_precision
    torch.set_float32_matmul_precision("medium")
    try:
        again = oracle.scores(x, torch.tensor(3.0), y)
        assert torch.get_float32_matmul_precision() == "medium"
        torch.set_float32_matmul_precision("highest")
        products.fp32_precision = "tf32"  # apart from torch's older setting
        apart = oracle.scores(x, torch.tensor(3.0), y)
        assert products.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")
        products.fp32_precision = before
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(exact, again, apart, strict=True))


def exactly(means, labels, x, sigma, y):
    """log p(y | x) and the likelihood score of points, in 350 digits; and the doubt."""
    with localcontext(prec=350, Emin=MIN_EMIN):
        mu = [[Decimal(v) for v in row] for row in means.tolist()]
        at, s2 = [Decimal(v) for v in x.tolist()], Decimal(sigma) ** 2
        w = [(-sum((a - b) ** 2 for a, b in zip(at, row, strict=True)) / (2 * s2)) for row in mu]
        top = max(w)
        w = [(v - top).exp() for v in w]
        own = [v if k == y else Decimal(0) for v, k in zip(w, labels.tolist(), strict=True)]
        p = sum(own) / sum(w)
        mean = [
            [sum(v * row[i] for v, row in zip(c, mu, strict=True)) / sum(c) for i in range(len(at))] for c in (own, w)
        ]
        score = [(a - b) / s2 for a, b in zip(*mean, strict=True)]
        return float(p.ln()), torch.tensor([float(v) for v in score], dtype=torch.float64), float(1 - p)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sigma=st.floats(1e-3, 1e3),
    far=st.sampled_from([0.0, 1.0, 30.0]),
    copies=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_errors_stay_within_their_bound(seed, sigma, far, copies, dtype):
    """Random points, copies of each other perhaps, under any noise: the bound of the module's docstring holds."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(6, 3, generator=generator).to(dtype)
    if copies:
        means[3:] = means[:3]
    labels, y = torch.tensor([0, 0, 1, 1, 2, 2]), int(torch.randint(3, (), generator=generator))
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64) * sigma * far + means[:1].double()
    oracle = Oracle(VE(sigma_min=1e-4, sigma_max=1e4), means, labels, 3)
    t = oracle.schedule.t_of_noise_level(torch.tensor(sigma, dtype=torch.float64))
    sigma = float(oracle.schedule.sigma(t))
    log_p, score, doubt = exactly(means, labels, x[0], sigma, y)
    length = float(x.norm() + means.double().norm(dim=1).max())
    bound = torch.finfo(torch.float64).eps / 2 * (3 + 8) * length**2 / (2 * sigma**2)
    assert abs(float(oracle.log_posterior(x, t)[0, y]) - log_p) <= 2 * bound + 1e-12 * (1 + abs(log_p))
    size = float(means.double().norm(dim=1).max())
    wrong = (4 * bound + (1e-6 if dtype == torch.float32 else 1e-12)) * doubt * size / sigma**2
    likelihood = oracle.scores(x, t, torch.tensor([y])).likelihood[0]
    assert float((likelihood - score).norm()) <= wrong + 1e-290


@pytest.mark.parametrize("sigma", [1e-8, 1e-4, 1e4, 1e8, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_at_extreme_noise_levels_have_their_limits(sigma, dtype):
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    oracle = Oracle(EDM(sigma_min=1e-31, sigma_max=1e31), means, torch.tensor([0, 1]), 2)
    eps, y, t = torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.tensor([0]), torch.tensor(sigma).double()
    x_t = (means[:1] + sigma * eps).to(dtype)
    expected = ((means[:1] if sigma < 1 else 0 * means[:1]) - x_t.double()) / sigma**2  # nearest point, or their mean
    for score in (oracle.score(x_t, t), oracle.scores(x_t, t, y).prior):
        torch.testing.assert_close(score.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert oracle.likelihood.score(x_t, t, y).isfinite().all()


def test_a_score_that_no_number_holds_is_refused_by_its_noise_level():
    oracle = Oracle(EDM(sigma_min=1e-31), torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), 2)
    x_t, y, t = torch.tensor([[0.5], [1.0]]), torch.tensor([0, 0]), torch.tensor(1e-30).double()
    words = r"not finite in float32 at noise level 1e-30, in 1 of 2 queries"
    for ask in (lambda: oracle.scores(x_t, t, y), lambda: oracle.score(x_t, t)):
        with pytest.raises(UserError, match=words):
            ask()
    with pytest.raises(UserError, match="the oracle's likelihood score is not finite in float32"):
        oracle.likelihood.score(x_t, t, 1 - y)
    assert oracle.scores(x_t.double(), t, y).prior.isfinite().all()
    with pytest.raises(UserError, match="look at the model"):
        oracle.score(torch.tensor([[torch.nan]]), torch.tensor(1.0).double())


def test_a_class_without_points_and_labels_that_it_does_not_know_are_refused_and_no_queries_are_not():
    with pytest.raises(ValueError, match="cover the 3 classes"):
        Oracle(EDM(), torch.zeros(2, 2), torch.tensor([0, 2]), 3)
    oracle, *_ = mixture(EDM())
    for label in (-1, 3):
        with pytest.raises(ValueError, match="labels lie in 0 to 2"):
            oracle(queries(2), torch.tensor(1.0), torch.tensor([0, label]))
    assert oracle(queries(0), torch.tensor(1.0)).shape == (0, 3)
