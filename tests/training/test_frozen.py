import copy

import pytest
import torch

from condgen.generator import Generator, GeneratorConfig
from condgen.nets import UNetSettings
from condgen.noise import EDM
from condgen.score import ScoreConfig, ScoreModel
from condgen.training import PriorSettings, lighten_


def test_half_precision_changes_a_prior_a_little_and_its_weights_not_at_all():
    torch.manual_seed(0)
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
    about = {"schedule": EDM(), "shape": (1, 8, 8), "names": ("a",), "sigma_data": 0.5}
    prior = ScoreModel(ScoreConfig(network=network, **about)).eval()
    light = lighten_(copy.deepcopy(prior), PriorSettings(precision="bfloat16"))
    x_t, t = torch.randn(4, 1, 8, 8), torch.linspace(0.1, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        exact, rough = prior.eps(x_t, t), light.eps(x_t, t)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() < 0.02 * exact.norm()
    for a, b in zip(prior.parameters(), light.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.slow
def test_a_compiled_prior_says_the_same():
    torch.manual_seed(0)
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
    about = {"schedule": EDM(), "shape": (1, 8, 8), "names": ("a",), "sigma_data": 0.5}
    prior = ScoreModel(ScoreConfig(network=network, **about)).eval()
    fast = lighten_(copy.deepcopy(prior), PriorSettings(compile=True))
    x_t, t = torch.randn(4, 1, 8, 8), torch.linspace(0.1, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast.eps(x_t, t), prior.eps(x_t, t), rtol=1e-4, atol=1e-5)


def test_a_generator_in_half_precision_draws_nearly_the_same():
    torch.manual_seed(0)
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
    about = {"network": network, "shape": (1, 8, 8), "names": ("a", "b"), "scale": 0.5, "level": 2.5}
    generator = Generator(GeneratorConfig(**about)).eval()
    light = lighten_(copy.deepcopy(generator), PriorSettings(precision="bfloat16"))
    z, y = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    with torch.no_grad():
        exact, rough = generator(z, y), light(z, y)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() < 0.02 * exact.norm()


def test_a_prior_in_half_precision_can_be_differentiated_as_a_teacher_is():
    torch.manual_seed(0)
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
    about = {"schedule": EDM(), "shape": (1, 8, 8), "names": ("a",), "sigma_data": 0.5}
    prior = ScoreModel(ScoreConfig(network=network, **about)).eval().requires_grad_(False)
    light = lighten_(copy.deepcopy(prior), PriorSettings(precision="bfloat16"))
    x_t, t = torch.randn(4, 1, 8, 8, requires_grad=True), torch.linspace(0.1, 3, 4, dtype=torch.float64)
    exact, rough = (torch.autograd.grad(model(x_t, t).square().sum(), x_t)[0] for model in (prior, light))
    assert (rough - exact).norm() < 0.02 * exact.norm()


def test_by_default_nothing_changes():
    prior = ScoreModel(
        ScoreConfig(
            network=UNetSettings(channels=8, multipliers=(1,)),
            schedule=EDM(),
            shape=(1, 8, 8),
            names=("a",),
            sigma_data=0.5,
        )
    )
    net = prior.net
    assert lighten_(prior, PriorSettings()).net is net
