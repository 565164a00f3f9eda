import copy

import pytest
import torch
from models import classifier as small_classifier, score_model
from samplers.conftest import GaussianDenoiser
from torch import nn

from condgen import DLSM, EDM, VE, VP, Likelihood, MLPSettings, Oracle, ResNetSettings, dlsm_loss, perturb
from condgen.losses.base import Noised, compiled_gradient, gradient_of
from condgen.losses.dlsm import PRESETS
from condgen.networks.timm import TimmSettings
from condgen.schedules import expand

MEANS = torch.tensor([[-1.5, 0.5], [1.5, -0.5], [0.0, 2.0]], dtype=torch.float64)


def oracle(schedule):
    return Oracle(schedule, MEANS, torch.arange(3), 3, stds=0.6)


class Affine(Likelihood):
    """log softmax(W x / alpha + b): its input gradient can be written by hand."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.n_classes = schedule, 3
        self.weight = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.2]], dtype=torch.float64))

    def forward(self, x_t, t):
        return ((x_t / expand(self.schedule.alpha(t), x_t)) @ self.weight.T).log_softmax(1)


def estimate(prior, x, t, eps):
    return prior.eps(perturb(prior.schedule, x, t, eps), t)


def noised(prior, x, y, t, eps):
    return Noised(x, y, t, eps, estimate(prior, x, t, eps))


def batch(schedule, n=20_000, level=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = oracle(schedule).sample(n, generator)
    t = schedule.t_of_noise_level(torch.full((n,), level))
    return x, y, t, torch.randn(x.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("schedule", [VE(), VP(), EDM()], ids=lambda s: s.kind)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("sigma_weight", [0.0, 1.0, 2.0])
def test_dlsm_equals_its_formula_with_a_gradient_written_by_hand(schedule, reduction, sigma_weight):
    x, y, t, eps = batch(schedule, n=50)
    t = schedule.t_of_noise_level(torch.linspace(0.3, 3, 50, dtype=torch.float64))
    classifier, prior = Affine(schedule), oracle(schedule)
    objective = DLSM(ce_weight=0.7, sigma_weight=sigma_weight, reduction=reduction)
    losses = objective(classifier, noised(prior, x, y, t, eps))

    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x_t = perturb(schedule, x, t, eps)
    p = classifier(x_t, t).exp().detach()
    w = classifier.weight.detach()
    gradient = (w[y] - p @ w) / alpha  # of log softmax
    residual = gradient + prior.score(x_t, t) + eps / sigma
    # in the noise level's own units: scores of u = x_t / alpha are alpha times those of x_t
    squares = (sigma / alpha) ** (2 * sigma_weight) * (alpha * residual) ** 2
    dlsm = 0.5 * (squares.sum(1) if reduction == "sum" else squares.mean(1))
    cross_entropy = -p.log().gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(losses["dlsm"], dlsm)
    torch.testing.assert_close(losses["ce"], cross_entropy)
    torch.testing.assert_close(losses["loss"], dlsm + 0.7 * cross_entropy)
    how = {"ce_weight": 0.7, "sigma_weight": sigma_weight, "reduction": reduction}
    assert torch.equal(dlsm_loss(classifier, prior, x, y, t, eps, **how), losses["loss"])


def test_dlsm_differs_from_the_exact_likelihood_score_matching_by_a_constant():
    """The theorem of the paper: the difference of two classifiers' DLSM is the difference of their score errors."""
    schedule = VE()
    x, y, t, eps = batch(schedule, n=200_000)
    exact, objective = oracle(schedule), DLSM(ce_weight=0, reduction="sum")
    x_t = perturb(schedule, x, t, eps)
    truth = exact.scores(x_t, t, y).likelihood
    first, second = Affine(schedule), Affine(schedule)
    with torch.no_grad():
        second.weight.mul_(-2)
    values, errors = [], []
    for classifier in (first, second):
        values.append(float(objective(classifier, noised(exact, x, y, t, eps))["loss"].detach().mean()))
        errors.append(float((0.5 * (classifier.score(x_t, t, y) - truth).square().sum(1)).mean()))
    assert values[1] - values[0] == pytest.approx(errors[1] - errors[0], rel=0.03)


def test_gain_is_zero_without_gradient_and_negative_for_the_truth():
    schedule = VP()
    x, y, t, eps = batch(schedule, n=50_000, level=0.8)
    objective, prior = DLSM(ce_weight=0, sigma_weight=1, reduction="mean"), oracle(schedule)
    flat = Affine(schedule)
    with torch.no_grad():
        flat.weight.zero_()
    assert torch.allclose(objective(flat, noised(prior, x, y, t, eps))["gain"], torch.zeros(50_000).double())
    truth = objective(prior.likelihood, noised(prior, x, y, t, eps))
    exact = prior.scores(perturb(schedule, x, t, eps), t, y).likelihood
    level_squared = float(schedule.sigma(t[:1])) ** 2
    expected = -0.5 * level_squared * float(exact.square().mean())  # minus the error of zero guidance
    assert float(truth["gain"].mean()) == pytest.approx(expected, rel=0.1)


def test_the_frozen_prior_receives_no_gradient(tiny_images):
    classifier, prior = small_classifier(tiny_images), score_model(tiny_images)
    x, y = tiny_images.floats(), tiny_images.y
    t = torch.full((60,), 0.5, dtype=torch.float64)
    dlsm_loss(classifier, prior, x, y, t, torch.randn(x.shape)).mean().backward()
    assert all(parameter.grad is None for parameter in prior.parameters())
    assert all(parameter.grad is not None for parameter in classifier.parameters())


def test_validation_needs_no_graph(tiny_images):
    x, t = tiny_images.floats(), torch.full((60,), 0.5, dtype=torch.float64)
    exact = Oracle(EDM(), x, tiny_images.y, 3)
    with torch.no_grad():
        loss = dlsm_loss(small_classifier(tiny_images), exact, x, tiny_images.y, t, torch.randn(x.shape))
    assert not loss.requires_grad
    with pytest.raises(ValueError, match="needs the estimate of the prior"):
        DLSM()(small_classifier(tiny_images), Noised(x, tiny_images.y, t, torch.randn(x.shape)))


@pytest.mark.parametrize(
    ("network", "dtype", "tolerance"),
    [
        (MLPSettings(width=24, depth=2, embedding=8), torch.float32, 1e-5),
        (ResNetSettings(width=8, blocks=(1, 1)), torch.float64, 1e-10),
        (TimmSettings(name="test_vit", embedding=8), torch.float64, 1e-10),
    ],
    ids=["mlp", "resnet", "timm"],
)
def test_every_way_to_the_gradient_gives_the_double_backward_of_the_framework(network, dtype, tolerance):
    """All parameters as one vector, relative to the plain double backward pass in float64."""
    torch.manual_seed(0)
    classifier = small_classifier(network=network, shape=(3, 16, 16), names=("a", "b", "c")).double()
    x, eps = torch.randn(2, 4, 3, 16, 16, dtype=torch.float64)
    y, t = torch.arange(4) % 3, torch.linspace(0.1, 5, 4, dtype=torch.float64)

    def gradients(model, gradient, dtype):
        data, noise = x.to(dtype), eps.to(dtype)
        prior_eps = estimate(GaussianDenoiser(EDM()), data, t, noise)
        loss = DLSM(reduction="mean")(model, Noised(data, y, t, noise, prior_eps), gradient)["loss"].mean()
        found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        return torch.cat([g.double().flatten() for g in found])

    exact = gradients(classifier, gradient_of, torch.float64)
    model = copy.deepcopy(classifier).to(dtype)
    for gradient in (gradient_of, compiled_gradient("eager")):
        assert (gradients(model, gradient, dtype) - exact).norm() <= tolerance * exact.norm()


def test_the_cifar_preset_has_the_papers_balance_on_pixels_from_zero_to_one():
    """Lambda 1 there: the same problem in units half as large differs by a factor alone."""
    x, y, t, eps = batch(EDM(), n=20)

    def total(unit, objective):
        exact = Oracle(EDM(), unit * MEANS, torch.arange(3), 3, stds=0.6 * unit)
        return objective(exact.likelihood, noised(exact, unit * x, y, unit * t, eps))["loss"]

    paper = DLSM(ce_weight=1.0, sigma_weight=0.0, reduction="mean")
    torch.testing.assert_close(total(2.0, PRESETS["dlsm-cifar"]), total(1.0, paper) / 4)
