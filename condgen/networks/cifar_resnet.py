"""A residual classifier of clean small images (He et al. 2016, section 4.2), with shortcuts without parameters."""

import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from condgen.errors import UNSUITABLE, explain

_WIDTHS = (16, 32, 64)


class _Block(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=width // channels, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.new = width // channels, width - channels

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(h + x)


class CifarResNet(nn.Module):
    """x (B, C, H, W) -> logits (B, K), of depth 8, 14, 20, ...: 6 blocks + 2."""

    def __init__(self, channels: int, n_classes: int, depth: int = 20) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a network of depth {depth} does not exist: 6 n + 2 for n blocks a stage")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        last = _WIDTHS[0]
        for stage, width in enumerate(_WIDTHS, start=1):
            layer = [_Block(last if index == 0 else width, width) for index in range(blocks)]
            self.add_module(f"layer{stage}", nn.Sequential(*layer))
            last = width
        self.linear = nn.Linear(last, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, len(_WIDTHS) + 1):
            h = self.get_submodule(f"layer{stage}")(h)
        return h.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], where: str) -> "CifarResNet":
        """The network that these weights belong to; UserError where they are not those of such a network."""
        advice = "its tensors should be conv1, bn1, layer1 to layer3, linear"
        with explain(f"{where} holds no CIFAR ResNet", advice, *UNSUITABLE):
            channels, n_classes = tensors["conv1.weight"].shape[1], len(tensors["linear.weight"])
            if 0 in (channels, n_classes) or any(tensor.is_complex() for tensor in tensors.values()):
                raise ValueError("no channel, no class, or complex numbers")
            blocks = {int(found[1]) for name in tensors if (found := re.match(r"layer1\.(\d+)\.", name))}
            network = cls(channels, n_classes, 6 * len(blocks) + 2)
            network.load_state_dict(dict(tensors))
        return network.eval().requires_grad_(False)
