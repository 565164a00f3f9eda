"""One training step of other libraries, as they take it: what `condgen bench train` compares with.

- *diffusers*: `UNet2DModel` under `DDPMScheduler`, as in its example of unconditional training: pictures read and
  mirrored in the main process, error in the noise, gradient clipped at one, AdamW, `EMAModel`, the loss read at every
  step.
- *denoising-diffusion-pytorch*: `Unet` in `GaussianDiffusion`, as its `Trainer` does: pictures read by as many
  processes as there are processors, gradient clipped at one, Adam, an average every tenth step, the loss read at every
  step.

Under bfloat16 both run their network and loss in autocast, as accelerate does for them. Between its turns a library's
reading processes may run ahead, which is in its favour.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from condgen.training import Precision

__all__ = ["PEERS", "Missing", "PeerSize", "write_pictures"]


class Missing(Exception):
    """A library that is not installed, and how to come by it."""


class PeerSize(NamedTuple):
    """Widths of the networks of other libraries.

    Attributes:
        multipliers: width of each level, in units of the first's.
        diffusers: width of the first level of `UNet2DModel`.
        denoising: width of the first level of `Unet`.
        layers: residual blocks of each level of `UNet2DModel`; `Unet` always has two.
    """

    multipliers: tuple[int, ...]
    diffusers: int
    denoising: int
    layers: int


Made: TypeAlias = AbstractContextManager[tuple[Callable[[], object], nn.Module]]
"""A step, and the network that it trains."""


def write_pictures(folder: Path, x: Tensor) -> None:
    """Writes images, uint8 (N, 3, H, W), as PNG files."""
    for index, image in enumerate(x):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index:06d}.png")


class _Pictures(Dataset[Tensor]):
    """Pictures of a folder, through the transformations that both libraries use."""

    def __init__(self, folder: Path, side: int, signed: bool) -> None:
        from torchvision import transforms

        self.paths = sorted(folder.glob("*.png"))
        self.transform = transforms.Compose(
            [
                transforms.Resize(side),
                transforms.CenterCrop(side),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                *([transforms.Normalize([0.5], [0.5])] if signed else []),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            x: Tensor = self.transform(image.convert("RGB"))
        return x


def _batches(pictures: _Pictures, batch: int, workers: int, device: torch.device) -> Iterator[Tensor]:
    loader = DataLoader(
        pictures, batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=device.type == "cuda"
    )
    while True:
        yield from loader


def _side(folder: Path) -> int:
    with Image.open(next(folder.glob("*.png"))) as image:
        return image.size[0]


def _autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _missing(library: str, error: ImportError) -> Missing:
    return Missing(f"{library} is not installed ({error.name}), and left out: uv sync --group bench brings it")


@contextmanager
def _diffusers(
    size: PeerSize, folder: Path, batch: int, device: torch.device, precision: Precision
) -> Iterator[tuple[Callable[[], object], nn.Module]]:
    try:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel
    except ImportError as error:
        raise _missing("diffusers", error) from error
    levels = len(size.multipliers)
    attends = 1  # the second level, of 16 pixels where images have 32
    torch.manual_seed(0)
    net: Any = UNet2DModel(
        sample_size=_side(folder),
        layers_per_block=size.layers,
        block_out_channels=tuple(size.diffusers * multiplier for multiplier in size.multipliers),
        down_block_types=tuple("AttnDownBlock2D" if i == attends else "DownBlock2D" for i in range(levels)),
        up_block_types=tuple("AttnUpBlock2D" if i == levels - 1 - attends else "UpBlock2D" for i in range(levels)),
        norm_num_groups=8,
    ).to(device)
    noise_scheduler: Any = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rates = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=500, num_training_steps=10**6)
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    batches = _batches(_Pictures(folder, _side(folder), signed=True), batch, 0, device)

    def step() -> float:
        x = next(batches).to(device)
        noise = torch.randn(x.shape, device=device)
        k = torch.randint(0, 1000, (len(x),), device=device)
        noisy = noise_scheduler.add_noise(x, noise, k)
        with _autocast(device, precision):
            told = net(noisy, k).sample
        loss = F.mse_loss(told.float(), noise.float())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        average.step(net.parameters())
        return float(loss.detach())

    try:
        yield step, net
    finally:
        batches.close()  # type: ignore[attr-defined]


@contextmanager
def _denoising_diffusion(
    size: PeerSize, folder: Path, batch: int, device: torch.device, precision: Precision
) -> Iterator[tuple[Callable[[], object], nn.Module]]:
    try:
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA
    except ImportError as error:
        raise _missing("denoising-diffusion-pytorch", error) from error
    torch.manual_seed(0)
    side = _side(folder)
    net: Any = Unet(size.denoising, dim_mults=size.multipliers)
    diffusion: Any = GaussianDiffusion(net, image_size=side).to(device)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average: Any = EMA(diffusion, beta=0.995, update_every=10).to(device)
    batches = _batches(_Pictures(folder, side, signed=False), batch, os.cpu_count() or 1, device)

    def step() -> float:
        x = next(batches).to(device)
        with _autocast(device, precision):
            loss = diffusion(x)
            told = float(loss.detach())
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        return told

    try:
        yield step, net
    finally:
        batches.close()  # type: ignore[attr-defined]


PEERS: Mapping[str, Callable[[PeerSize, Path, int, torch.device, Precision], Made]] = MappingProxyType(
    {"diffusers": _diffusers, "denoising-diffusion-pytorch": _denoising_diffusion}
)
