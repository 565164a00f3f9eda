import pytest
import torch
from models import NET

from condgen import Generator
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


@pytest.mark.parametrize("level", [None, 3.0])
def test_a_file_rebuilds_the_generator(level, tmp_path):
    model = generator(level=level)
    model.save(tmp_path)
    again, z, y = Generator.load(tmp_path), torch.randn(3, *model.latent_shape), torch.tensor([0, 1, 2])
    assert torch.equal(again(z, y), model(z, y))
    assert not any(parameter.requires_grad for parameter in again.parameters())
