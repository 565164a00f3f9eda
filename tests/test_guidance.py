import math

import pytest
import torch
from models import NET, Asked, score_model
from pydantic import ValidationError

from condgen import EDM, VE, VP, ClassifierGuided, DenoiserGuided, Oracle, ScaleCurve, UNetSettings


def oracle(schedule):
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    return Oracle(schedule, means, torch.tensor([0, 1, 2]), 3, stds=0.4)


X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def counted(likelihood):
    """A likelihood, and the sizes of the batches that it gives the score of."""
    score, sizes = likelihood.score, []
    likelihood.score = lambda x_t, *rest: sizes.append(len(x_t)) or score(x_t, *rest)
    return likelihood, sizes


@pytest.mark.parametrize("schedule", [VE(), VP(), EDM()], ids=lambda s: s.kind)
def test_scale_multiplies_the_likelihood_score_and_one_is_the_exact_posterior(schedule):
    exact, t = oracle(schedule), torch.tensor(0.3, dtype=torch.float64)
    guided = ClassifierGuided(exact, exact.likelihood, scale=2.5)
    expected = exact.score(X, t) + 2.5 * exact.scores(X, t, Y).likelihood
    torch.testing.assert_close(guided.score(X, t, Y), expected, rtol=1e-8, atol=1e-8)
    guided = ClassifierGuided(exact, exact.likelihood)
    torch.testing.assert_close(guided(X, t, Y), exact(X, t, Y), rtol=1e-8, atol=1e-8)


def test_labels_are_needed_and_schedules_must_agree():
    for guided in (ClassifierGuided(oracle(EDM()), oracle(EDM()).likelihood), DenoiserGuided(oracle(EDM()), None, 2.0)):
        with pytest.raises(ValueError, match="needs labels"):
            guided(X, torch.tensor(1.0))
    for kind, other in ((ClassifierGuided, oracle(VE()).likelihood), (DenoiserGuided, oracle(VE()))):
        with pytest.raises(ValueError, match="schedule"):
            kind(oracle(EDM()), other)


@pytest.mark.parametrize("schedule", [VE(), VP(), EDM()], ids=lambda s: s.kind)
def test_an_interval_holds_its_ends_in_spite_of_rounding_and_is_not_reversed(schedule):
    exact = oracle(schedule)
    levels = torch.tensor([0.03, 0.05, 0.1, 0.3, 0.7, 1, 3, 5, 7, 10, 20, 40], dtype=torch.float64)
    for level, t in zip(levels.tolist(), schedule.t_of_noise_level(levels), strict=True):
        for interval in ((level, 100.0), (0.01, level)):
            assert ClassifierGuided(exact, exact.likelihood, 2.0, interval).scale_at(t) == 2
    with pytest.raises(ValueError, match="low, high"):
        ClassifierGuided(exact, exact.likelihood, interval=(20.0, 0.1))


CURVE = ScaleCurve(levels=(0.1, 1.0, 10.0, 100.0), scales=(0.0, 0.0, 3.0, 1.0))


def test_a_curve_is_straight_over_the_logarithm_and_flat_beyond_its_ends():
    levels = torch.tensor([0.1, 0.5, 1.0, math.sqrt(10), 10.0, 10**1.75, 100.0, 1e4], dtype=torch.float64)
    expected = torch.tensor([0, 0, 0, 1.5, 3.0, 1.5, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(CURVE.at(levels), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.stack([CURVE.at(level) for level in levels]), CURVE.at(levels))
    assert bool((CURVE.at(torch.logspace(-3, 0, 500, dtype=torch.float64)[:-1]) == 0).all())  # exactly
    assert ScaleCurve(levels=(2.0,), scales=(1.5,)).at(levels).tolist() == [1.5] * 8


@pytest.mark.parametrize(
    ("levels", "scales", "message"),
    [
        ((1.0, 2.0), (1.0,), "2 noise levels cannot have 1 scales"),
        ((2.0, 1.0), (1.0, 1.0), "must rise"),
        ((1.0, 1.0), (1.0, 2.0), "must rise"),
        ((0.0, 1.0), (1.0, 2.0), "greater than 0"),
        ((), (), "at least 1"),
    ],
)
def test_curves_that_make_no_sense_are_refused(levels, scales, message):
    with pytest.raises(ValidationError, match=message):
        ScaleCurve(levels=levels, scales=scales)


@pytest.mark.parametrize(("scale", "interval", "on"), [(0, None, ()), (1.0, (2, 60), (50,)), (CURVE, None, (1.5, 50))])
def test_off_means_untouched_bits_and_no_classifier_call(scale, interval, on):
    exact = oracle(EDM())
    likelihood, sizes = counted(exact.likelihood)
    guided = ClassifierGuided(exact, likelihood, scale, interval)
    for level in (0.2, 0.9, 1.5, 50.0):
        sizes.clear()
        t = torch.tensor(level, dtype=torch.float64)
        assert torch.equal(guided(X, t, Y), exact(X, t)) is (level not in on)
        assert sizes == [6] * (level in on)


@pytest.mark.parametrize("schedule", [VE(), VP(), EDM()], ids=lambda s: s.kind)
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, CURVE])
def test_exact_models_make_classifier_free_guidance_equal_classifier_guidance(schedule, scale):
    """Bayes' rule: the difference of the two scores is the likelihood score."""
    exact = oracle(schedule)
    for level in (0.3, 2.0, 20.0):
        t = schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64))
        free, guided = DenoiserGuided(exact, None, scale), ClassifierGuided(exact, exact.likelihood, scale)
        torch.testing.assert_close(free(X, t, Y), guided(X, t, Y), rtol=1e-7, atol=1e-8)


def test_scale_one_is_the_main_model_alone_and_zero_is_the_guide():
    main, weak = Asked(oracle(EDM())), Asked(Oracle(EDM(), torch.zeros(3, 2), torch.arange(3), 3))
    t = torch.tensor(1.0, dtype=torch.float64)
    assert torch.equal(DenoiserGuided(main, weak, 1.0)(X, t, Y), main.inner(X, t, Y))
    assert (main.batches, weak.batches) == ([(6, True)], [])
    assert torch.equal(DenoiserGuided(main, weak, 0.0)(X, t, Y), weak.inner(X, t, Y))
    expected = 2.5 * main.inner.score(X, t, Y) - 1.5 * weak.inner.score(X, t, Y)
    torch.testing.assert_close(DenoiserGuided(main, weak, 2.5).score(X, t, Y), expected, rtol=1e-8, atol=1e-8)
    assert weak.batches == [(6, True)] * 2  # a guide that knows labels gets them
    unlabelled = expected - 2.5 * main.inner.score(X, t, Y) + 2.5 * main.inner.score(X, t)
    unlabelled += 1.5 * weak.inner.score(X, t, Y) - 1.5 * weak.inner.score(X, t)
    torch.testing.assert_close(DenoiserGuided(main, weak, 2.5).score(X, t), unlabelled, rtol=1e-8, atol=1e-8)


def test_outside_the_interval_the_conditional_model_runs_alone():
    main = Asked(oracle(EDM()))
    guided = DenoiserGuided(main, None, 2.0, (0.5, 2.0))
    for level, told in ((0.4, [True]), (0.5, [True, False]), (2.0, [True, False]), (2.1, [True])):
        main.batches.clear()
        guided(X, torch.tensor(level, dtype=torch.float64), Y)
        assert main.batches == [(6, one) for one in told]


UNET = UNetSettings(channels=16, multipliers=(1, 2), blocks=1, attention=(4,))


@pytest.mark.parametrize("network", [NET, UNET], ids=lambda n: n.kind)
@pytest.mark.parametrize("per_sample", [False, True])
def test_one_batch_of_two_questions_equals_two_batches(network, per_sample):
    torch.manual_seed(0)
    model = score_model(labels="embedding", network=network).eval()
    x, y, batches = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 1, 0, 1]), []
    t = torch.linspace(0.3, 3, 5, dtype=torch.float64) if per_sample else torch.tensor(0.7, dtype=torch.float64)
    with torch.no_grad():
        main, guide = model(x, t, y), model(x, t)
        model.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
        found = DenoiserGuided(model, None, 3.0)(x, t, y)
    assert batches == [10]
    assert float((main - guide).abs().max()) > 1e-3  # the label says something
    torch.testing.assert_close(found, guide + 3 * (main - guide), rtol=1e-4, atol=1e-5)


def test_samples_at_times_of_their_own_are_guided_where_the_interval_says_and_asked_about_nowhere_else():
    oracle = Oracle(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.arange(2), 2, stds=0.3)
    x_t, y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2
    t = torch.tensor([0.01, 0.5, 1.0, 3.0, 20.0, 70.0], dtype=torch.float64)
    weak = Asked(Oracle(EDM(), oracle.means, torch.arange(2), 2, stds=1.0))
    likelihood, sizes = counted(oracle.likelihood)
    by_classifier = ClassifierGuided(oracle, likelihood, 2.0, interval=(0.3, 5.0))
    by_denoiser = DenoiserGuided(oracle, weak, 2.0, interval=(0.3, 5.0))
    for guided, asked, expected in ((by_classifier, sizes, [3]), (by_denoiser, weak.batches, [(3, True)])):
        together = guided(x_t, t, y)
        assert asked == expected
        alone = torch.cat([guided(x_t[i : i + 1], t[i], y[i : i + 1]) for i in range(6)])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
