"""Previews of a generator in training: how varied its samples are, and always the same few of them.

Every preview adds a row `{"step", "preview": {"std_ratio", "recall", "accuracy", "n", "judge"}}` to `log.jsonl`, and a
file `previews/STEP.safetensors` with samples of fixed latents, which pictures are made of.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from condgen.checkpoint import load_tensors, save_tensors
from condgen.data import LabelledSet, to_uint8
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.metrics import Gauge
from condgen.rng import Streams, device_of
from condgen.runs.layout import PREVIEWS
from condgen.runs.monitor import Look, Monitor

_SAMPLES = 1000  # measured by every preview
_BATCH = 250
_CLASSES, _EACH, _POINTS_EACH = 20, 8, 100  # drawn


class Preview(NamedTuple):
    """The samples of one preview."""

    step: int  # of the training
    x: Tensor  # images, uint8 (N, C, H, W), or points, float32 (N, D)
    y: Tensor  # labels, (N,)
    names: tuple[str, ...]  # of all classes


class GeneratorMonitor(Monitor):
    """Makes previews of a generator in training."""

    def __init__(self, every: int, steps: int, folder: Path, train: LabelledSet, test: LabelledSet) -> None:
        super().__init__(every, steps)
        self.folder, self.train, self.test = folder, train, test
        self.n = max(min(_SAMPLES, len(train)), 2 * train.n_classes)

    @cached_property
    def _gauge(self) -> Gauge:
        return Gauge(self.train, self.test, self.n)

    @torch.no_grad()
    def look(self, model: nn.Module, step: int) -> Look:
        """Measures samples, and keeps some. Labels take turns, and sample i has seed i."""
        assert isinstance(model, Generator)
        device = device_of(model)
        y = torch.arange(self.n) % self.train.n_classes
        parts = []
        for seeds in torch.arange(self.n).split(_BATCH):
            z = Streams(seeds.tolist(), device).normal(model.latent_shape)
            parts.append(model(z, y[seeds].to(device)).float().cpu())
        x = torch.cat(parts)
        if not bool(x.isfinite().all()):
            raise UserError(
                f"the generator's samples are not finite numbers at step {step}: lower the learning rates "
                f"(generator.training.lr, and that of the objective); {self.folder} keeps the last state"
            )
        kept = y < _CLASSES
        kept &= torch.arange(self.n) // self.train.n_classes < (_EACH if self.train.is_images else _POINTS_EACH)
        shown = to_uint8(x[kept]) if self.train.is_images else x[kept]
        about = {"kind": "preview", "step": step, "names": self.train.names}
        save_tensors(self.folder / PREVIEWS / f"{step:08d}.safetensors", {"x": shown, "y": y[kept]}, about)
        reading = self._gauge.read(x.clamp(-1, 1) if self.train.is_images else x, y)
        warning = reading.warning() if reading.collapsed else ""
        return Look({"preview": reading.as_dict()}, reading.in_words(), warning, pictures=True)


def read_previews(folder: Path, until: int | None = None, most: int | None = None) -> list[Preview]:
    """The previews in a stage's folder, the earliest first: at most so many, evenly spread.

    Those of later steps than `until` are left out: they may be of steps that are done again after a crash.

    Raises:
        UserError: a file is damaged, or holds something else.
    """
    paths = {int(path.stem): path for path in sorted((folder / PREVIEWS).glob("[0-9]*.safetensors"))}
    kept = [path for step, path in paths.items() if until is None or step <= until]
    if most is not None and len(kept) > most:
        kept = [kept[round(place * (len(kept) - 1) / max(1, most - 1))] for place in range(most)]
    previews = [_read(path) for path in kept]
    if len({preview.x.shape[1:] for preview in previews}) > 1 or len({len(p.names) for p in previews}) > 1:
        raise UserError(f"{folder / PREVIEWS} holds previews of several generators: delete them")
    return previews


def _read(path: Path) -> Preview:
    tensors, about = load_tensors(path)
    step, names, x, y = about.get("step"), about.get("names"), tensors.get("x"), tensors.get("y")
    if x is None or y is None or not isinstance(step, int) or not isinstance(names, list):
        raise UserError(f"{path} holds no preview: delete it")
    fits = (x.dtype, x.ndim) in ((torch.uint8, 4), (torch.float32, 2)) and y.dtype == torch.int64 and x.numel() > 0
    fits = fits and y.shape == x.shape[:1] and (x.ndim == 2 or x.shape[1] in (1, 3)) and bool(x.isfinite().all())
    if not fits or not 0 <= int(y.min()) <= int(y.max()) < len(names):
        raise UserError(f"{path} holds no preview, or one of classes that it does not name: delete it")
    return Preview(step, x, y, tuple(map(str, names)))
