"""Looks at a generator while it trains: how varied its samples are, and always the same few of them.

Every look adds a row `{"step", "preview": {"std_ratio", "recall", "accuracy", "n", "judge"}}` to `log.jsonl`, and a
file `previews/STEP.safetensors` with samples of fixed latents, which pictures are made of.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from condgen.checkpoint import load_tensors, save_tensors
from condgen.data import LabelledSet, to_uint8
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.metrics import Gauge, Reading
from condgen.rng import Streams
from condgen.runs.layout import PREVIEWS

__all__ = ["Preview", "Previewer", "read_previews"]

_SAMPLES = 1000  # measured at every look
_BATCH = 250
_CLASSES, _EACH, _POINTS_EACH = 20, 8, 100  # drawn


class Preview(NamedTuple):
    """What was kept of one look.

    Attributes:
        step: of the training.
        x: images, uint8 (N, C, H, W), or points, float32 (N, D).
        y: labels, (N,).
        names: of all classes.
    """

    step: int
    x: Tensor
    y: Tensor
    names: tuple[str, ...]


class Previewer:
    """How a generator in training is looked at, always in the same way.

    Args:
        train: the training split.
        test: held-out data.
        every: steps between looks.
    """

    def __init__(self, train: LabelledSet, test: LabelledSet, every: int) -> None:
        self.train, self.test, self.every = train, test, every
        self.n = max(min(_SAMPLES, len(train)), 2 * train.n_classes)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to look after a step of so many: every so often, and at the end."""
        return step % self.every == 0 or step == steps

    @cached_property
    def _gauge(self) -> Gauge:
        return Gauge.of(self.train, self.test, self.n)

    @torch.no_grad()
    def take(self, model: nn.Module, folder: Path, step: int) -> Reading:
        """Measures the averaged generator, and keeps some samples in a stage's folder. Draws no global random number.

        Labels take turns, and sample i has seed i.
        """
        assert isinstance(model, Generator)
        started = time.perf_counter()
        device = next(model.parameters()).device
        y = torch.arange(self.n) % self.train.n_classes
        parts = []
        for seeds in torch.arange(self.n).split(_BATCH):
            z = Streams(seeds.tolist(), device).normal(model.latent_shape)
            parts.append(model(z, y[seeds].to(device)).float().cpu())
        x = torch.cat(parts)
        if not bool(x.isfinite().all()):
            raise UserError(
                f"the generator's samples are not finite numbers at step {step}: lower the learning rates "
                f"(generator.training.lr, and that of the objective); {folder} keeps the last state"
            )
        kept = y < _CLASSES
        kept &= torch.arange(self.n) // self.train.n_classes < (_EACH if self.train.is_images else _POINTS_EACH)
        shown = to_uint8(x[kept]) if self.train.is_images else x[kept]
        about = {"kind": "preview", "step": step, "names": self.train.names}
        save_tensors(folder / PREVIEWS / f"{step:08d}.safetensors", {"x": shown, "y": y[kept]}, about)
        reading = self._gauge.read(x.clamp(-1, 1) if self.train.is_images else x, y)
        return reading._replace(seconds=time.perf_counter() - started)


def read_previews(folder: Path, until: int | None = None, most: int | None = None) -> list[Preview]:
    """The looks that a stage's folder keeps, the earliest first.

    Args:
        folder: of the stage.
        until: the last step; later looks may be left of steps that are done again after a crash.
        most: read so many, evenly spread from the first to the last; all by default.

    Raises:
        UserError: a file is damaged, or holds something else.
    """
    paths = {
        path.stem: path
        for path in sorted((folder / PREVIEWS).glob("*.safetensors"))
        if path.stem.isascii() and path.stem.isdecimal()
    }
    kept = [path for step, path in paths.items() if until is None or int(step) <= until]
    if most is not None and len(kept) > most:
        kept = [kept[round(place * (len(kept) - 1) / max(1, most - 1))] for place in range(most)]
    looks = []
    for path in kept:
        tensors, about = load_tensors(path)
        if about.get("kind") != "preview" or tensors.keys() != {"x", "y"}:
            raise UserError(f"{path} holds no look at a generator: delete it")
        looks.append(_checked(tensors["x"], tensors["y"], about, path))
    if len({look.x.shape[1:] for look in looks}) > 1 or len({len(look.names) for look in looks}) > 1:
        raise UserError(f"{folder / PREVIEWS} holds looks at several generators: delete them")
    return looks


def _checked(x: Tensor, y: Tensor, about: Mapping[str, Any], path: Path) -> Preview:
    step, names = about.get("step"), about.get("names")
    fits = (x.dtype, x.ndim) in ((torch.uint8, 4), (torch.float32, 2)) and y.dtype == torch.int64 and x.numel() > 0
    fits &= y.shape == x.shape[:1] and (x.ndim == 2 or x.shape[1] in (1, 3))
    fits = fits and bool(x.isfinite().all())
    if not fits or not isinstance(step, int) or not isinstance(names, list):
        raise UserError(f"{path} holds no look at a generator: delete it")
    if not 0 <= int(y.min()) <= int(y.max()) < len(names):
        raise UserError(f"{path} holds samples of classes that it does not name: delete it")
    return Preview(step, x, y, tuple(map(str, names)))
