r"""What the convolutional networks share: normalisation, resampling, the residual block, the check of image sizes.

The residual block (Song et al. 2021, appendix H; Dhariwal & Nichol 2021, sec. 3) is the resampled input, plus
normalise, SiLU, resample, convolve, normalise, FiLM, SiLU, convolve. SiLU has derivatives of every order, as training
on an input gradient needs; a rectifier's second derivative vanishes almost everywhere.

Images are halved and doubled by averages and repetition, or through a filter (Zhang 2019; Karras et al. 2020; Song et
al. 2021, appendix H). Averages of 2x2 pixels let frequencies through that the smaller map cannot hold; the binomial
filter :math:`k = (1, 3, 3, 1)/8` in each direction, the box filter three times over, suppresses them:

.. math:: (\downarrow x)_i = \sum_j k_j\, x_{2i + j - 1}, \qquad
    (\uparrow x)_i = 2 \sum_m k_{i - 2m + 1}\, x_m .

Beyond its border an image is zero. In two dimensions, doubling is four times the adjoint of halving.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.errors import UserError
from condgen.networks.embedding import FiLM, Shift, initialise_

_LARGEST = 4096  # of the sides of an image
BOUND = 1.05
"""Generators of images end in BOUND * tanh, which reaches the pixels -1 and 1 at a finite argument."""

Resample: TypeAlias = Literal["same", "up", "down"]
Modulation: TypeAlias = Literal["film", "shift"]
Resampling: TypeAlias = Literal["box", "fir"]

_TAPS: dict[Resampling, tuple[float, ...]] = {"box": (0.5, 0.5), "fir": (0.125, 0.375, 0.375, 0.125)}


def check_image(kind: str, shape: tuple[int, ...], halvings: int) -> None:
    """Raises UserError unless `shape` is (C, H, W), of no absurd size, with H and W divisible by 2**halvings."""
    if len(shape) != 3 or not all(1 <= side <= _LARGEST for side in shape):
        raise UserError(
            f"network kind {kind!r} needs images (C, H, W) of at most {_LARGEST:,} pixels a side, not data of shape "
            f"{shape}: use kind 'mlp'"
        )
    if shape[1] % 2**halvings or shape[2] % 2**halvings:
        raise UserError(
            f"network kind {kind!r} halves or doubles the image {halvings} times, so its sides must be divisible by "
            f"{2**halvings}, which {shape[1]}x{shape[2]} is not: give the network fewer stages"
        )


def largest_divisor(n: int, at_most: int) -> int:
    """The largest divisor of n that is at most `at_most`, or 1."""
    return next((d for d in range(min(n, at_most), 0, -1) if n % d == 0), 1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation, (B, C, ...) to the same shape; SiLU follows where `activation`.

    There are at most 32 groups, of at least 4 channels where there are that many.
    """

    def __init__(self, channels: int, *, activation: bool = False, affine: bool = True) -> None:
        super().__init__(largest_divisor(channels, min(32, channels // 4)), channels, eps=1e-6, affine=affine)
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        out = super().forward(input)
        return F.silu(out) if self.activation else out


class _Filter(nn.Module):
    """A fixed filter, the same in every channel. It moves with the module and is not saved."""

    kernel: Tensor

    def __init__(self, resampling: Resampling, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor(_TAPS[resampling])
        self.register_buffer("kernel", (taps[:, None] * taps * gain)[None, None], persistent=False)
        self.margin = len(taps) // 2 - 1  # by which a window reaches beyond the two pixels that an output stands for

    def weight(self, x: Tensor) -> Tensor:
        """Of a depthwise convolution of x, (C, 1, T, T)."""
        return self.kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)


class _Average(nn.Module):
    """Means of 2x2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        if x.device.type != "cpu" or width > 128:
            return F.avg_pool2d(x, 2)
        # A product with pairs of rows: with its gradient a third of the time of torch's pooling on a CPU
        means = torch.eye(width // 2, dtype=x.dtype).repeat_interleave(2, 1).repeat(1, 2) / 4
        return F.linear(x.unflatten(2, (-1, 2)).flatten(3), means)


class _Halve(_Filter):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(x), stride=2, padding=self.margin, groups=x.shape[1])


class _Double(_Filter):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight(x), stride=2, padding=self.margin, groups=x.shape[1])


class FilteredConv2d(_Filter):
    """A 3x3 convolution of the image behind a filter, of which every second pixel is kept: (B, C, H, W) to half of it.

    Filter and convolution act on the image extended by zeros without end: only the result has a border.
    """

    def __init__(self, channels: int, out_channels: int, resampling: Resampling) -> None:
        super().__init__(resampling)
        self.convolve = initialise_(nn.Conv2d(channels, out_channels, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(F.conv2d(x, self.weight(x), padding=self.margin + 1, groups=x.shape[1]))


def resize(resample: Resample, resampling: Resampling) -> nn.Module:
    """(B, C, H, W) to the same, half of its sides (averages or a filter) or twice (repetition or a filter)."""
    if resample == "same":
        return nn.Identity()
    if resample == "down":
        return _Average() if resampling == "box" else _Halve(resampling)
    # the gain is 4, since one pixel in four of the larger image is not zero
    return nn.Upsample(scale_factor=2) if resampling == "box" else _Double(resampling, gain=4.0)


class ResidualBlock(nn.Module):
    """Features (B, C, H, W) to (B, C', H', W'), where H' is H, 2 H ("up") or H / 2 ("down")."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding: int,
        *,
        resample: Resample = "same",
        dropout: float = 0.0,
        resampling: Resampling = "box",
        modulation: Modulation = "film",
        project: bool = False,
    ) -> None:
        super().__init__()
        self.resize = resize(resample, resampling)
        self.enter = GroupNorm(channels, activation=True)
        # No bias: the normalisation behind it removes most of one, and the shift by the embedding does its work.
        self.convolve = initialise_(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
        self.film = FiLM(embedding, out_channels) if modulation == "film" else None
        self.shift = Shift(embedding, out_channels) if modulation == "shift" else None
        self.activate = GroupNorm(out_channels, activation=modulation == "shift", affine=modulation == "shift")
        self.leave = nn.Sequential(
            nn.Dropout(dropout), initialise_(nn.Conv2d(out_channels, out_channels, 3, padding=1), gain=0.3)
        )
        self.skip: nn.Module = nn.Identity()
        if channels != out_channels or (project and resample != "same"):
            self.skip = initialise_(nn.Conv2d(channels, out_channels, 1, bias=False))  # the branch ends in a bias

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolve(self.resize(self.enter(x)))
        if self.film is not None:
            h = F.silu(self.film(self.activate(h), embedding))
        elif self.shift is not None:
            h = self.activate(self.shift(h, embedding))
        return self.skip(self.resize(x)) + self.leave(h)
