import pytest
import torch
from models import NET, score_model

from condgen import EDM, VE, Generator, UNetSettings
from condgen.generator import GeneratorConfig

NAMES = ("a", "b", "c")


def generator(**changes):
    torch.manual_seed(0)
    given = {"network": NET, "shape": (6,), "names": NAMES, "latent": 5} | changes
    return GeneratorConfig(**given).build()


def test_a_generators_own_network_takes_a_latent_vector_and_the_class_and_is_scaled():
    one, ten = generator(), generator(scale=10.0)
    z, y = torch.randn(4, *one.latent_shape), torch.tensor([0, 1, 2, 0])
    assert one.latent_shape == (5,)
    assert one(z, y).shape == (4, 6)
    assert not torch.allclose(one(z, y), one(z, (y + 1) % 3))
    torch.testing.assert_close(ten(z, y), 10 * one(z, y))


@pytest.mark.parametrize("schedule", [VE(), EDM(), VE(sigma_min=0.1, sigma_max=20)], ids=repr)
@pytest.mark.parametrize(
    ("network", "shape"),
    [(NET, (6,)), (UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=()), (1, 8, 8))],
    ids=["mlp", "unet"],
)
def test_a_denoisers_network_asked_at_one_level_is_the_score_models_estimate_of_pure_noise(network, shape, schedule):
    """Where alpha is one, x_t = level z, and G(z, y) = E[x | x_t, y] by the same weights."""
    level, sigma_data = 3.0, 0.7
    model = generator(network=network, shape=shape, level=level, scale=sigma_data)
    about = {"network": network, "schedule": schedule, "shape": shape, "sigma_data": sigma_data}
    score = score_model(labels="embedding", names=NAMES, **about)
    score.net.load_state_dict(model.net.state_dict())
    z, y = torch.randn(5, *shape), torch.tensor([0, 1, 2, 0, 3])  # 3 stands for "no label"
    t = schedule.t_of_noise_level(torch.tensor(level, dtype=torch.float64))
    assert model.latent_shape == shape
    torch.testing.assert_close(model(z, y), score(level * z, t, y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [None, 3.0])
def test_a_file_rebuilds_the_generator(level, tmp_path):
    model = generator(level=level)
    model.save(tmp_path)
    again, z, y = Generator.load(tmp_path), torch.randn(3, *model.latent_shape), torch.tensor([0, 1, 2])
    assert torch.equal(again(z, y), model(z, y))
    assert not any(parameter.requires_grad for parameter in again.parameters())
