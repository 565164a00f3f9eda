"""How long, how fast and in what arithmetic to train."""

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt, model_validator

from condgen.settings import LENGTH, UNKEYED, Settings

_TAIL = 0.3  # of all steps, over which the learning rate falls

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""Inside networks; auto is bfloat16 on devices that multiply in it, and float32 on others."""
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(Settings):
    steps: int = Field(gt=0, json_schema_extra=LENGTH, description="with more of them, training goes on")
    batch: int = Field(default=256, gt=0, description="the total over all processes")
    optimizer: Literal["adam", "muon"] = Field(
        default="adam", description="muon: momentum .95, orthogonalised, for matrices and kernels; Adam for all else"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="Adam's")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled from the gradient (AdamW), times the learning rate"
    )
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    decay: Literal["constant", "cosine", "tail"] = Field(
        default="cosine", description="of the learning rate; tail: constant, then linear to zero over the last 30%"
    )
    clip: float = Field(default=1.0, gt=0, description="greatest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    log_every: int = Field(default=100, gt=0, json_schema_extra=UNKEYED, description="steps between rows of the log")
    save_every: int = Field(default=1000, gt=0, json_schema_extra=UNKEYED, description="steps between saved states")
    snapshots: tuple[PositiveInt, ...] = Field(
        default=(), description="steps after which the averaged weights are kept, each as a model"
    )
    per_class: PositiveInt | None = Field(
        default=None, description="learn from so many samples of every class, drawn at random; by default from all"
    )
    flip: bool = Field(default=False, description="mirror half of the images; not for digits, letters, or signs")
    precision: Precision = Field(
        default="float32",
        json_schema_extra=UNKEYED,
        description="inside networks; auto: bfloat16 where the device multiplies in it; losses, weights: float32",
    )
    compile: bool = Field(default=False, json_schema_extra=UNKEYED, description="compile networks, in a minute or two")
    micro_batch: PositiveInt | None = Field(
        default=None,
        json_schema_extra=UNKEYED,
        description="rows at a time in each process, by default all; the gradient is the batch's",
    )
    skip_limit: PositiveInt = Field(
        default=10,
        json_schema_extra=UNKEYED,
        description="updates skipped in a row, since a loss or gradient was not finite, after which training ends",
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
