import math

import pytest
import torch
from models import Asked

from condgen import EDM, VP, ClassifierGuided, Cosine, DenoiserGuided, Oracle, held_out_differences, perturb
from condgen.diagnostics.held_out import add_errors, standard_errors
from condgen.diagnostics.score_errors import estimate_scores
from condgen.rng import keyed_generator

MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0], [0.3, -2.0]])


def mixture(schedule):
    return Oracle(schedule, MEANS, torch.tensor([0, 1, 0, 1]), 2, stds=0.4)


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
        "zero guidance": DenoiserGuided(exact, scale=0.0),
        "half": ClassifierGuided(exact, exact.likelihood, 0.5),
        "strong": ClassifierGuided(exact, exact.likelihood, 2.0),
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
    methods = {"zero guidance": DenoiserGuided(exact, scale=0.0), "labelled": exact}
    x, y = exact.sample(20_000, keyed_generator(0))
    (row,) = held_out_differences(methods, ["zero guidance"], x.float(), y, [1.0], draws=8, seed=1)
    covered = 0
    for repeat in range(200):
        x, y = exact.sample(60, keyed_generator(1, repeat))
        found = held_out_differences(methods, ["zero guidance"], x.float(), y, [1.0], draws=3, seed=1000 + repeat)
        covered += all(abs(one.mean - row.mean) < 1.96 * one.se for one in found)
    assert abs(covered / 200 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 200)


def test_shared_models_are_evaluated_once():
    """Zero guidance, all scales of a classifier and those of classifier-free guidance need three evaluations."""
    exact, gradients = mixture(EDM()), []
    prior, likelihood = Asked(exact), exact.likelihood
    methods = {"zero": DenoiserGuided(prior, scale=0.0), "labelled": prior}
    methods |= {str(scale): ClassifierGuided(prior, likelihood, scale) for scale in (0.0, 1.0, 2.0)}
    methods |= {f"free {scale}": DenoiserGuided(prior, scale=scale) for scale in (0.0, 1.0, 2.0)}
    likelihood.register_forward_pre_hook(lambda *_: gradients.append(1))
    scored = exact.likelihood.score
    likelihood.score = lambda *given: gradients.append(1) or scored(*given)
    x, y = exact.sample(10, keyed_generator(0))
    found = {name: score.whole for name, score in estimate_scores(methods, x.float(), torch.tensor(0.7), y).items()}
    assert sorted(prior.batches) == [(10, False), (10, True)]
    assert gradients == [1]
    for same in (("zero", "0.0", "free 0.0"), ("labelled", "free 1.0")):
        for name in same:
            assert torch.allclose(found[name], found[same[0]], rtol=1e-12)
    assert len({float(found[name].sum()) for name in ("zero", "labelled", "1.0", "2.0", "free 2.0")}) == 5


def test_images_go_through_the_models_a_batch_at_a_time_and_come_as_bytes_too():
    """A share of the images has the errors that these have among all, whatever the batch."""
    x = torch.randint(256, (30, 2), generator=keyed_generator(0), dtype=torch.uint8)
    y, exact = torch.arange(30) % 2, mixture(EDM())
    model = Asked(exact)
    methods = {"zero guidance": DenoiserGuided(model, scale=0.0), "labelled": model}
    of_bytes = held_out_differences(methods, ["labelled"], x, y, [0.5, 2.0], batch=7)
    assert max(size for size, _ in model.batches) == 7
    assert of_bytes == held_out_differences(methods, ["labelled"], x.float() / 127.5 - 1, y, [0.5, 2.0], batch=7)

    def errors(rows, batch):
        found = torch.zeros(rows.stop - rows.start, 2, 2, dtype=torch.float64)
        about = x, y, [0.5, 2.0], rows.start, x.device
        assert sum(add_errors(found, methods, *about, draws=2, seed=3, batch=batch)) == 4 * len(found)
        return found

    whole = errors(slice(0, 30), 30)
    assert whole.shape == (30, 2, 2)
    parts = [errors(rows, 4) for rows in (slice(0, 11), slice(11, 12), slice(12, 30))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)


def test_every_draw_has_noise_of_its_own():
    """The standard error over images of the mean of many draws is smaller than that of one."""
    exact = mixture(EDM())
    x, y = exact.sample(2000, keyed_generator(7))
    methods = {"zero guidance": DenoiserGuided(exact, scale=0.0), "labelled": exact}
    asked = methods, ["zero guidance"], x.float(), y, [0.3]
    one, many = (held_out_differences(*asked, draws=draws)[0].se for draws in (1, 8))
    assert many < 0.8 * one


def test_maps_are_differences_at_pixels_in_standard_errors_of_images():
    """Half of the image is guided right, so the labelled model is nearer there and nowhere else."""
    means = torch.zeros(2, 1, 4, 4)
    means[1, :, :, :2] = 2.0
    exact = Oracle(EDM(), means, torch.tensor([0, 1]), 2, stds=0.4)
    methods = {"zero": DenoiserGuided(exact, scale=0.0), "labelled": exact}
    x, y = exact.sample(300, keyed_generator(0))
    errors, maps = torch.zeros(300, 1, 2, dtype=torch.float64), torch.zeros(2, 1, 1, 4, 4, dtype=torch.float64)
    pairs = [("labelled", "zero")]
    how = {"draws": 2, "seed": 0, "batch": 70, "pairs": pairs, "maps": maps}
    assert sum(add_errors(errors, methods, x.float(), y, [1.0], 0, torch.device("cpu"), **how)) == 600
    mean = maps[0, 0, 0] / 300
    assert float(mean.mean()) == pytest.approx(float((errors[:, 0, 1] - errors[:, 0, 0]).mean()), rel=1e-6)
    z = standard_errors(maps, 300)[0, 0]
    assert bool((z[:, :2] < -1).all())
    assert bool((z[:, 2:] == 0).all())
    draws = torch.randn(300, dtype=torch.float64, generator=keyed_generator(1))
    alone = torch.stack((draws.sum(), draws.square().sum()))[:, None, None, None, None]
    expected = float(draws.mean() / (draws.std() / 300**0.5))
    assert float(standard_errors(alone, 300)) == pytest.approx(expected, rel=1e-9)
