r"""A network that diffusers trained, `UNet2DModel`, in the role of a denoiser's.

It was trained on :math:`x = \alpha_k x_0 + \sigma_k \epsilon` with :math:`\alpha_k^2 + \sigma_k^2 = 1` at whole
timesteps k (Ho et al. 2020), and tells one of :math:`\epsilon`, :math:`x_0` or :math:`v = \alpha\epsilon - \sigma x_0`
(Salimans & Ho 2022). The preconditioning of Karras et al. for data of standard deviation one is the same
parametrisation, :math:`c_{in} = \alpha, c_{skip} = \alpha^2, c_{out} = \sigma`, which wants of a network

.. math:: F = \frac{D - \alpha x}{\sigma} = -v = s\,x - \frac{\epsilon}{\alpha}, \qquad s = \sigma / \alpha.

Between timesteps the network, whose embedding of time is sinusoidal, is asked at a broken one: k as a function of
log-SNR, linear between whole ones; beyond the first and the last, at these.

A rectified flow (Liu et al. 2023, arXiv 2209.03003) was trained on :math:`z = (1 - \tau) x_0 + \tau\epsilon`, where
:math:`\tau = s / (1 + s)`, and tells :math:`\epsilon - x_0`, so that
:math:`F = ((s - 1) x - \sqrt{1 + s^2}\,v) / (1 + s)`. One of Karras et al. (2022), preconditioned, is F itself.
"""

import warnings
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.errors import UNSUITABLE, UserError, explain, from_extra
from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import check_image
from condgen.networks.embedding import ClassEmbedding

if TYPE_CHECKING:
    from diffusers import UNet2DModel


class DiffusersSettings(NetworkSettings):
    kind: Literal["diffusers"] = "diffusers"
    unet: dict[str, Any] = Field(description="the configuration of the UNet2DModel")
    timesteps: int = Field(default=1000, ge=2, le=100_000, description="of its training")
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = Field(
        default="linear", description="as diffusers names it"
    )
    beta_start: float = Field(default=1e-4, gt=0, lt=1, description="the first beta")
    beta_end: float = Field(default=0.02, gt=0, le=1, description="the last beta")
    zero_terminal_snr: bool = Field(default=False, description="the betas were rescaled so that no signal is left")
    prediction: Literal["epsilon", "sample", "v_prediction", "flow", "edm"] = Field(
        default="epsilon",
        description="what it tells; flow: of a rectified flow; edm: preconditioned as by Karras et al. 2022",
    )
    sigma_min: float = Field(default=0.002, gt=0, description="least noise level of edm")
    sigma_max: float = Field(default=80.0, gt=0, description="greatest noise level of edm")
    sigma_data: float = Field(default=0.5, gt=0, description="of the data, for edm; others are in a unit where it is 1")

    def levels(self) -> Tensor:
        """The noise levels of timesteps that have signal left, rising, (T,) float64, from float32 as in training."""
        if self.prediction == "edm":
            return torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64)
        if self.prediction == "flow":
            share = torch.arange(1, self.timesteps, dtype=torch.float64) / self.timesteps
            return share / (1 - share)
        with from_extra("diffusers"):
            from diffusers import DDPMScheduler
        with torch.device("cpu"):  # these are looked at, also where a network is made without memory
            scheduler = DDPMScheduler(
                num_train_timesteps=self.timesteps,
                beta_schedule=self.beta_schedule,
                beta_start=self.beta_start,
                beta_end=self.beta_end,
                rescale_betas_zero_snr=self.zero_terminal_snr,
            )
        signal: Tensor = scheduler.alphas_cumprod.double()
        signal = signal[signal > 0]
        return ((1 - signal) / signal).sqrt()

    def build_denoiser(self, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:
        return DiffusersUNet(self, shape, n_classes)


class DiffusersUNet(nn.Module):
    """x (B, C, H, W), noise (B,), labels (B,) or None -> (B, C, H, W). A class embedding is added to that of time."""

    log_levels: Tensor

    def __init__(self, settings: DiffusersSettings, shape: tuple[int, ...], n_classes: int | None) -> None:
        super().__init__()
        self.unet = _build(settings, shape)
        self.prediction, self.timesteps = settings.prediction, settings.timesteps
        if n_classes is not None:
            self.unet.class_embedding = ClassEmbedding(n_classes + 1, self.unet.time_embedding.linear_2.out_features)
        self.null_label = n_classes
        self.register_buffer("log_levels", settings.levels().log().float(), persistent=False)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        if self.null_label is not None and y is None:
            y = torch.full((len(x),), self.null_label, device=x.device)
        log_level, y = 4 * noise, y if self.null_label is not None else None
        if self.prediction == "edm":
            return self.unet(x, noise, y).sample
        level = log_level.exp().view(-1, 1, 1, 1)
        per_alpha = (1 + level**2).sqrt()
        if self.prediction == "flow":
            out: Tensor = self.unet(x * per_alpha / (1 + level), self.timesteps * log_level.sigmoid(), y).sample
            return ((level - 1) * x - per_alpha * out) / (1 + level)
        above = torch.searchsorted(self.log_levels, log_level).clamp(1, len(self.log_levels) - 1)
        low, high = self.log_levels[above - 1], self.log_levels[above]
        timestep = above - 1 + ((log_level - low) / (high - low)).clamp(0, 1)  # whole or not, (B,)
        out = self.unet(x, timestep, y).sample
        if self.prediction == "v_prediction":
            return -out
        if self.prediction == "sample":
            return (out * per_alpha - x) / level
        return level * x - per_alpha * out


def _build(settings: DiffusersSettings, shape: tuple[int, ...]) -> "UNet2DModel":
    with from_extra("diffusers"):
        from diffusers import UNet2DModel
    config = settings.unet
    with explain("diffusers cannot build the UNet2DModel that is described", "correct its configuration", *UNSUITABLE):
        check_image(settings.kind, shape, halvings=len(config.get("block_out_channels", "four")) - 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without numbers, which are refused
            unet = UNet2DModel(**config)
        if any(parameter.numel() == 0 for parameter in unet.parameters()):
            raise ValueError("a layer has no width")
    wanted = {
        "in_channels": shape[0],
        "out_channels": shape[0],  # a learned variance is not supported
        "time_embedding_type": "positional",  # the only one that knows times between timesteps
        "num_class_embeds": None,  # an unconditional one can be guided by a classifier
        "class_embed_type": None,
    }
    for name, value in wanted.items():
        if unet.config[name] != value:
            raise UserError(f"the UNet2DModel has {name} {unet.config[name]!r}, where {value!r} is needed")
    return unet
