import hashlib
import math

import pytest
import torch
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
    assert heights_of_attention(settings, (1, 8, 8)) == [2]


def test_no_attention_means_none():
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


def test_every_output_of_the_encoder_is_joined_once_at_its_own_size():
    settings = UNetSettings(channels=8, multipliers=(1, 2, 3), blocks=2, attention=(8,))
    net = UNet(settings, (3, 16, 32), None)
    assert sum(net.joins) == 1 + len(net.encoder) == 9
    x = torch.randn(2, 3, 16, 32)
    assert net(x, torch.zeros(2)).shape == x.shape


def test_residual_sums_keep_the_variance():
    """Independent terms of equal variance: their sum over sqrt(2) has it too."""
    torch.manual_seed(0)
    net = UNet(UNetSettings(channels=32, multipliers=(1,), blocks=1, attention=()), (1, 8, 8), None)
    block = net.encoder[0]
    x = torch.randn(16, 32, 8, 8)
    with torch.no_grad():
        nn.init.zeros_(block.residual.leave[-1].weight)
        torch.testing.assert_close(block(x, torch.zeros(16, 128)), x / 2**0.5)


def test_dropout_reaches_the_blocks():
    net = UNet(UNetSettings(channels=8, multipliers=(1,), blocks=1, dropout=0.3), (1, 8, 8), None)
    rates = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert len(rates) == 5
    assert set(rates) == {0.3}


def test_every_pixel_reaches_every_other():
    torch.manual_seed(0)
    net = UNet(UNetSettings(channels=8, multipliers=(1, 1), blocks=1, attention=(8,)), (1, 16, 16), None).double()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(net(x, torch.zeros(1).double())[0, 0, 0, 0], x)
    assert (g.abs() > 1e-12).all()


def in_decoder_only_last(settings, shape):
    return heights_of_attention(settings.model_copy(update={"decoder_attention": "last"}), shape)


def test_the_decoder_may_attend_once_a_level():
    settings = UNetSettings(channels=8, multipliers=(1, 2, 2), blocks=2, attention=(16,))
    assert in_decoder_only_last(settings, (3, 32, 32)) == [16, 16, 8, 16]


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_heads_can_be_chosen(heads):
    assert SelfAttention(64, heads).heads == heads


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError, match="64 channels cannot be divided among 3 heads"):
        SelfAttention(64, 3)


def test_the_first_convolution_may_be_narrower():
    net = UNet(UNetSettings(channels=8, multipliers=(2,), blocks=1, attention=(), entry=1), (1, 8, 8), None)
    assert net.enter.out_channels == 8
    assert net(torch.randn(2, 1, 8, 8), torch.zeros(2)).shape == (2, 1, 8, 8)


def test_the_pyramid_is_the_image_filtered_convolved_and_added_level_by_level():
    torch.manual_seed(0)
    settings = UNetSettings(
        channels=8, multipliers=(1, 1, 1), blocks=1, attention=(), resampling="fir", progressive_input="residual"
    )
    net = UNet(settings, (2, 16, 16), None)
    assert len(net.pyramid) == sum(net.halves) == 2
    x, noise = torch.randn(3, 2, 16, 16), torch.zeros(3)
    taken = []
    for block, joins in zip(net.decoder, net.joins, strict=True):
        if joins:
            block.register_forward_hook(lambda _module, inputs, _output: taken.append(inputs[0][:, 8:]))
    with torch.no_grad():
        net(x, noise)
        embedding = net.conditioning(noise)
        first = net.encoder[0](net.enter(x), embedding)
        halved = (net.encoder[1](first, embedding) + net.pyramid[0](x)) / math.sqrt(2)
        quartered = (net.encoder[3](net.encoder[2](halved, embedding), embedding) + net.pyramid[1](halved)) / math.sqrt(
            2
        )
    torch.testing.assert_close(taken[3], halved)
    torch.testing.assert_close(taken[1], quartered)


OLD = {
    "unet": (UNetSettings(), (3, 32, 32), None),
    "unet-classes": (
        UNetSettings(channels=8, multipliers=(1, 2, 3), blocks=2, attention=(8,), dropout=0.1),
        (3, 16, 32),
        5,
    ),
    "unet-blind": (UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=()), (1, 8, 8), 3),
}
# Names and shapes, sum of the absolute weights, spread of the output, six of its values; written down at version 0.1.
FROZEN = {
    "unet": (
        "d0721b9daa323acf",
        161702.92920,
        0.0481606,
        [0.034611, 0.016009, 0.043897, -0.014986, -0.002851, -0.005198],
    ),
    "unet-classes": (
        "56a9b080bfa10974",
        10178.317897,
        0.0334663,
        [0.014607, -0.045949, -0.049064, 0.02468, 0.016815, 0.01173],
    ),
    "unet-blind": (
        "21a546dc6280064d",
        3092.043087,
        0.0583626,
        [-0.010826, -0.038177, -0.059238, 0.002545, 0.070387, 0.083807],
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_networks_of_earlier_versions_are_what_they_were(name):
    settings, shape, n_classes = OLD[name]
    names, size, spread, values = FROZEN[name]
    torch.manual_seed(0)
    net = UNet(settings, shape, n_classes).eval()
    state = net.state_dict()
    listing = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert hashlib.sha256(listing.encode()).hexdigest()[:16] == names
    assert sum(value.double().abs().sum().item() for value in state.values()) == pytest.approx(size, rel=1e-6)
    x = 1.3 * torch.linspace(-2, 2, 2 * math.prod(shape)).sin().reshape(2, *shape)
    with torch.no_grad():
        out = net(x, torch.tensor([-0.5, 0.3]), None if n_classes is None else torch.tensor([1, n_classes]))
    assert out.std().item() == pytest.approx(spread, rel=1e-4)
    assert out.flatten()[:: out.numel() // 6][:6].tolist() == pytest.approx(values, abs=2e-5)


def test_settings_of_earlier_versions_are_written_as_they_were():
    old = {"kind", "channels", "multipliers", "blocks", "attention", "dropout", "embedding"}
    assert set(UNetSettings().model_dump()) == set(UNetSettings().model_dump(mode="json")) == old
    new = {"entry": 2, "heads": 1, "decoder_attention": "last", "modulation": "shift", "project": True}
    new |= {"resampling": "fir", "progressive_input": "residual", "fourier_scale": 2.0}
    assert set(UNetSettings.model_fields) == old | set(new)
    for name, value in new.items():
        assert UNetSettings(**{name: value}).model_dump().keys() - old == {name}
