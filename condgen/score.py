"""The score model: a preconditioned network that estimates E[x | x_t], of one class or of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.denoiser import Denoiser, Preconditioned
from condgen.errors import UserError
from condgen.model import Model, ModelConfig
from condgen.networks import AnyDenoiserNet
from condgen.rng import to_device
from condgen.schedules import AnySchedule, Schedule

Labels: TypeAlias = Literal["none", "embedding", "separate"]
"""How a score model learns of labels: not at all; by an embedding, with a row for "no label"; by a network a class."""


class ScoreConfig(ModelConfig):
    kind: Literal["score model"] = "score model"
    network: AnyDenoiserNet
    schedule: AnySchedule
    labels: Labels = "none"
    sigma_data: float = Field(gt=0, le=1e9)

    def build(self) -> "ScoreModel":
        if self.labels == "separate":
            net: nn.Module = PerClass(self.network.build_denoiser(self.shape, None) for _ in self.names)
        else:
            net = self.network.build_denoiser(self.shape, len(self.names) if self.labels == "embedding" else None)
        return ScoreModel(net, **self.arguments())


class PerClass(nn.ModuleList):
    """A network for each class, asked about the rows of its own, whose number is known on the CPU."""

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
        if y is None:
            raise ValueError("a score model with one network per class needs labels: it knows no unconditional score")
        counts = torch.bincount(y, minlength=len(self)).tolist()
        if len(counts) > len(self):
            raise ValueError(f"there is no class {len(counts) - 1} among {len(self)}")
        order = y.argsort(stable=True)
        back = to_device(order.argsort(), x.device)
        parts = []
        for net, rows in zip(self, to_device(order, x.device).split(counts), strict=True):
            if len(rows):
                parts.append(net(x[rows], noise[rows]))
            elif self.training:  # a gradient of zero, so that all processes have a gradient of every parameter
                parts.append(net(x[:1], noise[:1])[:0])
        return torch.cat(parts)[back]


class ScoreModel(Model[ScoreConfig], Preconditioned, Denoiser):
    """A preconditioned network that estimates E[x | x_t], or E[x | x_t, y] where it is given labels.

    Args:
        net: any module `net(x, noise, y)` with an output of the shape of x, (B, *shape), where noise (B,) is
            log(sigma / alpha) / 4, and y None where `labels` is none.
        labels: none; embedding, where K, the number of classes, or None means "no label"; separate, for `PerClass`.
        sigma_data: standard deviation of the data.
    """

    kind = "score model"
    config_type = ScoreConfig

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        shape: Sequence[int],
        names: Sequence[str] = (),
        *,
        labels: Labels = "none",
        sigma_data: float = 0.5,
        network: AnyDenoiserNet | None = None,
    ) -> None:
        super().__init__(net, schedule, sigma_data)
        self.shape, self.names, self.labels, self.network = tuple(shape), tuple(names), labels, network

    @property
    def null_label(self) -> int | None:
        """The label K that means "no label", or None for a model that knows none such."""
        return len(self.names) if self.labels == "embedding" else None

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c = self.coefficients(x_t, t)
        return c.c_skip * x_t + c.c_out * self.net(c.c_in * x_t, c.c_noise, None if self.labels == "none" else y)

    def require_unconditional(self, folder: Path, purpose: str) -> None:
        """UserError where this model has no unconditional score for what is to be done."""
        if self.labels == "separate":
            problem = f"the score model in {folder} has a network per class and no unconditional score"
            raise UserError(f"{problem}, {purpose}: name one trained with labels none or embedding")
