r"""Halving and doubling images through a filter (Zhang 2019; Karras et al. 2020; Song et al. 2021, appendix H).

Halving a feature map by averages of 2x2 pixels lets frequencies through that the smaller map cannot hold, and they come
back as others. The binomial filter :math:`k = (1, 3, 3, 1)/8` in each direction is the box filter :math:`(1, 1)/2`
three times over, and suppresses them more:

.. math:: (\downarrow x)_i = \sum_j k_j\, x_{2i + j - 1}, \qquad
    (\uparrow x)_i = 2 \sum_m k_{i - 2m + 1}\, x_m .

Beyond its border an image is zero. Both are depthwise convolutions, the second a transposed one and twice the
adjoint of the first (four times, in two dimensions); away from the border they keep constants as they are.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.networks.embedding import initialise_

Resampling: TypeAlias = Literal["box", "fir"]

_TAPS: dict[Resampling, tuple[float, ...]] = {"box": (0.5, 0.5), "fir": (0.125, 0.375, 0.375, 0.125)}


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
        filtered = F.conv2d(x, self.weight(x), padding=self.margin + 1, groups=x.shape[1])
        out: Tensor = self.convolve(filtered)
        return out


def halving(resampling: Resampling) -> nn.Module:
    """(B, C, H, W) -> (B, C, H / 2, W / 2): averages of 2x2 pixels, or what the filter gives."""
    return nn.AvgPool2d(2) if resampling == "box" else _Halve(resampling)


def doubling(resampling: Resampling) -> nn.Module:
    """(B, C, H, W) -> (B, C, 2 H, 2 W): every pixel four times, or what the filter gives.

    The filter's gain is 4, since one pixel in four of the larger image is not zero.
    """
    return nn.Upsample(scale_factor=2) if resampling == "box" else _Double(resampling, gain=4.0)
