"""The residual classifier of clean images: its size, its layers, and what it refuses."""

import pytest
import torch

from condgen.errors import UserError
from condgen.networks.cifar_resnet import CifarResNet


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85), (110, 1.7)])
def test_sizes_are_the_published_ones(depth, millions):
    """He et al. 2016, table 6."""
    network = CifarResNet(3, 10, depth)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in network.modules()) == depth


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_features_are_what_the_last_layer_sees(shape):
    network = CifarResNet(shape[0], 7).eval()
    x = torch.randn(4, *shape)
    assert network.features(x).shape == (4, 64)
    assert torch.equal(network(x), network.linear(network.features(x)))


def test_weights_tell_the_architecture():
    network = CifarResNet(3, 5, 14).eval()
    again = CifarResNet.from_tensors(network.state_dict(), "file")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), network(x))
    tensors = network.state_dict()
    tensors.pop("layer2.1.bn2.weight")
    with pytest.raises(UserError, match=r"^file holds no CIFAR ResNet \(.*layer2.1.bn2.weight"):
        CifarResNet.from_tensors(tensors, "file")
    with pytest.raises(UserError, match="holds no CIFAR ResNet"):
        CifarResNet.from_tensors({"a": torch.zeros(2)}, "file")
    with pytest.raises(ValueError, match="depth 9 does not exist"):
        CifarResNet(3, 10, 9)
