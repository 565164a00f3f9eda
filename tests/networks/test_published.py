"""Published networks: their sizes, and that they shift with the image."""

import pytest
import torch

from condgen.networks import PUBLISHED
from condgen.networks.blocks import GroupNorm


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("edm-ddpmpp", 55.73),
        ("edm-ncsnpp", 56.40),
        ("score-sde-ddpmpp", 61.80),
        ("score-sde-ddpmpp-deep", 106.63),
        ("score-sde-ncsnpp", 62.76),
        ("score-sde-ncsnpp-deep", 107.59),
    ],
)
def test_a_published_network_has_the_size_of_its_layers(name, millions):
    """Within two in a thousand of the official code's, counted layer by layer, which has more biases."""
    with torch.device("meta"):
        net = PUBLISHED[name].build_denoiser((3, 32, 32), None)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(1e6 * millions, rel=2e-3)


@pytest.mark.parametrize("name", ["edm-ddpmpp", "edm-ncsnpp"])
def test_what_lies_far_away_shifts_with_the_image(name):
    """Without attention, and away from the border, a shift by whole pixels of the coarsest level is a shift."""
    torch.manual_seed(0)
    small = {"channels": 8, "dropout": 0.0, "attention": (), "multipliers": (1, 1), "blocks": 1}
    settings = PUBLISHED[name].model_copy(update=small)
    net = settings.build_denoiser((1, 64, 64), None).double()
    for module in net.modules():  # which would see the border from everywhere
        if isinstance(module, GroupNorm):
            module.register_forward_hook(lambda _module, inputs, _output: inputs[0] * 0.7)
    x = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    x[..., 24:40, 24:40] = torch.randn(16, 16, dtype=torch.float64)
    noise = torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        here, there = net(x, noise), net(x.roll((2, -4), (2, 3)), noise)
    inner = (..., slice(30, 36), slice(30, 36))
    torch.testing.assert_close(there[inner], here.roll((2, -4), (2, 3))[inner])
