r"""The unconditional score model and its objectives: denoising score matching, alone or with an adversary.

The network is wrapped in the preconditioning of Karras et al. 2022 (`noise.precondition`), written for any schedule, so
that a change of schedule at the same noise level s leaves D as it was.

*Adversarial score matching* (Jolicoeur-Martineau et al., arXiv 2009.05475) shows the denoised estimate D to a
discriminator C, which is trained beside it by least squares (LSGAN: Mao et al. 2017, labels 1 and -1):

.. math::
    L_C = E (C(x) - 1)^2 + E (C(D(x_t, t)) + 1)^2, \qquad
    L = E \left[ \lambda(s) \frac{\lVert D(x_t, t) - x \rVert^2}{d} + \frac{2w}{d} (C(D(x_t, t)) - 1)^2 \right]

The factor 2/d makes w = 1 the paper's balance. Its loss of one sample is
:math:`\lVert D - x \rVert^2 / (2 s^2) + (C(D) - 1)^2`, summed over the d dimensions and free of the unit of the data.
Ours is 2/d times that, plus :math:`\lVert D - x \rVert^2 / (d s_d^2)`, by which the weight of Karras et al.,
:math:`\lambda = 1/s^2 + 1/s_d^2`, exceeds 1/s^2. So the balance is the paper's where the noise is below the data's
standard deviation, and leans to score matching above. Multiplying the adversarial term by :math:`s^2 \lambda` as well
would keep the paper's balance at every noise level, but under Karras et al.'s weight it leaves most of the gradient to
the adversary of the highest ones: on digits (2,000 steps, one seed) the Frechet distance of samples was 0.70 that way,
0.36 this way.

The estimate that C sees is a posterior mean, which is blurred where there is much noise, and C knows only sharp data.
So the optimum is no longer E[x | x_t]: where the loss is least,
:math:`D - E[x | x_t] = 2 (w / \lambda) (1 - C) \nabla C`, whose factor grows with the noise level, up to
:math:`2 w s_d^2`.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from condgen.checkpoint import load_model
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.hub import model_folder
from condgen.networks import AnyDenoiserNet, AnyDiscriminatorNet
from condgen.rng import to_device
from condgen.schedules import AnySchedule, expand, perturb, precondition
from condgen.settings import Settings

__all__ = [
    "AdversarialLosses",
    "AdversarialObjective",
    "Discriminator",
    "Labels",
    "ScoreConfig",
    "ScoreModel",
    "adversarial_score_matching",
    "denoising_score_matching",
    "discriminator_loss",
]

Labels: TypeAlias = Literal["none", "embedding", "separate"]
"""How a score model learns of labels: not at all; by an embedding, with a row for "no label"; by a network a class."""


Momentum: TypeAlias = Annotated[float, Field(gt=-1, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class AdversarialObjective(Settings):
    """A discriminator of denoised estimates, beside denoising score matching. The defaults are the paper's."""

    network: AnyDiscriminatorNet = Field(description="the discriminator's network")
    weight: float = Field(default=1.0, ge=0, description="1 is the paper's balance at low noise")
    told_noise: bool = Field(default=False, description="whether the discriminator sees the noise level")
    discriminator_steps: int = Field(default=1, gt=0, description="discriminator updates per score model update")
    discriminator_lr: float = Field(default=1e-4, gt=0)
    discriminator_betas: tuple[Momentum, Decay] = Field(default=(-0.5, 0.9), description="of its Adam")
    score_betas: tuple[Momentum, Decay] = Field(
        default=(0.0, 0.9), description="of the score model's Adam, in place of training.betas"
    )


class ScoreConfig(Settings):
    """All that is needed to rebuild a score model."""

    kind: Literal["score model"] = "score model"
    network: AnyDenoiserNet
    schedule: AnySchedule
    shape: tuple[PositiveInt, ...] = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1)
    labels: Labels = "none"
    sigma_data: float = Field(gt=0, le=1e9)


class ScoreModel(Denoiser):
    """A preconditioned network that estimates E[x | x_t], or E[x | x_t, y] where it is told labels."""

    def __init__(self, config: ScoreConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule
        if config.labels == "separate":
            self.net: nn.Module = nn.ModuleList(config.network.build_denoiser(config.shape, None) for _ in config.names)
        else:
            self.net = config.network.build_denoiser(config.shape, self.null_label)

    @property
    def null_label(self) -> int | None:
        """The label K that means "no label", or None for a model that knows none such."""
        return len(self.config.names) if self.config.labels == "embedding" else None

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The denoised estimate, (B, ...), for x_t (B, ...) and t scalar or (B,).

        Labels (B,) are ignored by a model without labels, may be K or None for "no label" where they are embedded, and
        are needed where every class has a network of its own (`ValueError`): then best on the CPU, since how many there
        are of each must be known there.
        """
        alpha = self.schedule.alpha(t)
        c = precondition(self.schedule.noise_level(t), self.config.sigma_data)
        c_skip, c_out, c_in = expand(c.c_skip / alpha, x_t), expand(c.c_out, x_t), expand(c.c_in / alpha, x_t)
        c_noise = c.c_noise.to(device=x_t.device, dtype=x_t.dtype).expand(len(x_t))
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
        back = to_device(order.argsort(), x.device)
        parts = []
        for net, rows in zip(self.net, to_device(order, x.device).split(counts), strict=True):
            if len(rows):
                parts.append(net(x[rows], noise[rows]))
            elif self.training:  # a gradient of zero, so that all processes have a gradient of every parameter
                parts.append(net(x[:1], noise[:1])[:0])
        return torch.cat(parts)[back]

    def require_unconditional(self, folder: Path, purpose: str) -> None:
        """Raises UserError where this model, of a run folder, has no unconditional score for what is to be done."""
        if self.config.labels == "separate":
            raise UserError(
                f"the score model in {folder} has a network per class and no unconditional score, {purpose}: "
                "name one trained with labels none or embedding"
            )

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: torch.device | str = "cpu", *, trust: bool = False
    ) -> "ScoreModel":
        """The score model in a folder, or in one on the hub, `hf:owner/name[/sub-folder]`, ready to be evaluated.

        Its file may name code to import, a network of one's own, only where `trust` is given.
        """
        return cls.load(model_folder(source), device, trust=trust)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", *, trust: bool = False) -> "ScoreModel":
        """Rebuilds the model of a run folder, ready to be evaluated."""
        return load_model(
            folder, "score model", lambda config: cls(ScoreConfig.model_validate(config)), device, trust=trust
        )


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
    return _weighted_error(model, model(perturb(model.schedule, x, t, eps), t, y), x, t)


def _weighted_error(model: ScoreModel, denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
    level, sigma_data = model.schedule.noise_level(t), model.config.sigma_data
    weight = (level**2 + sigma_data**2) / (level * sigma_data) ** 2
    error = denoised - x
    return weight.to(error.device, error.dtype) * error.square().flatten(1).mean(1)


class Discriminator(nn.Module):
    """C(x): what the discriminator of a score model makes of clean data or of denoised estimates.

    Args:
        network: its network.
        told_noise: whether the network sees the noise level.
        model: the score model whose data and schedule it shares.
    """

    def __init__(self, network: AnyDiscriminatorNet, told_noise: bool, model: ScoreModel) -> None:
        super().__init__()
        config = model.config
        self.net = network.build_discriminator(config.shape, told_noise=told_noise)
        self.schedule, self.sigma_data = config.schedule, config.sigma_data
        self.bounded = len(config.shape) == 3

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """One number a sample, (B,), for x (B, ...) and the times t (B,) of the denoised estimates.

        Images are clamped to the range of pixels, [-1, 1]: outside, an estimate would be told from data by that alone.
        """
        noise = (self.schedule.noise_level(t).log() / 4).to(device=x.device, dtype=x.dtype)
        out: Tensor = self.net((x.clamp(-1, 1) if self.bounded else x) / self.sigma_data, noise)
        return out


def discriminator_loss(discriminator: Discriminator, real: Tensor, fake: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of the discriminator's least-squares loss, (C(real) - 1)^2 and (C(fake) + 1)^2, each (B,).

    Args:
        discriminator: C.
        real: clean data, (B, ...).
        fake: denoised estimates, (B, ...), without a graph.
        t: the times of the estimates, (B,) float64. A discriminator that is told the noise level sees real data beside
            the same ones.
    """
    on_real, on_fake = discriminator(torch.cat([real, fake]), torch.cat([t, t])).chunk(2)
    return (on_real - 1).square(), (on_fake + 1).square()


class AdversarialLosses(NamedTuple):
    """Losses of each sample, (B,)."""

    total: Tensor
    dsm: Tensor  # denoising score matching, as without an adversary
    adversarial: Tensor  # (C(D) - 1)^2, unweighted


def adversarial_score_matching(
    model: ScoreModel,
    discriminator: Discriminator,
    weight: float,
    x: Tensor,
    t: Tensor,
    eps: Tensor,
    y: Tensor | None = None,
) -> AdversarialLosses:
    r"""The score model's loss, :math:`\lambda(s) \lVert D - x \rVert^2 / d + (2 w / d)\, (C(D) - 1)^2`.

    Args:
        model: the score model, D.
        discriminator: C.
        weight: w; 1 is the paper's balance where noise is below the data's standard deviation.
        x: clean data, (B, ...).
        t: times, (B,) float64.
        eps: standard normal noise, of the shape of x.
        y: labels, (B,), for a conditional model; C sees none.
    """
    denoised: Tensor = model(perturb(model.schedule, x, t, eps), t, y)
    dsm = _weighted_error(model, denoised, x, t)
    adversarial = (discriminator(denoised, t) - 1).square()
    return AdversarialLosses(dsm + 2 * weight / x[0].numel() * adversarial, dsm, adversarial)
