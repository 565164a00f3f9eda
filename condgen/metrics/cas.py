"""Classification accuracy score (Ravuri & Vinyals 2019): what a classifier learns from samples alone, on real images.

It is the most demanding measure of class-conditional samples: each must be of its class, look like a real one, and
together they must show what real ones vary in. It is compared with what the same classifier learns from as many real
images. Here is a residual network; the quick probe, on features, is the support vector machine of `Judge`.
"""

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.data import LabelledSet
from condgen.metrics.features import Advance
from condgen.rng import keyed_generator

_DEPTH, _BATCH, _LR, _MOMENTUM, _DECAY = 20, 128, 0.1, 0.9, 5e-4
_SHIFT = 8  # images are moved by up to an eighth of their size
_WARM_UP = 0.1
_WIDTHS = (16, 32, 64)


class _Block(nn.Module):
    """Two convolutions and a shortcut without parameters: every second pixel, and zeros for channels that are new."""

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
    """x (B, C, H, W) -> logits (B, K), of depth 8, 14, 20, ...: 6 blocks + 2 (He et al. 2016, section 4.2).

    Three stages of as many blocks each; the second and third begin by halving the image.
    """

    def __init__(self, channels: int, n_classes: int, depth: int = 20) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU()
        )
        self.blocks, last = nn.Sequential(), _WIDTHS[0]
        for width in _WIDTHS:
            for _ in range((depth - 2) // 6):
                self.blocks.append(_Block(last, width))
                last = width
        self.linear = nn.Linear(last, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.blocks(self.enter(x)).mean((2, 3)))
        return logits


def network_accuracy(
    x: Tensor, y: Tensor, test: LabelledSet, steps: int, seed: int, what: str, *, flip: bool = False
) -> Generator[Advance, None, float]:
    """Accuracy on real images of a ResNet-20 that has been trained on samples, in batches of 128, by SGD.

    The samples, (N, C, H, W) in [-1, 1], are moved by up to an eighth of their size, and half of them mirrored where
    asked. The same arguments give the same accuracy on one machine. `what` the samples are is for those who watch.
    """
    device = test.x.device
    generator = keyed_generator(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = CifarResNet(x.shape[1], test.n_classes, _DEPTH).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _LR, total_steps=steps, pct_start=_WARM_UP, cycle_momentum=False
    )
    for step in range(steps):
        if step % 10 == 0:
            yield Advance(step, steps, f"training a ResNet on {what}")
        chosen = torch.randint(len(x), (min(_BATCH, len(x)),), generator=generator)
        images = _moved(x[chosen].to(device), generator, flip=flip)
        loss = F.cross_entropy(network(images), y[chosen].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    right = 0
    with torch.no_grad():
        for part in torch.arange(len(test)).split(1000):
            right += int((network(test.floats(part)).argmax(1) == test.y[part.to(device)]).sum())
    return right / len(test)


def _moved(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Images moved by up to an eighth of their size along both axes, at their edges the same again."""
    reach = [max(1, size // _SHIFT) for size in x.shape[2:]]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    moves = [torch.randint(2 * far + 1, (len(x), 1), generator=generator).to(x.device) for far in reach]
    rows, columns = (move + torch.arange(n, device=x.device) for move, n in zip(moves, x.shape[2:], strict=True))
    if flip:
        mirrored = torch.rand(len(x), 1, generator=generator).to(x.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    each = torch.arange(len(x), device=x.device)[:, None, None]
    moved: Tensor = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2)
