"""Heads give the likelihood scores of closed forms: sets of classes, numbers, attributes."""

import pytest
import torch
from torch import nn

import condgen as cg
from condgen.heads import HEADS
from condgen.oracle import Oracle, OracleLikelihood
from condgen.schedules import EDM, VP, LogNormal

MEANS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
LEVELS = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
STD = 0.5  # of every component


class Exact(nn.Module):
    """A network that gives `outputs(u, level)` of its preconditioned input, for data of standard deviation one."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, noise):
        level = (4 * noise.double()).exp()[:, None]
        return self.outputs(x.double() * (1 + level**2).sqrt(), level)


def queries(schedule):
    t = schedule.t_of_noise_level(LEVELS).repeat(8)
    x_t = 2 * torch.randn(len(t), 2, dtype=torch.float64, generator=torch.manual_seed(0))
    return x_t, t


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=["edm", "vp"])
def test_a_set_of_classes_is_the_class_of_their_union(schedule):
    x_t, t = queries(schedule)
    fine = Oracle(schedule, MEANS, torch.arange(4), 4, stds=STD)
    coarse = Oracle(schedule, MEANS, torch.tensor([0, 0, 1, 1]), 2, stds=STD)
    y = torch.arange(len(t)) % 2
    sets = torch.tensor([[True, True, False, False], [False, False, True, True]])[y]
    wanted = coarse.scores(x_t, t, y)
    torch.testing.assert_close(OracleLikelihood(fine).score(x_t, t, sets), wanted.likelihood)
    every = OracleLikelihood(fine).score(x_t, t, torch.ones_like(sets))
    torch.testing.assert_close(every, torch.zeros_like(every))
    guided = cg.ClassifierGuided(fine, OracleLikelihood(fine))
    torch.testing.assert_close(guided.score(x_t, t, sets), wanted.posterior)
    assert cg.sample(guided, sets[:3], nfe=6).shape == (3, 2)


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=["edm", "vp"])
def test_numbers_of_gaussian_data_have_the_posterior_of_their_closed_form(schedule):
    """x ~ N(0, I), y = a.x + b e: given u = x_t / alpha, y is normal of mean a.u / (1 + s^2), e the noise."""
    a, b = torch.tensor([0.7, -1.2], dtype=torch.float64), 0.4

    def outputs(u, level):
        variance = b**2 + a.square().sum() * level**2 / (1 + level**2)
        return torch.cat(((u @ a)[:, None] / (1 + level**2), 0.5 * variance.log()), 1)

    x_t, t = queries(schedule)
    classifier = cg.Classifier(Exact(outputs), schedule, (2,), ("y",), sigma_data=1.0, head="gaussian")
    y = torch.linspace(-2, 2, len(t), dtype=torch.float64)
    alpha, level = schedule.alpha(t)[:, None], schedule.noise_level(t)[:, None]
    u = x_t / alpha
    gain = a / (b**2 + a.square().sum())  # E[x | y] = gain y, and the covariance of x given y is:
    covariance = torch.eye(2, dtype=torch.float64) - gain[:, None] * a
    noisy = covariance + torch.eye(2, dtype=torch.float64) * level[..., None] ** 2
    posterior = -torch.linalg.solve(noisy, (u - gain * y[:, None])[..., None])[..., 0] / alpha
    prior = -u / (1 + level**2) / alpha
    torch.testing.assert_close(classifier.score(x_t, t, y), posterior - prior)
    total = sum(
        HEADS["gaussian"].log_prob(torch.tensor([[0.3, -0.5]]), at[None]).exp() for at in torch.arange(-9, 9, 0.01)
    )
    assert float(total) * 0.01 == pytest.approx(1, abs=1e-5)


def test_attributes_of_a_mixture_have_its_posterior_and_those_not_said_do_nothing():
    """The mixture's two attributes, right of the middle and above it, are independent given x_t."""
    schedule = EDM()
    x_t, t = queries(schedule)
    classifier = cg.Classifier(
        Exact(lambda u, level: 2 * u / (STD**2 + level**2)),
        schedule,
        (2,),
        ("right", "above"),
        sigma_data=1.0,
        head="bernoulli",
    )
    oracle = Oracle(schedule, MEANS, torch.arange(4), 4, stds=STD)
    label = torch.arange(len(t)) % 4
    attributes = torch.stack((label < 2, label % 2 == 0), 1).double()
    torch.testing.assert_close(classifier.score(x_t, t, attributes), oracle.scores(x_t, t, label).likelihood)
    attributes[:, 1] = torch.nan
    halves = torch.tensor([[True, True, False, False], [False, False, True, True]])[label // 2]
    torch.testing.assert_close(classifier.score(x_t, t, attributes), OracleLikelihood(oracle).score(x_t, t, halves))


@pytest.mark.parametrize("head", ["gaussian", "bernoulli"])
def test_dlsm_and_likelihood_train_every_head_and_files_keep_it(head, tmp_path):
    """After training on moving pairs, guidance to y = 1 and to y = 0 leads to the two sides."""
    torch.manual_seed(0)
    about = {"network": {"kind": "mlp", "width": 32, "depth": 1}, "schedule": {"kind": "edm"}, "shape": (2,)}
    config = cg.Classifier.config_type.model_validate(about | {"names": ("side",), "sigma_data": 1.0, "head": head})
    classifier, prior = config.build(), Oracle(EDM(), MEANS, torch.arange(4), 4, stds=0.2)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=5e-3)
    for step in range(150):
        x, label = prior.sample(64, torch.manual_seed(step))
        y, t = (
            (label < 2).float()[:, None],
            LogNormal(mean=0, std=1).quantile(EDM(), torch.rand(64, dtype=torch.float64)),
        )
        loss = cg.dlsm_loss(classifier, prior, x.float(), y, t, torch.randn(64, 2)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    classifier.save(tmp_path)
    guided = cg.ClassifierGuided(prior, cg.load(tmp_path))
    y = torch.tensor([1, 0]).repeat(20)  # as good as floats, (n, 1)
    sides = cg.sample(guided, y, nfe=12)[:, 0].sign()
    assert float((sides == 2 * y - 1).float().mean()) >= 0.85
    assert torch.equal(cg.sample(guided, y[:4].float()[:, None], nfe=12)[:, 0].sign(), sides[:4])
    whole = cg.dlsm_loss(classifier, prior, x.float(), y.repeat(2)[:64], t, torch.randn(64, 2))
    assert whole.shape == (64,)  # labels of another head have no accuracy


def test_what_a_head_does_not_take_is_refused():
    likelihood = OracleLikelihood(Oracle(EDM(), MEANS, torch.arange(4), 4))
    with pytest.raises(TypeError, match="labels are whole numbers"):
        likelihood.log_prob(torch.zeros(2, 4), torch.tensor([0.5, 1.5]))
    for no_set in (torch.ones(2, 1, dtype=torch.bool), torch.ones(4, dtype=torch.bool)):
        with pytest.raises(TypeError, match="sets of classes"):
            likelihood.log_prob(torch.zeros(2, 4), no_set)
    with pytest.raises(ValueError, match="name one at least"):
        likelihood.log_prob(torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="shape"):
        HEADS["bernoulli"].log_prob(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="label smoothing"):
        cg.cross_entropy_loss(
            likelihood,
            *(torch.zeros(1, 2), torch.ones(1, 4, dtype=torch.bool)),
            torch.ones(1).double(),
            torch.zeros(1, 2),
            0.1,
        )
