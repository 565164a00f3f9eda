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
from condgen.noise import Schedule
from condgen.recipe import TrajectoryStage, content_key
from condgen.run.folder import Progress, Work, open_stage, write_json
from condgen.run.guided import Models
from condgen.run.sample import defaults_of, open_source
from condgen.sampling import Path as Trajectory
from condgen.sampling import frames, pick_frames, unit_scale

__all__ = ["TRAJECTORIES", "TRAJECTORIES_FOLDER", "trajectory_stage"]

TRAJECTORIES_FOLDER, TRAJECTORIES = "trajectories", "trajectories.json"
_PICTURES, _POINTS = 9, 40  # moments that are kept of a trajectory


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
    sources = {name: open_source(method, models[name], device) for name, method in stage.methods.items()}
    keys = [
        part
        for name, method in stage.methods.items()
        for part in (name, defaults_of(method, sources[name]), *models[name].keys(method))
    ]
    opened = open_stage("trajectories", folder, content_key(stage, *keys), stage)
    if opened.finished:
        return
    yield from opened.start()
    rows: list[dict[str, Any]] = []
    y = torch.tensor(stage.labels, device=device)
    for done, (name, source) in enumerate(sources.items()):
        yield Progress("trajectories", done, len(sources), done * len(y), name)
        if source.many is None:
            continue
        (folder / name).mkdir(exist_ok=True)
        paths = frames(source.many, source.grid, stage.seeds, y, source.shape, device)
        for place, path in enumerate(paths):
            label = stage.labels[place]
            row = {"method": name, "class": label, "name": source.names[label], "seed": stage.seeds[place]}
            if path.problem is None and bool(path.x.isfinite().all()):
                rows.append(row | _keep(path, source.many.schedule, folder, f"{name}/{place:02d}"))
    write_json(folder / TRAJECTORIES, {"rows": rows})
    opened.finish([TRAJECTORIES], what=f"{len(y)} each by {len(sources)} method{'s' if len(sources) > 1 else ''}")
    yield Progress("trajectories", len(sources), len(sources), 0)


def _keep(path: Trajectory, schedule: Schedule, folder: Path, stem: str) -> dict[str, Any]:
    """What a row says of a trajectory beside its method, class and seed; pictures are written."""
    images = path.x.ndim == 3
    chosen = pick_frames(path.frames, _PICTURES if images else _POINTS)
    row: dict[str, Any] = {"evaluations": path.evaluations, "noise": [frame.noise for frame in chosen]}
    denoised = torch.stack([frame.denoised for frame in chosen]).cpu()
    if not images:  # in units of the data: x_t / alpha_t
        scales = schedule.alpha(torch.tensor([frame.t for frame in chosen], dtype=torch.float64)).float()
        states = torch.stack([frame.x_t for frame in chosen]).cpu() / scales[:, None]
        return row | {"x_t": states.tolist(), "denoised": denoised.tolist()}
    states = torch.stack([unit_scale(frame, schedule) for frame in chosen]).cpu()
    for kind, x in (("x_t", states), ("denoised", denoised)):
        row[kind] = f"{stem}-{kind}.png"
        _strip(x).save(folder / row[kind])
    return row


def _strip(x: Tensor) -> Image.Image:
    """Images (n, C, H, W) side by side, with nothing between them."""
    pixels = np.concatenate(list(to_uint8(x).numpy()), axis=2)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
