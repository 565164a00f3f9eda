"""How long and how fast to train, and how networks are evaluated: precision, compiled or not. Weights stay float32."""

import math
import re
from pathlib import Path
from types import MethodType
from typing import Annotated, Literal, TypeAlias, TypeVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from condgen.rng import device_of
from condgen.settings import LENGTH, UNKEYED, Settings

_TAIL = 0.3  # of all steps, over which the learning rate falls

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""Inside networks; auto is bfloat16 on devices that multiply in it, and float32 on others."""
Network = TypeVar("Network", bound=nn.Module)
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(Settings):
    steps: int = Field(gt=0, json_schema_extra=LENGTH, description="with more of them, training goes on")
    batch: int = Field(default=256, gt=0, description="the total over all processes")
    optimizer: Literal["adam", "muon"] = Field(
        default="adam", description="muon: momentum .95, orthogonalised, for matrices and kernels; Adam for all else"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="Adam's")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled (AdamW), times the learning rate")
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    decay: Literal["constant", "cosine", "tail"] = Field(
        default="cosine", description="of the learning rate; tail: constant, then linear to zero over the last 30%"
    )
    clip: float = Field(default=1.0, gt=0, description="greatest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    log_every: int = Field(default=100, gt=0, json_schema_extra=UNKEYED, description="steps between rows of the log")
    save_every: int = Field(default=1000, gt=0, json_schema_extra=UNKEYED, description="steps between saved states")
    snapshots: tuple[PositiveInt, ...] = Field(default=(), description="steps whose average weights are kept as models")
    per_class: PositiveInt | None = Field(default=None, description="samples of each class, at random; by default all")
    flip: bool = Field(default=False, description="mirror half of the images; not for digits, letters, or signs")
    precision: Precision = Field(
        default="float32",
        json_schema_extra=UNKEYED,
        description="inside networks; auto: bfloat16 where the device multiplies in it; losses, weights: float32",
    )
    compile: bool = Field(default=False, json_schema_extra=UNKEYED, description="compile networks, in a minute or two")
    micro_batch: PositiveInt | None = Field(
        default=None, json_schema_extra=UNKEYED, description="rows at a time; the gradient is the batch's; default: all"
    )
    skip_limit: PositiveInt = Field(
        default=10, json_schema_extra=UNKEYED, description="skipped updates in a row (not finite) that end training"
    )

    @model_validator(mode="after")
    def _snapshots_come(self) -> "TrainingSettings":
        if any(step > self.steps for step in self.snapshots):
            raise ValueError(f"a snapshot after step {max(self.snapshots)} of {self.steps} never comes: leave it out")
        return self


def learning_rate_factor(settings: TrainingSettings, step: int) -> float:
    """What the base learning rate is multiplied by in step `step` (counted from 0); never zero in the first step."""
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.decay == "constant":
        return warm
    if settings.decay == "tail":
        return warm * min(1.0, (1 - step / settings.steps) / _TAIL)
    return warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


class PriorSettings(Settings):
    precision: Precision = Field(default="float32", description="inside its network; auto: bfloat16 on devices with it")
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
        slow = "with AVX2 alone, a training step took 12 to 20 times as long as in float32"
        return f"this device has no instructions for bfloat16: {slow}; set precision to auto or float32"
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
