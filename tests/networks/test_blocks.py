import numpy as np
import pytest
import torch
from scipy import signal
from torch.nn import functional as F

from condgen.networks.blocks import FilteredConv2d, ResidualBlock, resize


@pytest.mark.parametrize(
    ("resample", "resampled"),
    [
        ("same", lambda x: x),
        ("up", lambda x: x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)),
        ("down", lambda x: x.reshape(2, 8, 3, 2, 2, 2).mean(dim=(3, 5))),
    ],
)
def test_without_its_branch_a_block_only_resamples(resample, resampled):
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, 5, resample=resample)
    x, e = torch.randn(2, 8, 6, 4), torch.randn(2, 5)
    assert not torch.allclose(block(x, e), resampled(x), atol=1e-2)
    with torch.no_grad():
        block.leave[-1].weight.zero_()
    torch.testing.assert_close(block(x, e), resampled(x))


def test_a_block_that_widens_projects_its_input():
    torch.manual_seed(0)
    block = ResidualBlock(8, 12, 5, resample="down")
    x, e = torch.randn(2, 8, 6, 4), torch.randn(2, 5)
    with torch.no_grad():
        block.leave[-1].weight.zero_()
    torch.testing.assert_close(block(x, e), F.conv2d(F.avg_pool2d(x, 2), block.skip.weight))


def test_a_shift_comes_before_the_second_normalisation():
    torch.manual_seed(0)
    block = ResidualBlock(8, 12, 5, modulation="shift")
    x, e = torch.randn(2, 8, 6, 4), torch.randn(2, 5)
    h = F.silu(F.group_norm(x, 2, eps=1e-6))
    h = block.convolve(h) + (e @ block.shift.linear.weight.T)[:, :, None, None]
    expected = block.skip(x) + block.leave(F.silu(F.group_norm(h, 3, eps=1e-6)))
    torch.testing.assert_close(block(x, e), expected)


# Halving and doubling through filters, against scipy's convolutions

TAPS = {"box": np.array([1, 1]) / 2, "fir": np.array([1, 3, 3, 1]) / 8}
RESAMPLINGS = pytest.mark.parametrize("resampling", ["box", "fir"])


def image(height, width, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)


def filtered(plane, taps):
    """The whole convolution of a plane with the filter, three rows and columns larger for four taps."""
    return signal.convolve2d(plane.numpy(), np.outer(taps, taps))


def each_plane(function, x):
    return torch.stack([torch.stack([torch.from_numpy(function(plane)) for plane in sample]) for sample in x])


@RESAMPLINGS
@pytest.mark.parametrize(("height", "width"), [(8, 6), (4, 132)])
def test_halving_is_convolution_then_decimation(resampling, height, width):
    taps, x = TAPS[resampling], image(height, width)
    first = len(taps) // 2  # of the outputs that are kept, in the whole convolution
    chosen = slice(first, first + height - 1, 2), slice(first, first + width - 1, 2)
    expected = each_plane(lambda plane: filtered(plane, taps)[chosen], x)
    torch.testing.assert_close(resize("down", resampling).double()(x), expected)


@RESAMPLINGS
def test_doubling_is_zero_stuffing_then_convolution(resampling):
    taps, x = TAPS[resampling], image(4, 3)

    def stuffed(plane):
        out = torch.zeros(8, 6, dtype=torch.float64)
        out[::2, ::2] = plane
        margin = len(taps) // 2 - 1
        return 4 * filtered(out, taps)[margin : margin + 8, margin : margin + 6]

    torch.testing.assert_close(resize("up", resampling).double()(x), each_plane(stuffed, x))


@RESAMPLINGS
def test_a_filtered_convolution_is_filter_then_convolution_then_decimation(resampling):
    torch.manual_seed(0)
    taps, x = TAPS[resampling], image(8, 6)
    layer = FilteredConv2d(3, 5, resampling).double()
    weight, bias = layer.convolve.weight.detach(), layer.convolve.bias.detach().fill_(0.7)
    expected = torch.empty(2, 5, 4, 3, dtype=torch.float64)
    for out in range(5):
        for sample in range(2):
            planes = [filtered(plane, taps) for plane in x[sample]]
            total = sum(map(signal.correlate2d, planes, weight[out].numpy()))
            first = len(taps) // 2 + 1  # the window of 3 is in its middle where the filter's is between two pixels
            expected[sample, out] = torch.from_numpy(total[first::2, first::2][:4, :3].copy()) + bias[out]
    torch.testing.assert_close(layer(x), expected)


def test_filters_are_not_saved_and_follow_the_type_of_the_image():
    assert set(FilteredConv2d(2, 3, "fir").state_dict()) == {"convolve.weight", "convolve.bias"}
    halved = resize("down", "fir")(torch.ones(1, 2, 8, 8, dtype=torch.bfloat16))
    assert halved[0, 0, 1, 1] == 1  # the filter's weights are exact
