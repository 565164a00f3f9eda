"""The layers with fast second derivatives, against the framework's own."""

import copy

import pytest
import torch
from torch import nn

from condgen.networks.blocks import GroupNorm
from condgen.networks.twice import Activate, Conv2d, _normalised_anywhere, input_gradient_only, use_plain_operations

CONVOLUTIONS = {
    "plain": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "grouped": {"kernel_size": 3, "padding": (0, 2), "groups": 2},
    "dilated": {"kernel_size": (1, 3), "dilation": (1, 2)},
    "pointwise": {"kernel_size": 1, "bias": False},
}


class Modulated(nn.Module):
    """An Activate with scale and shift of its own for each of three samples."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(1)
        self.scale, self.shift = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3, 4))
        self.activate = Activate(2, activation=activation)

    def forward(self, x):
        return self.activate(x, self.scale, self.shift)


class Autocast(nn.Module):
    """A layer that runs under autocast, as its backward pass does not."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.layer(x).float()


def layers():
    for name, about in CONVOLUTIONS.items():
        yield pytest.param(lambda about=about: Conv2d(4, 6, **about), id=f"conv-{name}")
    for activation in (True, False):
        yield pytest.param(lambda a=activation: Modulated(a), id=f"film-{'silu' if activation else 'linear'}")
        yield pytest.param(
            lambda a=activation: GroupNorm(4, activation=a), id=f"norm-{'silu' if activation else 'linear'}"
        )


def second_order(layer, x, restricted):
    """The input gradient of a nonlinear function, and the gradients of a function of both."""
    x = x.clone().requires_grad_()
    y = layer(x)
    ramp = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    if restricted:
        with input_gradient_only():
            (g,) = torch.autograd.grad((ramp * y).sin().sum(), x, create_graph=True)
    else:
        (g,) = torch.autograd.grad((ramp * y).sin().sum(), x, create_graph=True)
    loss = (g * (3 * x.detach()).cos()).square().sum() + y.square().sum()
    return [g.detach(), *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize("make", list(layers()))
@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_first_and_second_derivatives_are_the_frameworks(make, restricted, dtype, tolerance):
    torch.manual_seed(0)
    ours = make().to(dtype)
    plain = use_plain_operations(copy.deepcopy(ours))
    x = torch.randn(3, 4, 6, 5, dtype=dtype)
    torch.testing.assert_close(ours(x), plain(x), rtol=tolerance, atol=tolerance)
    for found, expected in zip(second_order(ours, x, restricted), second_order(plain, x, False), strict=True):
        assert (found - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_can_be_differentiated_in_everything(name):
    """Weight gradients of weight gradients too, which DLSM does not need."""
    torch.manual_seed(0)
    layer = Conv2d(4, 6, **CONVOLUTIONS[name]).double()

    def function(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(dict(layer.named_parameters()), parameters, strict=True)), x)

    inputs = (torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True), *layer.parameters())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_what_is_not_offered_is_refused_rather_than_wrong():
    layer = GroupNorm(4, activation=True).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    (g,) = torch.autograd.grad(layer(x).square().sum(), layer.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="use_plain_operations"):
        g.sum().backward()


def test_input_gradients_only_leaves_out_work_and_nothing_else():
    layer = Conv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    whole = torch.autograd.grad(layer(x).square().sum(), x)[0]
    with input_gradient_only():
        torch.testing.assert_close(torch.autograd.grad(layer(x).square().sum(), x)[0], whole, rtol=0, atol=0)
        skipped = torch.autograd.grad(layer(x).sum(), layer.weight, allow_unused=True)[0]
    assert skipped is None
    assert torch.autograd.grad(layer(x).sum(), layer.weight)[0].any()


def test_a_group_of_equal_values_is_no_trouble():
    layer = GroupNorm(8, activation=True).double()
    for found in second_order(layer, torch.zeros(2, 8, 4, 4, dtype=torch.float64), True):
        assert found.isfinite().all()


@pytest.mark.parametrize("make", list(layers()))
def test_channels_last_changes_nothing_and_stays(make):
    torch.manual_seed(0)
    layer = make().double()
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    found, expected = second_order(layer, last, True), second_order(layer, x, True)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_normalisation_of_accelerators_is_that_of_the_framework(format):
    torch.manual_seed(0)
    x = 3 + torch.randn(2, 8, 5, 7, dtype=torch.float64).contiguous(memory_format=format)
    found = _normalised_anywhere(x, 4, 1e-6)
    expected = torch.native_group_norm(x, None, None, 2, 8, 35, 4, 1e-6)
    assert found[0].stride() == x.stride()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("make", list(layers()))
@pytest.mark.parametrize("inside", [True, False])
def test_second_derivatives_under_autocast_are_right_but_for_rounding(make, inside):
    """Whether or not the backward passes, too, run under autocast."""
    torch.manual_seed(0)
    layer, x = make(), torch.randn(3, 4, 6, 5)
    exact = second_order(layer, x, False)
    wrapped = layer if inside else Autocast(layer)
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        rounded = second_order(wrapped, x, False)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.05 * b.norm()


def test_normalisation_stays_in_float32_under_autocast():
    layer, x = GroupNorm(4, activation=True), torch.randn(3, 4, 6, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out, layer(x.float()), rtol=0, atol=0)


def test_a_network_of_a_lighter_type_stays_of_it():
    layer = nn.Sequential(GroupNorm(4, activation=True), Conv2d(4, 6, 3)).bfloat16()
    assert layer(torch.randn(3, 4, 6, 5).bfloat16()).dtype == torch.bfloat16
