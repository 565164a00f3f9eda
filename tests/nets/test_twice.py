"""The layers with fast second derivatives, against the framework's own."""

import copy

import pytest
import torch
from torch import nn

from condgen.nets.blocks import GroupNorm
from condgen.nets.twice import Activate, Conv2d, input_gradient_only, use_plain_operations

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
