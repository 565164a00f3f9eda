"""The logs of a run as event files of TensorBoard.

`log.jsonl` is the one log, and stays it: this reads what it says, of runs that were finished long ago as well, and of
one that is at work. What was written is remembered, so that only new rows are added; where training went back to its
last state and did steps again, the stage's events are written anew.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condgen.errors import UserError
from condgen.export.inside import named_parts, within
from condgen.files import as_rgb, blamed_on, read_bytes, read_picture
from condgen.recipes import read_yaml
from condgen.report import sample_grid
from condgen.runs import read_json, read_rows, write_json
from condgen.runs.layout import GRID, LOG_FILE, PREVIEWS, RECIPE_FILE, RUN_FILE, SAMPLES_FOLDER, SCORE
from condgen.runs.previews import read_previews

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EVENTS", "Events"]

EVENTS = "tensorboard"
"""The sub-folder of a run for its event files."""

_MEMORY = "written.json"
_BY_LEVEL = ("accuracy", "cross_entropy", "ece", "gain", "scale")  # of what is measured of a classifier


class Events:
    """Event files of a run or of one stage, a folder for each of its logs.

    Args:
        folder: of the run or the stage.
        out: for the event files.

    Raises:
        UserError: where TensorBoard is not installed, or the folder is no run's.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed: pip install 'condgen[tensorboard]'; log.jsonl holds the same figures"
            ) from error
        if not any((folder / file).is_file() for file in (LOG_FILE, RUN_FILE)):
            raise UserError(f"{folder} holds no {LOG_FILE}: name the folder of a run, or of a model in training")
        self.folder, self.out = folder, out
        self._new_writer = SummaryWriter
        self._writers: dict[Path, SummaryWriter] = {}

    def update(self) -> int:
        """Adds what is new in the logs, and new pictures of samples; returns how many rows and pictures that were."""
        return sum(self._add_log(name, place) for name, place in _stages(self.folder)) + self._add_samples()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _add_log(self, name: str, place: Path) -> int:
        rows, out = read_rows(within(place, LOG_FILE)), within(self.out, name)
        memory = read_json(out / _MEMORY) if (out / _MEMORY).is_file() else {}
        known = int(memory.get("rows", 0))
        if known and memory.get("digest") != _digest(rows[:known]):
            self._forget(out)
            known = 0
        for row in rows[known:]:
            with blamed_on(place / LOG_FILE):
                self._add_row(out, place, row)
        if len(rows) > known:
            self._writer(out).flush()
            write_json(out / _MEMORY, {"rows": len(rows), "digest": _digest(rows)})
        return len(rows) - known

    def _add_row(self, out: Path, place: Path, row: Mapping[str, Any]) -> None:
        step = row.get("step")
        if not isinstance(step, int):
            return
        for tag, value in _scalars(row):
            self._writer(out).add_scalar(tag, value, step)
        if "preview" in row and within(place, f"{PREVIEWS}/{step:08d}.safetensors").is_file():
            look = read_previews(place, until=step)[-1]
            if look.x.ndim == 4:
                picture = sample_grid({"": (look.x, look.y.tolist())}, look.names)
                self._writer(out).add_image("samples", np.asarray(picture), step, dataformats="HWC")

    def _add_samples(self) -> int:
        """The grid of every method's samples."""
        added = 0
        for path in sorted(self.folder.glob(f"{SAMPLES_FOLDER}/*/{GRID}")):
            out = within(self.out, f"samples/{path.parent.name}")
            within(self.folder, f"{SAMPLES_FOLDER}/{path.parent.name}/{GRID}")
            try:
                digest = hashlib.sha256(read_bytes(path)).hexdigest()
            except (OSError, ValueError) as error:
                raise UserError(f"{path} is no picture ({error}): delete it") from error
            if ".before-" in path.parent.name or _remembered(out) == digest:
                continue
            try:
                picture = as_rgb(read_picture(path))
            except OSError as error:
                raise UserError(f"{path} is no picture ({error}): delete it") from error
            self._forget(out)
            self._writer(out).add_image("samples", np.asarray(picture), 0, dataformats="HWC")
            self._writer(out).flush()
            write_json(out / _MEMORY, {"digest": digest})
            added += 1
        return added

    def _writer(self, out: Path) -> "SummaryWriter":
        if out not in self._writers:
            self._writers[out] = self._new_writer(str(out))
        return self._writers[out]

    def _forget(self, out: Path) -> None:
        if out in self._writers:
            self._writers.pop(out).close()
        for path in out.glob("events.out.tfevents.*"):
            path.unlink()


def _remembered(out: Path) -> object:
    return read_json(out / _MEMORY).get("digest") if (out / _MEMORY).is_file() else None


def _digest(rows: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _stages(folder: Path) -> list[tuple[str, Path]]:
    """The stages that train, by the names of their folders: of a run those of its recipe, begun or not."""
    if not (folder / RUN_FILE).is_file():
        return [(folder.resolve().name, folder)]
    path = within(folder, RECIPE_FILE)
    recipe, names = read_yaml(path), [SCORE]
    for part in ("scores", "classifiers", "generators"):
        names += [f"{part.removesuffix('s')}-{name}" for name in named_parts(recipe.get(part), path)]
    return [(name, within(folder, name)) for name in names]


def _scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tags and values of a row: its own figures, a look's, and a classifier's by noise level."""
    yield from _finite(row, "")
    yield from _finite(row.get("preview") or {}, "preview/")
    for level in row.get("levels") or ():
        for tag, value in _finite(level, ""):
            if tag in _BY_LEVEL:
                yield f"{tag}/noise level {level['sigma']:g}", value


def _finite(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if key != "step" and isinstance(value, int | float) and math.isfinite(value):
            yield prefix + key, float(value)
