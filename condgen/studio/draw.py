"""From a request to samples, their trajectories and what they cost.

Samples come about by the code of `condgen sample`, in one batch: the same settings, models and seed give the same
pictures, bit for bit, and the same lines of a manifest.
"""

import base64
import contextlib
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condgen.data import to_uint8
from condgen.errors import UserError
from condgen.runs.layout import MANIFEST
from condgen.runs.models import Load, load_anew
from condgen.runs.sample import Source, describe, open_light
from condgen.runs.sample_folder import encode_samples
from condgen.runs.unusable_samples import find_unusable, tell_unusable
from condgen.samplers import Finished, Recorder, Sampler, TrajectoryPoint, evaluations_on, thin_out, unit_variance
from condgen.schedules import Schedule
from condgen.studio.ask import EVALUATIONS, Ask, command_line, stage_of
from condgen.studio.offer import Offer

FRAMES = 10  # of a trajectory, at most
_PIXELS = 2**20  # numbers of all frames that the page is sent

Tell = Callable[[int, int | None], None]  # evaluations so far, and how many there will be where that is known


@dataclass(frozen=True)
class Drawn:
    """Samples, and all that the page shows of them.

    Attributes:
        rows: of the manifest.
        pictures: PNG files, or None for points.
        facts: costs, trajectories and the command, as plain JSON.
    """

    rows: Sequence[dict[str, Any]]
    pictures: Sequence[bytes | None]
    facts: dict[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        samples = []
        for row, picture in zip(self.rows, self.pictures, strict=True):
            sample = {"class": row["class"], "name": row["name"], "seed": row["seed"]}
            samples.append(sample | ({"x": row["x"]} if picture is None else {"png": _text(picture)}))
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


def draw_ask(ask: Ask, offer: Offer, load: Load, device: torch.device, tell: Tell = lambda *_: None) -> Drawn:
    """Draws what is asked for.

    Args:
        ask: the request.
        offer: what there is.
        load: keeps the models that were used before.
        device: where to draw.
        tell: called before every evaluation of a denoiser is used; may raise to stop.

    Raises:
        UserError: where it cannot be drawn as asked.
    """
    stage = stage_of(ask, offer)
    # In bfloat16 a network is changed in place, so that one is not kept.
    source = open_light(stage, offer.folders, device, load if ask.method.precision == "float32" else load_anew)
    n, finished = len(stage.labels), list[Finished]()
    with source.counted() as evaluations, _recorded(source, n, tell) as recorder:
        started = time.perf_counter()
        for found in source.draw(stage.labels, [stage.seed + place for place in stage.places], n):
            finished += found
            if recorder is not None:
                recorder.leave([sample.number for sample in found])
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
        "trajectory": None if recorder is None else _trajectory(recorder, offer),
        "command": command_line(ask, offer),
    }
    return Drawn([row for row, _ in encoded], [picture for _, picture in encoded], facts)


@contextlib.contextmanager
def _recorded(source: Source, n: int, tell: Tell) -> Iterator[Recorder | None]:
    """Records, within the block, as many trajectories as the page is sent, and tells the progress; none of one step."""
    if source.many is None:
        yield None
        return
    denoiser, expected, asked = source.many.denoiser, _expected(source), 0

    def count(*_: object) -> None:
        nonlocal asked
        tell(asked, expected)
        asked += 1

    most = max(1, _PIXELS // (2 * FRAMES * math.prod(source.shape)))
    recorder = Recorder(source.many.schedule, n, range(0, n, math.ceil(n / most)), FRAMES)
    handle = denoiser.register_forward_hook(count)
    try:
        with recorder.on(denoiser):
            yield recorder
    finally:
        handle.remove()


def _expected(source: Source) -> int | None:
    """Evaluations that every sample will take; None where its sampler finds out on the way."""
    if not isinstance(source.model, Sampler) or source.grid is None:
        return None
    expected = evaluations_on(source.model, source.grid)
    if expected > EVALUATIONS:
        raise UserError(
            f"request: method: these settings make {expected:,} evaluations a sample, more than {EVALUATIONS:,}: ask "
            "for fewer"
        )
    return expected


def _trajectory(recorder: Recorder, offer: Offer) -> dict[str, Any]:
    """Trajectories for the page; of images a sheet, a line a sample, with the noised and the denoised in turn."""
    paths = [thin_out(points, FRAMES) for points in recorder.points.values()]
    shared: dict[str, Any] = {
        "samples": list(recorder.points),
        "noise": [[float(f"{frame.noise:.4g}") for frame in path] for path in paths],
    }
    if offer.is_images:
        return shared | {"sheet": _text(_sheet(paths, recorder.schedule, offer.shape))}
    shared["x_t"] = [[_rounded(frame.x_t) for frame in path] for path in paths]
    shared["denoised"] = [[_rounded(frame.denoised) for frame in path] for path in paths]
    return shared


def _rounded(point: Tensor) -> list[float | None]:
    """Coordinates for a plot; None for what JSON cannot hold."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in point.tolist()]


def _sheet(paths: Sequence[Sequence[TrajectoryPoint]], schedule: Schedule, shape: Sequence[int]) -> bytes:
    channels, height, width = shape
    sheet = torch.zeros(len(paths), height, 2 * FRAMES, width, channels, dtype=torch.uint8)
    for line, path in enumerate(paths):
        for column, frame in enumerate(path):
            sheet[line, :, 2 * column] = _pixels(unit_variance(frame, schedule))
            sheet[line, :, 2 * column + 1] = _pixels(frame.denoised)
    pixels = sheet.reshape(len(paths) * height, 2 * FRAMES * width, channels).numpy()
    content = io.BytesIO()
    Image.fromarray(np.squeeze(pixels, 2) if channels == 1 else pixels).save(content, format="PNG")
    return content.getvalue()


def _pixels(picture: Tensor) -> Tensor:
    """(H, W, C) bytes of a picture that may not be finite on its way."""
    return to_uint8(torch.nan_to_num(picture.cpu()).clamp(-1, 1)).permute(1, 2, 0)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
