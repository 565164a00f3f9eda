"""From a request to samples, their trajectories and what they cost.

Samples come about by the code of `condgen sample`, in one batch: the same settings, models and seed give the same
pictures, bit for bit, and the same lines of a manifest.
"""

import base64
import contextlib
import functools
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condgen.data import to_uint8
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.runs.layout import MANIFEST
from condgen.runs.models import load_anew
from condgen.runs.sample import Source, describe, open_light
from condgen.runs.sample_folder import encode_samples
from condgen.runs.unusable_samples import find_unusable, tell_unusable
from condgen.samplers import Finished, Sampler, TrajectoryPoint, evaluations_on, unit_variance
from condgen.studio.ask import Ask, Limits, command_line, stage_of
from condgen.studio.models import ModelCache, Offer
from condgen.studio.watch import FRAMES, Watch, interruptible

__all__ = ["Drawn", "Tell", "draw_ask"]

Tell = Callable[[int, int | None], None]  # evaluations so far, and how many there will be where that is known


@dataclass(frozen=True)
class Drawn:
    """Samples, and all that a page shows of them.

    Attributes:
        rows: of the manifest.
        pictures: PNG files, or None for points.
        facts: what the page is told beside the samples, as plain JSON.
    """

    rows: Sequence[dict[str, Any]]
    pictures: Sequence[bytes | None]
    facts: dict[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        samples = []
        for row, picture in zip(self.rows, self.pictures, strict=True):
            sample: dict[str, Any] = {"class": row["class"], "name": row["name"], "seed": row["seed"]}
            sample |= {"x": row["x"]} if picture is None else {"png": base64.b64encode(picture).decode()}
            samples.append(sample)
        return {"samples": samples, **self.facts}

    def to_zip(self) -> bytes:
        """The pictures and the manifest, as `condgen sample` writes them."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for row, picture in zip(self.rows, self.pictures, strict=True):
                if picture is not None:
                    archive.writestr(zipfile.ZipInfo(row["file"]), picture)
            lines = "".join(json.dumps(row) + "\n" for row in self.rows)
            archive.writestr(zipfile.ZipInfo(MANIFEST), lines, zipfile.ZIP_DEFLATED)
        return content.getvalue()

    @functools.cached_property
    def size(self) -> int:
        """Bytes, nearly."""
        return 1000 * len(self.rows) + sum(map(len, filter(None, self.pictures))) + len(json.dumps(self.facts))


def draw_ask(
    ask: Ask, offer: Offer, limits: Limits, cache: ModelCache, device: torch.device, tell: Tell = lambda *_: None
) -> Drawn:
    """Draws what is asked for.

    Args:
        ask: the request.
        offer: what there is.
        limits: what it may cost.
        cache: the models that were used before.
        device: where to draw.
        tell: called before every evaluation, and ten times a second within one; may raise to stop.

    Raises:
        UserError: where it cannot be drawn as asked.
    """
    stage = stage_of(ask, offer, limits)
    # In bfloat16 a network is changed in place, so that one is not kept.
    source = open_light(stage, offer.folders, device, cache if ask.method.precision == "float32" else load_anew)
    expected = _expected(source, limits)
    n = len(stage.labels)
    watch = None
    if source.many is not None:
        watch = Watch(source.many, stage.labels, source.shape, lambda done: tell(done, expected))
    finished: list[Finished] = []
    module = source.model if isinstance(source.model, Generator) else source.model.denoiser

    def look() -> None:
        tell(0 if watch is None else watch.asked, expected)

    following = contextlib.nullcontext() if watch is None else watch.on()
    with source.counted() as evaluations, following, interruptible(module, look):
        started = time.perf_counter()
        for found in source.draw(stage.labels, [stage.seed + place for place in stage.places], n):
            finished += found
            if watch is not None:
                watch.leave([sample.number for sample in found])
        finished.sort(key=lambda sample: sample.number)
        x = torch.stack([sample.x for sample in finished]).cpu()
        seconds = time.perf_counter() - started
    finished = [sample._replace(x=row) for sample, row in zip(finished, x, strict=True)]
    unusable = [one for sample in finished if (one := find_unusable(sample, stage, sample.number)) is not None]
    if unusable:
        raise UserError(f"request: {tell_unusable(unusable, stage, source.names, n - len(unusable))}")
    rows = [describe(stage, source, place, sample) for place, sample in zip(stage.places, finished, strict=True)]
    asked = sum(sample.evaluations for sample in finished)
    encoded = list(encode_samples(stage.places, x, rows))
    facts = {
        "labelled": offer.knows_labels(ask.method),
        "cost": {
            "samples": n,
            "evaluations": round(asked / n, 1),
            "network": round(evaluations.of(asked) / n, 1),
            "seconds": round(seconds, 4),
        },
        "trajectory": None if watch is None else _trajectory(watch, offer),
        "command": command_line(ask, offer),
    }
    return Drawn([row for row, _ in encoded], [picture for _, picture in encoded], facts)


def _expected(source: Source, limits: Limits) -> int | None:
    """Evaluations that every sample will take; None where its sampler finds out on the way."""
    if not isinstance(source.model, Sampler) or source.grid is None:
        return 1 if isinstance(source.model, Generator) else None
    expected = evaluations_on(source.model, source.grid)
    if expected > limits.evaluations:
        raise UserError(
            f"request: method: these settings make {expected:,} evaluations a sample, more than "
            f"{limits.evaluations:,}: ask for fewer"
        )
    return expected


def _trajectory(watch: Watch, offer: Offer) -> dict[str, Any]:
    """Ways of samples for the page: images as one sheet, a line a sample with noised and denoised in turn."""
    paths = {number: watch.path(number) for number in watch.followed}
    shared: dict[str, Any] = {
        "samples": list(paths),
        "noise": [[float(f"{frame.noise:.4g}") for frame in path] for path in paths.values()],
    }
    if offer.is_images:
        return shared | {"sheet": base64.b64encode(_sheet(list(paths.values()), watch, offer.shape)).decode()}
    shared["x_t"] = [[_rounded(frame.x_t) for frame in path] for path in paths.values()]
    shared["denoised"] = [[_rounded(frame.denoised) for frame in path] for path in paths.values()]
    return shared


def _rounded(point: Tensor) -> list[float | None]:
    """Coordinates for a plot; None for what JSON cannot hold."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in point.tolist()]


def _sheet(paths: Sequence[Sequence[TrajectoryPoint]], watch: Watch, shape: Sequence[int]) -> bytes:
    channels, height, width = shape
    sheet = torch.zeros(len(paths), height, 2 * FRAMES, width, channels, dtype=torch.uint8)
    for line, path in enumerate(paths):
        for column, frame in enumerate(path):
            for place, picture in (
                (2 * column, unit_variance(frame, watch.schedule)),
                (2 * column + 1, frame.denoised),
            ):
                sheet[line, :, place] = _pixels(picture)
    pixels = sheet.reshape(len(paths) * height, 2 * FRAMES * width, channels).numpy()
    content = io.BytesIO()
    Image.fromarray(np.squeeze(pixels, 2) if channels == 1 else pixels).save(content, format="PNG")
    return content.getvalue()


def _pixels(picture: Tensor) -> Tensor:
    """(H, W, C) bytes of a picture that may not be finite on its way."""
    return to_uint8(torch.nan_to_num(picture).clamp(-1, 1)).permute(1, 2, 0)
