import pytest
import torch

from condgen import EDM, VP, ClassifierGuided, Denoiser, DenoiserGuided, Likelihood, Oracle, ScaleCurve, perturb
from condgen.diagnostics.score_errors import EXACT, draw_queries, grid_queries, likelihood_fields, measure, summarise
from condgen.schedules import expand

MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0], [0.3, -2.0]])


def oracle(schedule):
    return Oracle(schedule, MEANS, torch.tensor([0, 1, 0, 1]), 2, stds=0.4)


def noised(exact, n, level):
    """Noised draws from the oracle at one level: time, x_t, labels."""
    x, eps, y = draw_queries(exact, n, torch.Generator().manual_seed(0))
    t = exact.schedule.t_of_noise_level(torch.tensor(level))
    return t, perturb(exact.schedule, x.double(), t, eps), y


class Scaled(Likelihood):
    """The exact classifier with its log-odds multiplied, so its score is wrong by a known factor."""

    def __init__(self, exact, factor):
        super().__init__()
        self.exact, self.factor = exact, factor
        self.schedule, self.n_classes = exact.schedule, 2

    def forward(self, x_t, t):
        return self.exact.log_posterior(x_t, t)

    def score(self, x_t, t, y):
        return self.factor * self.exact.scores(x_t, t, y).likelihood


class Shifted(Denoiser):
    """The exact denoiser with its score moved by a constant vector."""

    def __init__(self, exact, shift):
        super().__init__()
        self.exact, self.shift, self.schedule = exact, shift, exact.schedule

    def forward(self, x_t, t, y=None):
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return self.exact(x_t, t) + sigma**2 / alpha * self.shift.to(x_t.dtype)


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_exact_models_have_no_error(schedule):
    exact = oracle(schedule)
    t, x_t, y = noised(exact, 200, 0.7)
    methods = {"bayes": ClassifierGuided(exact, exact.likelihood), "conditional": exact, "cfg": DenoiserGuided(exact)}
    errors = {key: found for key, found in measure(exact, exact, methods, t, x_t, y).items() if key[0] != EXACT}
    true = exact.scores(x_t, t, y)
    scale = float(true.likelihood.norm(dim=1).mean())
    assert errors.keys() == {
        *(("prior", "D"), ("zero guidance", "D_P"), ("zero guidance", "D_L")),
        *(("bayes", "D_P"), ("bayes", "D_L"), ("conditional", "D_P"), ("cfg", "D_P")),
    }
    for method, quantity in errors.keys() - {("zero guidance", "D_P"), ("zero guidance", "D_L")}:
        assert float(errors[method, quantity].mean()) < 1e-4 * scale, (method, quantity)
    for quantity in ("D_P", "D_L"):  # with an exact prior, what is missing is the likelihood score
        torch.testing.assert_close(errors["zero guidance", quantity], true.likelihood.norm(dim=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=lambda s: s.kind)
def test_known_errors_are_found(schedule):
    """A prior off by a vector of length 0.5 and a classifier off by a factor: every norm is known."""
    exact, shift = oracle(schedule), torch.tensor([0.3, -0.4])
    t, x_t, y = noised(exact, 200, 0.7)
    prior, likelihood = Shifted(exact, shift), Scaled(exact, 3.0)
    scales = {"none": 0.0, "half": 0.5, "full": 1.0, "curve": ScaleCurve(levels=(0.7,), scales=(0.25,))}
    methods = {name: ClassifierGuided(prior, likelihood, scale) for name, scale in scales.items()}
    methods["outside"] = ClassifierGuided(prior, likelihood, 1.0, (1.0, 2.0))
    methods["exact prior"] = ClassifierGuided(exact, likelihood)
    errors = measure(exact, prior, methods, t, x_t, y, batch=64)
    true = exact.scores(x_t, t, y).likelihood
    torch.testing.assert_close(errors["prior", "D"], torch.full((200,), 0.5).double(), rtol=1e-3, atol=1e-3)
    known = {"none": 0.0, "half": 0.5, "full": 1.0, "curve": 0.25, "outside": 0.0, "exact prior": 1.0}
    for name, scale in known.items():
        error = (3 * scale - 1) * true
        torch.testing.assert_close(errors[name, "D_L"], error.norm(dim=1), rtol=1e-3, atol=1e-4)
        by_hand = (error if name == "exact prior" else shift.double() + error).norm(dim=1)
        torch.testing.assert_close(errors[name, "D_P"], by_hand, rtol=1e-3, atol=2e-3)


def test_rows_say_what_was_measured():
    exact = oracle(EDM())
    queries = grid_queries(exact, (-2, 2), (-3, 3), 5, 1.5)
    methods = {"ce": ClassifierGuided(exact, Scaled(exact, 2.0))}
    rows = summarise(1.5, "grid", measure(exact, exact, methods, *queries))
    by_name = {(row.method, row.quantity): row for row in rows}
    zero, ce = by_name["zero guidance", "D_L"], by_name["ce", "D_L"]
    norms = exact.scores(queries[1], queries[0], queries[2]).likelihood.norm(dim=1)
    assert (zero.mean, zero.sd, zero.n) == (pytest.approx(float(norms.mean())), pytest.approx(float(norms.std())), 50)
    assert by_name["prior", "D"].exact == pytest.approx(
        float(exact.scores(queries[1], queries[0], queries[2]).prior.norm(dim=1).mean())
    )
    assert (zero.exact, ce.exact) == (pytest.approx(float(norms.mean())),) * 2
    assert zero.mean / zero.exact == pytest.approx(1)  # no guidance is as wrong as a score of zero
    assert ce.mean == pytest.approx(zero.mean, rel=1e-3)  # twice too long is as wrong as nothing


def test_grid_runs_x_fastest_once_a_class_and_fields_follow_it():
    exact = oracle(EDM())
    t, x_t, y = grid_queries(exact, (-2, 2), (-3, 3), 3, 1.0)
    assert x_t[:4].tolist() == [[-2, -3], [0, -3], [2, -3], [-2, 0]]
    assert y.tolist() == [0] * 9 + [1] * 9
    fields = likelihood_fields(exact, {"x2": Scaled(exact, 2.0)}, t, x_t, y)
    assert fields["exact"].shape == (2, 9, 2)
    torch.testing.assert_close(fields["x2"], 2 * fields["exact"], rtol=1e-4, atol=1e-6)
    one = exact.scores(x_t[4:5], t, torch.tensor([0])).likelihood[0]
    torch.testing.assert_close(fields["exact"][0, 4], one)
