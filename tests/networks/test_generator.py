import pytest
import torch

from condgen.networks.generator import ConvGenerator, ConvGeneratorSettings


@pytest.mark.parametrize(
    ("shape", "multipliers", "smallest"), [((1, 8, 8), (4, 2, 1), (32, 1, 1)), ((1, 8, 16), (2, 1), (16, 2, 4))]
)
def test_every_stage_doubles_the_image(shape, multipliers, smallest):
    net = ConvGenerator(ConvGeneratorSettings(channels=8, multipliers=multipliers), shape, 10, 5)
    assert net.smallest == smallest
    assert net(torch.randn(2, 5), torch.tensor([1, 3])).shape == (2, *shape)


def test_the_latent_enters_every_block_beside_the_class():
    torch.manual_seed(0)
    net = ConvGenerator(ConvGeneratorSettings(channels=8, multipliers=(2, 1)), (1, 8, 8), 10, 5)
    z, y = torch.randn(2, 5), torch.tensor([4, 4])
    with torch.no_grad():
        net.enter.weight.zero_()
        net.enter.bias.normal_()
    different = net(z, y)
    assert (different[0] - different[1]).std() > 1e-2
    with torch.no_grad():
        net.latent.weight.zero_()
    same = net(z, y)
    torch.testing.assert_close(same[0], same[1])
