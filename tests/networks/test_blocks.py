import pytest
import torch
from torch.nn import functional as F

from condgen.errors import UserError
from condgen.networks.blocks import ResidualBlock, check_image, group_count


@pytest.mark.parametrize("channels", [*range(4, 100), 128, 160, 192, 256, 384, 512])
def test_groups_have_at_least_four_channels(channels):
    groups = group_count(channels)
    assert channels % groups == 0
    assert channels // groups >= 4
    assert groups <= 32


def test_image_sizes_are_checked():
    check_image("unet", (3, 32, 48), halvings=4)
    for shape, halvings in [((3, 32, 48), 5), ((3, 30, 32), 2), ((3, 32, 30), 2), ((2,), 0), ((4, 4), 0)]:
        with pytest.raises(UserError):
            check_image("unet", shape, halvings)


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


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, 5, dropout=0.5)
    x, e = torch.randn(2, 8, 6, 4), torch.randn(2, 5)
    assert not torch.equal(block(x, e), block(x, e))
    block.eval()
    assert torch.equal(block(x, e), block(x, e))
