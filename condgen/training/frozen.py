"""How networks are evaluated, in training or frozen: in which precision, compiled or not. Weights stay float32."""

import re
from pathlib import Path
from types import MethodType
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.rng import device_of
from condgen.settings import Settings
from condgen.training.settings import Precision, TrainingSettings

Network = TypeVar("Network", bound=nn.Module)


class PriorSettings(Settings):
    precision: Precision = Field(
        default="float32", description="inside its network; auto: bfloat16 where the device multiplies in it"
    )
    compile: bool = Field(default=False, description="compile its network; takes a minute or two")


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16; others imitate them slowly in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return device.type == "xpu"
    processor = Path("/proc/cpuinfo")  # of Linux; elsewhere torch has no such kernels
    return processor.exists() and bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", processor.read_text()))


def resolved(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    if precision != "auto":
        return precision
    return "bfloat16" if multiplies_in_bfloat16(device) else "float32"


def describe_precision(precision: Precision, device: torch.device) -> str:
    """What `auto` stands for, or a warning where bfloat16 is slow; empty for float32."""
    if precision == "auto":
        return f"precision auto is {resolved(precision, device)} on this device"
    if precision == "bfloat16" and not multiplies_in_bfloat16(device):
        return (
            "this device has no instructions for bfloat16: with AVX2 alone, a training step took 12 to 20 times as "
            "long as in float32; set precision to auto or float32"
        )
    return ""


def lighten_(model: Network, settings: PriorSettings | TrainingSettings, *, dynamic: bool | None = False) -> Network:
    """Changes a model's network in place to the precision and compilation of the settings; returns the model.

    At another batch size a compiled one is compiled again; where `dynamic` is None, from the second size on for any.
    """
    whole = getattr(model, "net", model)
    for net in whole if isinstance(whole, nn.ModuleList) else [whole]:
        if resolved(settings.precision, device_of(net)) == "bfloat16":
            setattr(net, "forward", MethodType(_in_bfloat16, net))  # noqa: B010 - a method, which mypy would protect
        if settings.compile:
            net.compile(dynamic=dynamic)
    return model


def _in_bfloat16(net: nn.Module, x: Tensor, *conditions: Tensor | None) -> Tensor:
    # Weights are used once a pass, so that a cache of their casts would save nothing, and outlive graphs of graphs.
    with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
        out: Tensor = type(net).forward(net, x, *conditions)
    return out.to(x.dtype)
