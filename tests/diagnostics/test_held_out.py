import math

import pytest
import torch

from condgen.denoiser import Denoiser
from condgen.diagnostics.held_out import denoising_errors, held_out_differences
from condgen.guidance import ClassifierGuided, DenoiserGuided
from condgen.oracle import Oracle
from condgen.rng import keyed_generator
from condgen.schedules import EDM, VP, Cosine, perturb

MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0], [0.3, -2.0]])


def mixture(schedule):
    return Oracle(schedule, MEANS, torch.tensor([0, 1, 0, 1]), 2, stds=0.4)


class Unlabelled(Denoiser):
    """The exact denoiser without the label."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.schedule = exact, exact.schedule

    def forward(self, x_t, t, y=None):
        return self.exact(x_t, t).to(x_t.dtype)


def squared_error(exact, method, level, n, seed):
    """Mean squared error of a method's posterior score against the exact one, in sigma squared a dimension."""
    x, y = exact.sample(n, keyed_generator(seed))
    t = exact.schedule.t_of_noise_level(torch.tensor(level))
    x_t = perturb(exact.schedule, x.double(), t, torch.randn(x.shape, generator=keyed_generator(seed, 1)).double())
    error = method.score(x_t.float(), t, y).double() - exact.scores(x_t, t, y).posterior
    return float((float(exact.schedule.sigma(t)) * error).square().mean(1).mean())


@pytest.mark.parametrize("schedule", [EDM(), VP(), Cosine()], ids=lambda s: s.kind)
@pytest.mark.parametrize("level", [0.3, 1.0, 4.0])
def test_differences_are_those_of_true_squared_score_errors(schedule, level):
    """Held-out differences know no exact score, and agree with exact ones within three standard errors."""
    exact = mixture(schedule)
    methods = {
        "zero guidance": Unlabelled(exact),
        "half": ClassifierGuided(Unlabelled(exact), exact.likelihood, 0.5),
        "strong": ClassifierGuided(Unlabelled(exact), exact.likelihood, 2.0),
        "labelled": exact,
        "cfg": DenoiserGuided(exact, scale=1.5),
    }
    x, y = exact.sample(4000, keyed_generator(7))
    true = {name: squared_error(exact, method, level, 20_000, 11) for name, method in methods.items()}
    rows = list(held_out_differences(methods, ["zero guidance", "labelled"], x.float(), y, [level], draws=2, seed=3))
    assert len(rows) == 8
    for row in rows:
        assert (row.sigma, row.n_images, row.draws) == (level, 4000, 2)
        exactly = true[row.method] - true[row.reference]
        assert abs(row.mean - exactly) < 3 * row.se + 0.02 * max(true.values())
    by_name = {(row.method, row.reference): row.mean for row in rows}
    assert by_name["labelled", "zero guidance"] == -by_name["zero guidance", "labelled"]


def test_the_interval_covers_the_mean():
    """Of 200 repeats with 3 correlated draws of each of 60 images, about 95% lie within 1.96 standard errors."""
    exact = mixture(EDM())
    methods = {"zero guidance": Unlabelled(exact), "labelled": exact}
    x, y = exact.sample(20_000, keyed_generator(0))
    (row,) = held_out_differences(methods, ["zero guidance"], x.float(), y, [1.0], draws=8, seed=1)
    covered = 0
    for repeat in range(200):
        x, y = exact.sample(60, keyed_generator(1, repeat))
        found = held_out_differences(methods, ["zero guidance"], x.float(), y, [1.0], draws=3, seed=1000 + repeat)
        covered += all(abs(one.mean - row.mean) < 1.96 * one.se for one in found)
    assert abs(covered / 200 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 200)


def test_batches_change_nothing():
    exact = mixture(EDM())
    methods = {"labelled": exact, "guided": ClassifierGuided(Unlabelled(exact), exact.likelihood, 1.5)}
    x, y = exact.sample(50, keyed_generator(0))
    (whole,) = held_out_differences(methods, ["labelled"], x.float(), y, [0.7], seed=5)
    (parts,) = held_out_differences(methods, ["labelled"], x.float(), y, [0.7], seed=5, batch=7)
    assert (parts.mean, parts.se) == (pytest.approx(whole.mean), pytest.approx(whole.se))


def test_shared_models_are_evaluated_once():
    exact, calls = mixture(EDM()), []
    prior = Unlabelled(exact)
    prior.register_forward_hook(lambda *_: calls.append(1))
    methods = {str(scale): ClassifierGuided(prior, exact.likelihood, scale) for scale in (0.0, 1.0, 2.0)}
    x, y = exact.sample(10, keyed_generator(0))
    found = denoising_errors(methods, x.float(), y, torch.tensor(0.7, dtype=torch.float64), torch.randn(10, 2))
    assert len(calls) == 1
    assert found["1.0"].shape == (10,)
    assert not torch.equal(found["0.0"], found["1.0"])


def test_what_cannot_be_compared_is_refused():
    exact, y = mixture(EDM()), torch.zeros(2, dtype=torch.long)
    cases = (({"a": exact}, ["a"], 1), ({"a": exact}, ["b"], 2), ({"a": exact, "b": mixture(VP())}, ["a"], 2))
    for (methods, references, n), words in zip(cases, ("at least 2", "'b' is none", "schedule"), strict=True):
        with pytest.raises(ValueError, match=words):
            next(held_out_differences(methods, references, torch.zeros(n, 2), y[:n], [1.0]))
