"""The frozen prior of DLSM training: it is evaluated at every step, so it may be made lighter than it was trained."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.score import ScoreModel
from condgen.settings import Settings

__all__ = ["PriorSettings", "lighten_"]


class PriorSettings(Settings):
    """How DLSM evaluates the frozen score model."""

    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="inside its network")
    compile: bool = Field(default=False, description="compile its network; takes a minute or two")


class _Autocast(nn.Module):
    """A network under autocast, with float32 outside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            out: Tensor = self.net(x, noise, y)
        return out.to(x.dtype)


def lighten_(prior: ScoreModel, settings: PriorSettings) -> ScoreModel:
    """Changes a frozen score model's network in place to what the settings ask for; returns the model."""
    if settings.precision == "bfloat16":
        prior.net = _Autocast(prior.net)
    if settings.compile:
        prior.net.compile(dynamic=False)
    return prior
