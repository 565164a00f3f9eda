import math

import pytest
import torch
from networks.published import UNETS
from torch import nn

from condgen.errors import UserError
from condgen.networks.unet import SelfAttention, UNet, UNetSettings


def heights_of_attention(settings, shape):
    net, seen = UNet(settings, shape, None), []
    for module in net.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[2]))
    with torch.no_grad():
        net(torch.randn(1, *shape), torch.zeros(1))
    return seen


def test_attention_stands_where_the_settings_say_and_in_the_middle():
    settings = UNetSettings(channels=8, multipliers=(1, 2, 2), blocks=2, attention=(16,))
    assert heights_of_attention(settings, (3, 32, 32)) == [16, 16, 8, 16, 16, 16]  # encoder, middle, decoder
    once = settings.model_copy(update={"decoder_attention": "last"})
    assert heights_of_attention(once, (3, 32, 32)) == [16, 16, 8, 16]
    assert heights_of_attention(settings, (1, 8, 8)) == [2]
    assert heights_of_attention(UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=()), (1, 8, 8)) == []


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (64, 1), (128, 2), (256, 4)])
def test_attention_is_softmax_of_scaled_products(channels, heads):
    torch.manual_seed(0)
    attention = SelfAttention(channels)
    assert attention.heads == heads
    x = torch.randn(2, channels, 3, 4)
    q, k, v = attention.enter(attention.normalise(x)).flatten(2).reshape(2, 3, heads, -1, 12).unbind(1)
    weights = (torch.einsum("bncq,bnck->bnqk", q, k) / (channels // heads) ** 0.5).softmax(dim=-1)
    mixed = torch.einsum("bnqk,bnck->bncq", weights, v).reshape(2, channels, 3, 4)
    torch.testing.assert_close(attention(x), attention.leave(mixed), atol=1e-5, rtol=1e-4)


def test_residual_sums_keep_the_variance():
    """Independent terms of equal variance: their sum over sqrt(2) has it too."""
    torch.manual_seed(0)
    net = UNet(UNetSettings(channels=32, multipliers=(1,), blocks=1, attention=()), (1, 8, 8), None)
    block = net.encoder[0]
    x = torch.randn(16, 32, 8, 8)
    with torch.no_grad():
        nn.init.zeros_(block.residual.leave[-1].weight)
        torch.testing.assert_close(block(x, torch.zeros(16, 128)), x / 2**0.5)


def test_every_pixel_reaches_every_other():
    torch.manual_seed(0)
    net = UNet(UNetSettings(channels=8, multipliers=(1, 1), blocks=1, attention=(8,)), (1, 16, 16), None).double()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(net(x, torch.zeros(1).double())[0, 0, 0, 0], x)
    assert (g.abs() > 1e-12).all()


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError, match="64 channels cannot be divided among 3 heads"):
        SelfAttention(64, 3)


def test_the_pyramid_is_the_image_filtered_convolved_and_added_level_by_level():
    torch.manual_seed(0)
    small = {"channels": 8, "multipliers": (1, 1, 1), "blocks": 1, "attention": ()}
    net = UNet(UNetSettings(**small, resampling="fir", progressive_input="residual"), (2, 16, 16), None)
    assert len(net.pyramid) == sum(block.resamples for block in net.encoder) == 2
    x, noise = torch.randn(3, 2, 16, 16), torch.zeros(3)
    taken = []
    for block in net.decoder:
        if not block.resamples:
            block.register_forward_hook(lambda _module, inputs, _output: taken.append(inputs[0][:, 8:]))
    with torch.no_grad():
        net(x, noise)
        e = net.conditioning(noise)
        halved = (net.encoder[1](net.encoder[0](net.enter(x), e), e) + net.pyramid[0](x)) / math.sqrt(2)
        quartered = (net.encoder[3](net.encoder[2](halved, e), e) + net.pyramid[1](halved)) / math.sqrt(2)
    torch.testing.assert_close(taken[3], halved)
    torch.testing.assert_close(taken[1], quartered)


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
        net = UNETS[name].build_denoiser((3, 32, 32), None)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(1e6 * millions, rel=2e-3)
