import pytest
import torch

from condgen.guidance import ClassifierGuided
from condgen.noise import EDM, VE, VP
from condgen.oracle import Oracle


def oracle(schedule):
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    return Oracle(schedule, means, torch.tensor([0, 1, 2]), 3, stds=0.4)


X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


class Counting(torch.nn.Module):
    def __init__(self, likelihood):
        super().__init__()
        self.inner, self.calls = likelihood, 0
        self.schedule = likelihood.schedule

    def score(self, *args):
        self.calls += 1
        return self.inner.score(*args)


@pytest.mark.parametrize("schedule", [VE(), VP(), EDM()], ids=lambda s: s.kind)
def test_exact_likelihood_at_scale_one_is_the_exact_posterior(schedule):
    exact = oracle(schedule)
    t = torch.tensor(0.3, dtype=torch.float64)
    guided = ClassifierGuided(exact, exact.likelihood)
    torch.testing.assert_close(guided(X, t, Y), exact(X, t, Y), rtol=1e-8, atol=1e-8)


def test_scale_multiplies_the_likelihood_score():
    exact, t = oracle(VP()), torch.tensor(0.4, dtype=torch.float64)
    guided = ClassifierGuided(exact, exact.likelihood, scale=2.5)
    expected = exact.score(X, t) + 2.5 * exact.scores(X, t, Y).likelihood
    torch.testing.assert_close(guided.score(X, t, Y), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("scale", "interval"), [(0.0, None), (1.0, (2.0, 5.0))])
def test_off_means_untouched_bits_and_no_classifier_call(scale, interval):
    exact = oracle(EDM())
    counting = Counting(exact.likelihood)
    guided = ClassifierGuided(exact, counting, scale, interval)
    t = torch.tensor(1.0, dtype=torch.float64)
    assert torch.equal(guided(X, t, Y), exact(X, t))
    assert counting.calls == 0


def test_interval_acts_per_sample():
    exact = oracle(EDM())
    guided = ClassifierGuided(exact, exact.likelihood, 1.0, (0.5, 2.0))
    t = torch.tensor([0.1, 0.5, 1.0, 2.0, 2.1, 50.0], dtype=torch.float64)
    moved = (guided(X, t, Y) != exact(X, t)).any(1)
    assert moved.tolist() == [False, True, True, True, False, False]


def test_labels_are_needed_and_schedules_must_agree():
    with pytest.raises(ValueError, match="needs labels"):
        ClassifierGuided(oracle(EDM()), oracle(EDM()).likelihood)(X, torch.tensor(1.0))
    with pytest.raises(ValueError, match="schedule"):
        ClassifierGuided(oracle(EDM()), oracle(VE()).likelihood)
