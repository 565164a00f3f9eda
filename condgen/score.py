r"""The unconditional score model and its objective, denoising score matching.

The network is wrapped in the preconditioning of Karras et al. 2022 (table 1, "ours"), written for any schedule: with
:math:`u = x_t / \alpha_t` and noise level :math:`s = \sigma_t / \alpha_t`,

.. math:: D(x_t, t) = c_{skip}(s)\, u + c_{out}(s)\, F(c_{in}(s)\, u,\ \tfrac{1}{4}\log s)

so that network inputs and targets have unit variance at every noise level and a change of schedule at the same noise
level leaves D as it was.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.bayes import Denoiser
from condgen.errors import UserError
from condgen.nets import AnyDenoiserNet, build_denoiser
from condgen.noise import AnySchedule, expand, perturb
from condgen.settings import Settings
from condgen.weights import load_model

__all__ = ["Labels", "ScoreConfig", "ScoreModel", "denoising_score_matching"]

Labels: TypeAlias = Literal["none", "embedding", "separate"]
"""How a score model learns of labels: not at all; by an embedding, with a row for "no label"; by a network a class."""


class ScoreConfig(Settings):
    """All that is needed to rebuild a score model."""

    kind: Literal["score model"] = "score model"
    network: AnyDenoiserNet
    schedule: AnySchedule
    shape: tuple[int, ...]
    names: tuple[str, ...]
    labels: Labels = "none"
    sigma_data: float = Field(gt=0)


class ScoreModel(Denoiser):
    """A preconditioned network that estimates E[x | x_t], or E[x | x_t, y] where it is told labels."""

    def __init__(self, config: ScoreConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule
        if config.labels == "separate":
            self.net: nn.Module = nn.ModuleList(
                build_denoiser(config.network, config.shape, None) for _ in config.names
            )
        else:
            self.net = build_denoiser(config.network, config.shape, self.null_label)

    @property
    def null_label(self) -> int | None:
        """The label K that means "no label", or None for a model that knows none such."""
        return len(self.config.names) if self.config.labels == "embedding" else None

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The denoised estimate, (B, ...), for x_t (B, ...) and t scalar or (B,).

        Labels (B,) are ignored by a model without labels, may be K or None for "no label" where they are embedded, and
        are needed where every class has a network of its own (`ValueError`).
        """
        alpha, level = self.schedule.alpha(t), self.schedule.noise_level(t)
        sigma_data = self.config.sigma_data
        total = (level**2 + sigma_data**2).sqrt()
        c_skip = expand((sigma_data / total) ** 2 / alpha, x_t)
        c_out = expand(level * sigma_data / total, x_t)
        c_in = expand(1 / (total * alpha), x_t)
        c_noise = (level.log() / 4).to(device=x_t.device, dtype=x_t.dtype).expand(len(x_t))
        return c_skip * x_t + c_out * self._residual(c_in * x_t, c_noise, y)

    def _residual(self, x: Tensor, noise: Tensor, y: Tensor | None) -> Tensor:
        if not isinstance(self.net, nn.ModuleList):
            residual: Tensor = self.net(x, noise, None if self.config.labels == "none" else y)
            return residual
        if y is None:
            raise ValueError("a score model with one network per class needs labels: it knows no unconditional score")
        counts = torch.bincount(y, minlength=len(self.net)).tolist()
        if len(counts) > len(self.net):
            raise ValueError(f"there is no class {len(counts) - 1} among {len(self.net)}")
        order = y.argsort(stable=True)
        parts = []
        for net, rows in zip(self.net, order.split(counts), strict=True):
            if len(rows):
                parts.append(net(x[rows], noise[rows]))
            elif self.training:  # a gradient of zero, so that all processes have a gradient of every parameter
                parts.append(net(x[:1], noise[:1])[:0])
        return torch.cat(parts)[order.argsort()]

    def require_unconditional(self, folder: Path, purpose: str) -> None:
        """Raises UserError where this model, of a run folder, has no unconditional score for what is to be done."""
        if self.config.labels == "separate":
            raise UserError(
                f"the score model in {folder} has a network per class and no unconditional score, {purpose}: "
                "name one trained with labels none or embedding"
            )

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "ScoreModel":
        """Rebuilds the model of a run folder, ready to be evaluated."""
        return load_model(folder, "score model", lambda config: cls(ScoreConfig.model_validate(config)), device)


def denoising_score_matching(model: ScoreModel, x: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
    r"""Denoising score matching, :math:`\lambda(s) \lVert D(\alpha x + \sigma\epsilon, t) - x \rVert^2 / d`.

    The weight :math:`\lambda = (s^2 + s_d^2) / (s\, s_d)^2` makes the loss of an untrained network one at every noise
    level (Karras et al. 2022, section 5); up to it this is Vincent's (2011) denoising score matching.

    Args:
        model: the score model.
        x: clean data, (B, ...).
        t: times, (B,) float64.
        eps: standard normal noise, of the shape of x.
        y: labels, (B,), for a conditional model.

    Returns:
        The loss of each sample, (B,).
    """
    level, sigma_data = model.schedule.noise_level(t), model.config.sigma_data
    weight = (level**2 + sigma_data**2) / (level * sigma_data) ** 2
    error: Tensor = model(perturb(model.schedule, x, t, eps), t, y) - x
    return weight.to(error.device, error.dtype) * error.square().flatten(1).mean(1)
