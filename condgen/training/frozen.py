"""Frozen models, which are only evaluated, and may be evaluated in a lighter way than they were trained."""

from typing import Literal, TypeAlias, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.generator import Generator
from condgen.nets import use_plain_operations
from condgen.score import ScoreModel
from condgen.settings import Settings

__all__ = ["Precision", "PriorSettings", "lighten_"]

Precision: TypeAlias = Literal["float32", "bfloat16"]
Frozen = TypeVar("Frozen", bound=ScoreModel | Generator)


class PriorSettings(Settings):
    """How a frozen model is evaluated."""

    precision: Precision = Field(default="float32", description="inside its network")
    compile: bool = Field(default=False, description="compile its network; takes a minute or two")


class _Autocast(nn.Module):
    """A network under autocast, with float32 outside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *conditions: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = self.net(x, *conditions)
        return out.to(x.dtype)


def lighten_(model: Frozen, settings: PriorSettings, *, dynamic: bool | None = False) -> Frozen:
    """Changes a frozen model's network in place to what the settings ask for; returns the model.

    Args:
        model: a score model, also one with a network per class, or a generator.
        settings: what to do.
        dynamic: how a compiled network meets another batch size. False: it is compiled again. None: from the second one
            on for any size.
    """
    if isinstance(model.net, nn.ModuleList):
        model.net = nn.ModuleList(_lightened(net, settings, dynamic) for net in model.net)
    else:
        model.net = _lightened(model.net, settings, dynamic)
    return model


def _lightened(net: nn.Module, settings: PriorSettings, dynamic: bool | None) -> nn.Module:
    if settings.precision == "bfloat16":
        # A teacher is differentiated, and our own derivatives take all tensors of one type, which autocast mixes.
        net = _Autocast(use_plain_operations(net))
    if settings.compile:
        net.compile(dynamic=dynamic)
    return net
