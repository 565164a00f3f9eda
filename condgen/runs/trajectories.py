"""The trajectories stage: a few samples of every many-step method on their way from noise, for people to look at.

`trajectories.json` has a row a sample, with the noise levels that are shown, and at each of them the state x_t and the
denoised estimate: images as two strips of equal pictures in a PNG each, points as coordinates.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condgen.data import to_uint8
from condgen.files import write_png
from condgen.recipes import TrajectoryStage, content_key
from condgen.runs.folder import write_json
from condgen.runs.layout import TRAJECTORIES
from condgen.runs.models import Models
from condgen.runs.sample import open_source, sampler_defaults
from condgen.runs.stage import Progress, Work, open_stage
from condgen.samplers import RecordedTrajectory, record_trajectories, thin_out, unit_variance
from condgen.schedules import Schedule

__all__ = ["trajectories_key", "trajectory_stage"]

_PICTURES, _POINTS = 9, 40  # moments that are kept of a trajectory


def trajectories_key(stage: TrajectoryStage, models: Mapping[str, Models]) -> str:
    """The content hash of everything that the trajectories depend on."""
    keys = [
        part
        for name, method in stage.methods.items()
        for part in (name, sampler_defaults(method, models[name]), *models[name].keys(method))
    ]
    return content_key(stage, *keys)


def trajectory_stage(folder: Path, stage: TrajectoryStage, models: Mapping[str, Models], device: torch.device) -> Work:
    """Draws a few trajectories by every method, or does nothing where that is done.

    They have the seeds of samples, and end in them up to rounding, since batches differ, and networks are in full
    precision here.

    Args:
        folder: where their files go.
        stage: which ones.
        models: of every method.
        device: where to draw them.
    """
    opened = open_stage("trajectories", folder, trajectories_key(stage, models), stage)
    if opened.finished:
        return
    yield from opened.start()
    rows: list[dict[str, Any]] = []
    y = torch.tensor(stage.labels, device=device)
    total = len(stage.methods)
    for done, (name, method) in enumerate(stage.methods.items()):
        yield Progress("trajectories", done, total, done * len(y), name)
        if method.generator is not None:
            continue
        source = open_source(method, models[name], device)  # and no other: two large models may not fit
        assert source.many is not None
        (folder / name).mkdir(exist_ok=True)
        shown = _PICTURES if len(source.shape) == 3 else _POINTS
        paths = record_trajectories(source.many, source.grid, stage.seeds, y, source.shape, device, shown)
        lost: list[str] = []
        for place, path in enumerate(paths):
            label = stage.labels[place]
            row = {"method": name, "class": label, "name": source.names[label], "seed": stage.seeds[place]}
            if path.problem is None and _is_finite(path):
                rows.append(row | _keep(path, source.many.schedule, folder, f"{name}/{place:02d}"))
            else:
                lost.append(f"seed {stage.seeds[place]} of class {source.names[label]!r}")
        if lost:
            more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
            text = f"trajectories: {name}: left out since they cannot be used: {', '.join(lost[:3])}{more}"
            yield Progress("trajectories", done, total, done * len(y), name, text)
        del source, paths
    write_json(folder / TRAJECTORIES, {"rows": rows})
    pictures = [row[kind] for row in rows for kind in ("x_t", "denoised") if isinstance(row[kind], str)]
    what = f"{len(y)} each by {total} method{'s' if total > 1 else ''}"
    opened.finish([TRAJECTORIES, *pictures], what=what)
    yield Progress("trajectories", total, total, 0)


def _is_finite(path: RecordedTrajectory) -> bool:
    """Whether the sample and all that it passed through are made of finite numbers."""
    parts = [path.x, *(part for point in path.points for part in (point.x_t, point.denoised))]
    return all(bool(part.isfinite().all()) for part in parts)


def _keep(path: RecordedTrajectory, schedule: Schedule, folder: Path, stem: str) -> dict[str, Any]:
    """What a row says of a trajectory beside its method, class and seed; pictures are written."""
    images = path.x.ndim == 3
    chosen = thin_out(path.points, _PICTURES if images else _POINTS)
    row: dict[str, Any] = {"evaluations": path.evaluations, "noise": [point.noise for point in chosen]}
    denoised = torch.stack([point.denoised for point in chosen]).cpu()
    if not images:  # in units of the data: x_t / alpha_t
        scales = schedule.alpha(torch.tensor([point.t for point in chosen], dtype=torch.float64)).float()
        states = torch.stack([point.x_t for point in chosen]).cpu() / scales[:, None]
        return row | {"x_t": states.tolist(), "denoised": denoised.tolist()}
    states = torch.stack([unit_variance(point, schedule) for point in chosen]).cpu()
    for kind, x in (("x_t", states), ("denoised", denoised)):
        row[kind] = f"{stem}-{kind}.png"
        write_png(folder / row[kind], _strip(x))
    return row


def _strip(x: Tensor) -> Image.Image:
    """Images (n, C, H, W) side by side, with nothing between them."""
    pixels = np.concatenate(list(to_uint8(x).numpy()), axis=2)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
