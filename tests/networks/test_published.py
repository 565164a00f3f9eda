"""Sizes of published networks, beside a count of the layers that their papers and official code describe.

No total was found in print for all of them: the count is checked, block by block, against a summary that the code of
Karras et al. 2022 prints, and the totals that follow from it are written out below.
"""

import pytest
import torch

from condgen.networks import PUBLISHED
from condgen.networks.blocks import GroupNorm

SHAPE = (3, 32, 32)


def convolution(channels, out, side):
    return side * side * channels * out + out


def block(channels, out, *, resamples=False, attends=False):
    """A residual block of Song et al. 2021 with an embedding of 512, every layer with a bias.

    The first convolution, the embedding's linear layer, the second convolution, two affine normalisations, a shortcut
    where channels or sizes change; attention has one more normalisation, queries, keys and values, and a last layer.
    """
    size = 2 * channels + convolution(channels, out, 3) + 513 * out + 2 * out + convolution(out, out, 3)
    size += convolution(channels, out, 1) * (resamples or channels != out)
    return size + attends * (2 * out + convolution(out, 3 * out, 1) + convolution(out, out, 1))


def count(multipliers, blocks, *, features, pyramid):
    """Parameters of the whole network: 128 channels, attention at 16 pixels and, in the decoder, once there."""
    size = (features + 1) * 512 + 513 * 512 + convolution(3, 128, 3)
    joined, above = [128], 3
    for level, multiplier in enumerate(multipliers):
        if level > 0:
            size += block(joined[-1], joined[-1], resamples=True)
            size += convolution(above, joined[-1], 3) * pyramid
            above = joined[-1]
            joined.append(joined[-1])
        for _ in range(blocks):
            size += block(joined[-1], 128 * multiplier, attends=32 >> level == 16)
            joined.append(128 * multiplier)
    channels = joined[-1]
    size += block(channels, channels, attends=True) + block(channels, channels)
    for level in reversed(range(len(multipliers))):
        for index in range(blocks + 1):
            attends = 32 >> level == 16 and index == blocks
            size += block(channels + joined.pop(), 128 * multipliers[level], attends=attends)
            channels = 128 * multipliers[level]
        if level > 0:
            size += block(channels, channels, resamples=True)
    return size + 2 * channels + convolution(channels, 3, 3)


def test_the_count_of_a_block_is_that_of_an_official_summary():
    """Rows of the summary that the code of Karras et al. 2022 prints when it trains a DDPM++ of 256 channels."""
    assert block(256, 256) == 1_312_512
    assert block(256, 256, resamples=True) == 1_378_304
    assert block(256, 256, attends=True) == 1_576_192
    assert block(512, 256) == 2_034_176
    assert 129 * 512 == 66_048  # the first two layers of its embedding
    assert 513 * 512 == 262_656


KARRAS, SONG = (2, 2, 2), (1, 2, 2, 2)
OFFICIAL = {
    "edm-ddpmpp": count(KARRAS, 4, features=128, pyramid=False),
    "edm-ncsnpp": count(KARRAS, 4, features=256, pyramid=True),
    "score-sde-ddpmpp": count(SONG, 4, features=128, pyramid=False),
    "score-sde-ddpmpp-deep": count(SONG, 8, features=128, pyramid=False),
    "score-sde-ncsnpp": count(SONG, 4, features=256, pyramid=True),
    "score-sde-ncsnpp-deep": count(SONG, 8, features=256, pyramid=True),
}


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
    """The count of layers, to a hundredth of a million, and ours within two in a thousand of it."""
    assert OFFICIAL[name] == pytest.approx(1e6 * millions, abs=5e3)
    with torch.device("meta"):
        net = PUBLISHED[name].build_denoiser(SHAPE, None)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(OFFICIAL[name], rel=2e-3)


def narrow(name):
    """The same network, sixteen times narrower."""
    return PUBLISHED[name].model_copy(update={"channels": 8, "dropout": 0.0})


@pytest.mark.parametrize("name", ["edm-ddpmpp", "edm-ncsnpp"])
def test_what_lies_far_away_shifts_with_the_image(name):
    """Without attention, and away from the border, a shift by whole pixels of the coarsest level is a shift."""
    torch.manual_seed(0)
    settings = narrow(name).model_copy(update={"attention": (), "multipliers": (1, 1), "blocks": 1})
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
