"""The logs of a run as event files of TensorBoard, written anew by each command."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condgen.errors import UserError, from_extra
from condgen.export.folder import models_of_run
from condgen.files import blamed_on
from condgen.report.samples import sample_grid
from condgen.runs.folder import read_rows
from condgen.runs.layout import LOG_FILE, PREVIEWS, RUN_FILE
from condgen.runs.monitor import read_previews

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "tensorboard"  # the sub-folder of a run for its event files
_BY_LEVEL = ("accuracy", "cross_entropy", "ece", "gain", "scale")  # of the measures of a classifier


def write_events(folder: Path, out: Path) -> int:
    """Writes a folder a model; returns the number of rows. UserError: TensorBoard is missing, or this is no run's."""
    with from_extra("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    if not any((folder / file).is_file() for file in (LOG_FILE, RUN_FILE)):
        raise UserError(f"{folder} holds no {LOG_FILE}: name the folder of a run, or of a model in training")
    count = 0
    for place in models_of_run(folder)[1] if (folder / RUN_FILE).is_file() else [folder]:
        rows, target = read_rows(place / LOG_FILE), out / place.resolve().name
        for path in target.glob("events.out.tfevents.*"):
            path.unlink()
        if rows:
            with SummaryWriter(str(target)) as writer, blamed_on(place / LOG_FILE):
                for row in rows:
                    _add_row(writer, place, row)
        count += len(rows)
    return count


def _add_row(writer: "SummaryWriter", place: Path, row: Mapping[str, Any]) -> None:
    step = row.get("step")
    if not isinstance(step, int):
        return
    for tag, value in _scalars(row):
        writer.add_scalar(tag, value, step)
    if "preview" in row and (place / PREVIEWS / f"{step:08d}.safetensors").is_file():
        preview = read_previews(place, until=step)[-1]
        if preview.x.ndim == 4:
            picture = sample_grid({"": (preview.x, preview.y.tolist())}, preview.names)
            writer.add_image("samples", np.asarray(picture), step, dataformats="HWC")


def _scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    found = {**row, **{f"preview/{key}": value for key, value in (row.get("preview") or {}).items()}}
    for level in row.get("levels") or ():
        found |= {f"{tag}/noise level {level['sigma']:g}": level.get(tag) for tag in _BY_LEVEL}
    for tag, value in found.items():
        if tag != "step" and isinstance(value, int | float) and math.isfinite(value):
            yield tag, float(value)
