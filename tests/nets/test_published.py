"""Sizes of published networks, beside a count of their layers as papers and official summaries list them."""

import pytest
import torch

from condgen.nets import PUBLISHED, build_denoiser

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
    """Rows that the official code of Karras et al. 2022 prints for blocks of 256 channels and 512 of embedding."""
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
