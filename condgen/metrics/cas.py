"""Classification accuracy score (Ravuri & Vinyals 2019): what a ResNet-20 learns from samples alone, on real images."""

from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from condgen.data.labelled import LabelledSet
from condgen.metrics.features import Advance
from condgen.networks.cifar_resnet import CifarResNet
from condgen.rng import keyed_generator

_DEPTH, _BATCH, _LR, _MOMENTUM, _DECAY = 20, 128, 0.1, 0.9, 5e-4
_SHIFT = 8  # images are moved by up to an eighth of their size
_WARM_UP = 0.1


def network_accuracy(
    x: Tensor, y: Tensor, test: LabelledSet, steps: int, seed: int, what: str, *, flip: bool = False
) -> Generator[Advance, None, float]:
    """Accuracy on real images of a ResNet-20 that has been trained on samples, (N, C, H, W) in [-1, 1], by SGD."""
    device = test.x.device
    generator = keyed_generator(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = CifarResNet(x.shape[1], test.n_classes, _DEPTH).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY, nesterov=True)
    schedule = OneCycleLR(optimiser, _LR, total_steps=steps, pct_start=_WARM_UP, cycle_momentum=False)
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
    with torch.no_grad():
        parts = torch.arange(len(test)).split(1000)
        right = [network(test.floats(part)).argmax(1) == test.y[part.to(device)] for part in parts]
    return int(torch.cat(right).sum()) / len(test)


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
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
