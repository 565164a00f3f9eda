import pytest
import torch
from torch import nn

from condgen.networks.blocks import ResidualBlock
from condgen.networks.resnet import ResNet, ResNetSettings


def test_each_stage_halves_the_image_and_doubles_the_channels():
    net, seen = ResNet(ResNetSettings(width=8, blocks=(1, 2, 1)), (3, 16, 8), 10), []
    for module in net.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[1:])))
    assert net(torch.randn(2, 3, 16, 8), torch.zeros(2)).shape == (2, 10)
    assert seen == [(8, 16, 8), (16, 8, 4), (16, 8, 4), (32, 4, 2)]


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
@pytest.mark.parametrize("n_classes", [10, 100])
def test_without_its_noise_embedding_it_has_the_size_of_the_standard_network(name, n_classes):
    """That of torchvision, whose stem is made that for small images, within one in a thousand.

    The embedding and the FiLMs of the noise level are another 9 % of the parameters at the default width.
    """
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    blocks = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}[name]
    with torch.device("meta"):
        standard = getattr(models, name)(num_classes=n_classes)
        standard.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net = ResNet(ResNetSettings(blocks=blocks), (3, 32, 32), n_classes)
    expected = sum(p.numel() for p in standard.parameters())
    told = sum(p.numel() for key, p in net.named_parameters() if key.startswith("conditioning.") or ".film." in key)
    assert sum(p.numel() for p in net.parameters()) - told == pytest.approx(expected, rel=1e-3)
    assert told / expected == pytest.approx(0.095, abs=0.002)
