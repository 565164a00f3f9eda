"""What is measured on held-out data while a model trains, for `log.jsonl` alone: the weights do not depend on it.

Every preview of a generator adds a row `{"step", "preview": {"std_ratio", "recall", "accuracy", "n", "judge"}}`, and a
file `previews/STEP.safetensors` with samples of fixed latents, which pictures are made of.
"""

from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from condgen.checkpoint import load_tensors, save_tensors
from condgen.classifier import Classifier, ClassifierConfig
from condgen.data.labelled import LabelledSet, stratified_order, to_uint8
from condgen.diagnostics.classifier_errors import measure_classifier, spread_levels
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.generator import Generator
from condgen.metrics.collapse import Gauge
from condgen.rng import device_of, keyed_generator
from condgen.runs.layout import PREVIEWS
from condgen.samplers.draw import draw
from condgen.score import ScoreModel

_LEVELS, _IMAGES, _SEED = 8, 512, 0  # of a classifier
_SAMPLES, _BATCH = 1000, 250  # of a generator, measured every time
_CLASSES, _EACH, _POINTS_EACH = 20, 8, 100  # drawn


class Look(NamedTuple):
    row: dict[str, Any]  # for `log.jsonl`
    note: str = ""  # for the progress bar
    warning: str = ""  # that training goes wrong


Monitor: TypeAlias = Callable[[Any, int], Look]
"""Measures averaged weights after a step, and draws no global random number."""


def classifier_monitor(config: ClassifierConfig, held_out: LabelledSet, prior: ScoreModel | None) -> Monitor:
    """Measures a classifier at a few noise levels, with a score model also the gain; always the same noise."""
    chosen = stratified_order(held_out.y, keyed_generator(_SEED))[:_IMAGES]
    x, y = held_out.floats(chosen), held_out.y[chosen]
    levels = spread_levels(config.schedule, config.sigma_data, _LEVELS)

    def look(model: Classifier, step: int) -> Look:
        device = device_of(model)
        samples, noise = (x.to(device), y.to(device)), keyed_generator(_SEED)
        measured = measure_classifier(model, prior, *samples, levels, generator=noise, batch=_IMAGES)
        rows = [row.as_dict() for row in measured]
        good = [row for row in rows if torch.tensor(list(row.values()), dtype=torch.float64).isfinite().all()]
        bad = {"not_finite_at": [row["sigma"] for row in rows if row not in good]} if len(good) < len(rows) else {}
        return Look({"levels": good, **bad})

    return look


def generator_monitor(folder: Path, train: LabelledSet, test: LabelledSet) -> Monitor:
    """Measures samples of a generator, and keeps some. Labels take turns, and sample i has seed i."""
    n = max(min(_SAMPLES, len(train)), 2 * train.n_classes)
    places = torch.arange(n)
    y = places % train.n_classes
    kept = (y < _CLASSES) & (places // train.n_classes < (_EACH if train.is_images else _POINTS_EACH))
    gauge = cache(lambda: Gauge(train, test, n))

    @torch.no_grad()
    def look(model: Generator, step: int) -> Look:
        device = device_of(model)
        drawn = chain.from_iterable(draw(model, None, range(n), y.to(device), model.shape, _BATCH, device))
        x = torch.stack([sample.x for sample in drawn]).float().cpu()
        if not bool(x.isfinite().all()):
            advice = "lower the learning rates (generator.training.lr, and that of the objective)"
            problem = f"the generator's samples are not finite numbers at step {step}"
            raise UserError(f"{problem}: {advice}; {folder} keeps the last state")
        shown = to_uint8(x[kept]) if train.is_images else x[kept]
        about = {"kind": "preview", "step": step, "names": train.names}
        save_tensors(folder / PREVIEWS / f"{step:08d}.safetensors", {"x": shown, "y": y[kept]}, about)
        reading = gauge().read(x.clamp(-1, 1) if train.is_images else x, y)
        figures = f"in-class std {reading.std_ratio:.2f}  recall {reading.recall:.2f}  accuracy {reading.accuracy:.2f}"
        return Look({"preview": reading.as_dict()}, figures, reading.warning() if reading.collapsed else "")

    return look


class Preview(NamedTuple):
    step: int  # of the training
    x: Tensor  # images, uint8 (N, C, H, W), or points, float32 (N, D)
    y: Tensor  # labels, (N,)
    names: tuple[str, ...]  # of all classes


def read_previews(folder: Path, until: int | None = None, most: int | None = None) -> list[Preview]:
    """Previews up to a step, the earliest first, at most so many, evenly spread; UserError for a file that is none."""
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
