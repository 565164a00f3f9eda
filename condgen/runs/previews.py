"""The previews that a generator has left in training, `previews/STEP.safetensors`; see `monitor`."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.runs.layout import PREVIEWS


class Preview(NamedTuple):
    step: int  # of the training
    x: Tensor  # images, uint8 (N, C, H, W), or points, float32 (N, D)
    y: Tensor  # labels, (N,)
    names: tuple[str, ...]  # of all classes


def read_previews(folder: Path, until: int | None = None, most: int | None = None) -> list[Preview]:
    """The previews in a stage's folder, the earliest first: at most so many, evenly spread.

    Steps after `until` may be done again after a crash, and are left out. UserError for a file that is no preview.
    """
    paths = {int(path.stem): path for path in sorted((folder / PREVIEWS).glob("[0-9]*.safetensors"))}
    kept = [path for step, path in paths.items() if until is None or step <= until]
    if most is not None and len(kept) > most:
        kept = [kept[round(place * (len(kept) - 1) / max(1, most - 1))] for place in range(most)]
    previews = [_read(path) for path in kept]
    if len({(preview.x.shape[1:], len(preview.names)) for preview in previews}) > 1:
        raise UserError(f"{folder / PREVIEWS} holds previews of several generators: delete them")
    return previews


def _read(path: Path) -> Preview:
    tensors, about = load_tensors(path)
    with blamed_on(path):
        x, y, names = tensors["x"], tensors["y"], tuple(map(str, about["names"]))
        fits = (x.dtype, x.ndim) in ((torch.uint8, 4), (torch.float32, 2)) and y.dtype == torch.int64 and x.numel() > 0
        fits = fits and y.shape == x.shape[:1] and (x.ndim == 2 or x.shape[1] in (1, 3)) and bool(x.isfinite().all())
        if not fits or not 0 <= int(y.min()) <= int(y.max()) < len(names):
            raise ValueError("no preview, or one of classes that it does not name")
        return Preview(int(about["step"]), x, y, names)
