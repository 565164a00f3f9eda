"""Laws of moment matching: closed forms of Gaussians, classes apart, rest at the data."""

import pytest
import torch
from models import NET
from processes import ALONE

from condgen import LabelledSet
from condgen.generator import GeneratorConfig
from condgen.losses.moment_matching import moment_matching_loss
from condgen.training.generator_tasks import MomentTask
from condgen.training.loop import train
from condgen.training.settings import TrainingSettings
from condgen.training.state import State

N = 1500
same = pytest.approx


def normal(n, d=1, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_normal(std, h):
    """E h (1 - exp(-|u| / h)) for u of N(0, std^2)."""
    return h * (1 - torch.special.erfcx(std / h / 2**0.5))


@pytest.mark.parametrize(("g", "h", "each"), [(0.5, 1, N), (2, 1, N), (1, 0.3, N), (1, 1e4, N), (1, 1, 2)])
def test_value_and_gradient_are_those_of_two_gaussians(g, h, each):
    """Data are N(0, 1), generated g z, which rests at g = 1. Two samples a class have no bias either."""
    std, y = torch.tensor(g, dtype=torch.float64, requires_grad=True), torch.arange(N) // each
    loss = moment_matching_loss(std * normal(N), y, normal(N, seed=1), h).mean()
    expected = of_normal((1 + std**2).sqrt(), h) - 0.5 * of_normal(2**0.5 * std, h)
    (slope,), (expected_slope,) = (torch.autograd.grad(each, std) for each in (loss, expected))
    assert [loss.item(), slope.item()] == same([expected.item(), expected_slope.item()], abs=0.04)
    assert g != 1 or expected_slope.abs() < 1e-6


def test_classes_do_not_see_each_other_and_one_alone_counts_nothing():
    x, real, y = normal(9, 3), normal(9, 3, seed=1), torch.tensor([0, 1, 0, 1, 0, 1, 1, 0, 2])
    apart = [moment_matching_loss(x[y == label], y[y == label], real[y == label], 0.5) for label in (0, 1)]
    whole = moment_matching_loss(x, y, real, 0.5)
    torch.testing.assert_close([whole[y == label] for label in (0, 1, 2)], [*apart, torch.zeros(1).double()])


def test_a_generator_learns_the_mean_and_deviation_of_each_class():
    torch.manual_seed(0)
    y = torch.arange(2000) % 2
    x = (2.0 * y - 1 + (0.2 + 0.6 * y) * normal(2000)[:, 0])[:, None].float()
    data = LabelledSet(x, y, ("narrow", "wide"), "points", "train")
    model = GeneratorConfig(network=NET, shape=(1,), names=data.names, latent=4).build()
    task, settings = MomentTask(model, 1.0), TrainingSettings(steps=300, batch=128, lr=1e-2)
    state = State.fresh(task.models, settings.betas)
    for _ in train(task, state, data, settings, 0, ALONE):
        pass
    found = state.ema(torch.randn(4000, 4), torch.arange(4000) % 2).detach()[:, 0]
    for of_class, real in ((found[label::2], x[label::2, 0]) for label in (0, 1)):
        assert [of_class.mean().item(), of_class.std().item()] == same([real.mean().item(), real.std().item()], abs=0.1)
