"""The logs of a run as event files of TensorBoard.

They are written anew by each command, and added to while it follows a run at work.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condgen.errors import UserError
from condgen.export.sources import named_parts
from condgen.files import as_rgb, blamed_on, read_picture, within
from condgen.recipes import read_yaml
from condgen.report import sample_grid
from condgen.runs import read_rows
from condgen.runs.layout import GRID, LOG_FILE, PREVIEWS, RECIPE_FILE, RUN_FILE, SAMPLES_FOLDER, SCORE
from condgen.runs.previews import read_previews

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EVENTS", "Events"]

EVENTS = "tensorboard"
"""The sub-folder of a run for its event files."""

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
        self._written: dict[Path, list[object]] = {}  # by folder of events, the rows or pictures that they show

    def update(self) -> int:
        """Adds new rows of the logs and new pictures of samples; returns how many."""
        return sum(self._add_log(name, place) for name, place in _stages(self.folder)) + self._add_samples()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _add_log(self, name: str, place: Path) -> int:
        rows, out = read_rows(within(place, LOG_FILE)), within(self.out, name)
        known = self._written.get(out, [])
        if not known or known != rows[: len(known)]:  # steps were done again
            self._begin(out)
            known = []
        for row in rows[len(known) :]:
            with blamed_on(place / LOG_FILE):
                self._add_row(out, place, row)
        self._written[out] = list(rows)
        self._flush(out)
        return len(rows) - len(known)

    def _add_row(self, out: Path, place: Path, row: Mapping[str, Any]) -> None:
        step = row.get("step")
        if not isinstance(step, int):
            return
        for tag, value in _scalars(row):
            self._writer(out).add_scalar(tag, value, step)
        if "preview" in row and within(place, f"{PREVIEWS}/{step:08d}.safetensors").is_file():
            preview = read_previews(place, until=step)[-1]
            if preview.x.ndim == 4:
                picture = sample_grid({"": (preview.x, preview.y.tolist())}, preview.names)
                self._writer(out).add_image("samples", np.asarray(picture), step, dataformats="HWC")

    def _add_samples(self) -> int:
        """The grid of every method's samples."""
        added = 0
        for path in sorted(self.folder.glob(f"{SAMPLES_FOLDER}/*/{GRID}")):
            out = within(self.out, f"{SAMPLES_FOLDER}/{path.parent.name}")
            within(self.folder, f"{SAMPLES_FOLDER}/{path.parent.name}/{GRID}")
            changed: list[object] = [path.stat().st_mtime_ns]
            if ".before-" in path.parent.name or self._written.get(out) == changed:
                continue
            try:
                picture = as_rgb(read_picture(path))
            except OSError as error:
                raise UserError(f"{path} is no picture ({error}): delete it") from error
            self._begin(out)
            self._writer(out).add_image("samples", np.asarray(picture), 0, dataformats="HWC")
            self._flush(out)
            self._written[out] = changed
            added += 1
        return added

    def _writer(self, out: Path) -> "SummaryWriter":
        if out not in self._writers:
            self._writers[out] = self._new_writer(str(out))
        return self._writers[out]

    def _flush(self, out: Path) -> None:
        if out in self._writers:
            self._writers[out].flush()

    def _begin(self, out: Path) -> None:
        """Deletes earlier event files."""
        if out in self._writers:
            self._writers.pop(out).close()
        for path in out.glob("events.out.tfevents.*"):
            path.unlink()


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
