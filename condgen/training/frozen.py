"""How networks are evaluated, in training or frozen: in which precision, compiled or not.

Both are changed in place, and names of parameters stay: weights are kept in float32 and cast where they are used.
"""

from types import MethodType
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.nets import use_plain_operations
from condgen.settings import Settings
from condgen.training.settings import Precision

__all__ = ["Precision", "PriorSettings", "lighten_"]

Model = TypeVar("Model", bound=nn.Module)


class PriorSettings(Settings):
    """How a frozen model is evaluated."""

    precision: Precision = Field(default="float32", description="inside its network")
    compile: bool = Field(default=False, description="compile its network; takes a minute or two")


def lighten_(model: Model, settings: PriorSettings, *, dynamic: bool | None = False, twice: bool = False) -> Model:
    """Changes a model's network in place to what the settings ask for; returns the model.

    Args:
        model: whose network is `model.net`, or that has a list of them there.
        settings: what to do.
        dynamic: how a compiled network meets another batch size. False: it is compiled again. None: from the second one
            on for any size.
        twice: whether the network is differentiated twice, which takes layers of our own.
    """
    if settings == PriorSettings():
        return model
    for net in model.net if isinstance(model.net, nn.ModuleList) else [model.net]:
        assert isinstance(net, nn.Module)
        if settings.precision == "bfloat16":
            if not twice:
                use_plain_operations(net)  # autocast knows which of them have a kernel for bfloat16
            setattr(net, "forward", MethodType(_in_bfloat16, net))  # noqa: B010 - a method, which mypy would protect
        if settings.compile:
            net.compile(dynamic=dynamic)
    return model


def _in_bfloat16(net: nn.Module, x: Tensor, *conditions: Tensor | None) -> Tensor:
    """A network's forward pass under autocast, with float32 outside."""
    # Weights are used once a pass, so that a cache of their casts would save nothing, and outlive graphs of graphs.
    with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
        out: Tensor = type(net).forward(net, x, *conditions)
    return out.to(x.dtype)
