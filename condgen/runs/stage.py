"""A stage of work, and its folder.

`stage.json` says which settings, by content key, a folder holds and whether they are finished. The same settings again
resume, or do nothing; more steps or samples go on from those that there are; other settings set the old folder aside,
so that nothing is ever overwritten.
"""

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field

from condgen.errors import UserError
from condgen.files import append, is_unfinished, remove_unfinished, write_atomically
from condgen.recipes.compose import content_key, to_yaml
from condgen.runs.folder import file_key, read_json, read_rows, write_json
from condgen.runs.layout import LOCK_FILE, LOG_FILE, RECIPE_FILE, STAGE_FILE
from condgen.settings import parse
from condgen.training.distributed import Processes


class Progress(NamedTuple):
    """What a stage yields while it works."""

    stage: str
    done: int
    total: int
    images: int = 0  # processed so far in this session of the stage, for a rate
    note: str = ""
    message: str = ""  # something that the user should read
    preview: Path | None = None  # the folder of a stage that has just written a preview, or all samples
    seconds: float = 0.0  # since the stage began, where it is one of many
    together: bool = False  # every process of the run yields this very event, so that all can stop here


Work: TypeAlias = Generator[Progress, None, None]
"""A stage at work. Closing it early makes it save what it has."""


class _Record(BaseModel, extra="allow"):
    """What is relied upon of `stage.json`, which may be damaged."""

    seconds: float = Field(default=0.0, allow_inf_nan=False)
    outputs: list[str] = []
    total: int = 0
    earlier: list[int] = []  # totals that it was finished with, or begun with, before there was more to do


class Key(NamedTuple):
    whole: str  # content key of everything that the results of a stage depend on
    base: str  # of everything but how many steps or samples there are
    total: int  # these

    def continues(self, record: Mapping[str, Any]) -> bool:
        """Whether a folder with this `stage.json` holds the same with fewer steps or samples."""
        return record.get("base") == self.base and record.get("total", self.total) < self.total


class StageFolder:
    """A stage's folder, open for its work. Of many processes each has one, and that of process 0 alone writes."""

    def __init__(self, name: str, folder: Path, key: Key, record: dict[str, Any], message: str = "") -> None:
        self.name, self.folder, self.key, self.record, self.message = name, folder, key, record, message
        self._started = time.perf_counter() - float(record.get("seconds", 0.0))
        self.finished = is_finished(record, folder)
        self.writes = True

    def note(self, **facts: object) -> None:
        """Writes facts, and the time spent, to `stage.json`."""
        seconds = time.perf_counter() - self._started
        key = {"key": self.key.whole, "base": self.key.base, "total": self.key.total}
        first = {"stage": self.name, **key, "seconds": round(seconds, 3)}
        self.record = first | self.record | first | facts  # in this order, however the record was read
        if self.writes:
            write_json(self.folder / STAGE_FILE, self.record)

    def finish(self, outputs: Sequence[str] = (), **facts: object) -> None:
        self.note(finished=True, outputs=list(outputs), **facts)
        self.finished = True

    def log(self, row: Mapping[str, Any]) -> None:
        if self.writes:
            append(self.folder / LOG_FILE, json.dumps(row) + "\n")

    def forget_log_after(self, step: int) -> None:
        path = self.folder / LOG_FILE
        if self.writes and path.exists():
            kept = [row for row in read_rows(path) if row.get("step", 0) <= step]
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    name: str  # for people; its first word is the kind of stage
    folder: Path  # where its files go
    settings: BaseModel  # what its `recipe.yaml` says
    unit: ClassVar[str]  # of `total`

    @abstractmethod
    def reads(self) -> list[Path]:
        """The files of other stages on which its results depend."""

    def follows(self) -> list[Path]:
        """The files of other stages after which it is run: those, and what it looks at if it is there."""
        return self.reads()

    def conditions(self) -> list[str]:
        """What else its results depend on, such as the fingerprint of the data."""
        return []

    def key(self) -> Key:
        """Everything that its results depend on; to be asked once the stages below are finished."""
        inputs = *self.conditions(), *map(file_key, self.reads())
        whole, base = (content_key(self.settings, *inputs, length=length) for length in (True, False))
        return Key(whole, base, self.total())

    def total(self) -> int:
        """Steps, samples, noise levels... in all."""
        return 1

    @abstractmethod
    def run(self, processes: Processes) -> Work:
        """Does what is left to do."""

    def open(self, processes: Processes) -> Generator[Progress, None, StageFolder]:
        """Opens the folder: fresh, to go on, or finished. A folder of other settings or inputs is set aside."""
        opened = processes.once(lambda: open_folder(self.name, self.folder, self.key(), self.settings))
        opened.writes = processes.is_main
        if opened.message:
            yield Progress(self.name, 0, 1, message=opened.message)
        return opened

    def tell(self, message: str) -> Progress:
        return Progress(self.name, 0, 1, message=f"{self.name}: {message}")

    def publish(self, run: Path) -> None:  # noqa: B027 - most have nothing to show there
        """Copies what the finished stage has found to the top of a run folder."""


def open_folder(name: str, folder: Path, key: Key, settings: BaseModel) -> StageFolder:
    """Opens a folder for the stage of a key; what `Stage.open` does in process 0."""
    path, recipe = folder / STAGE_FILE, folder / RECIPE_FILE
    record, message = dict[str, Any](), ""
    if path.exists():
        record = read_record(folder)
        before = str(record.get("stage", "unknown"))
        if before.split()[:1] != name.split()[:1]:
            raise UserError(f"{folder} holds a stage of another kind ({before}): choose another folder with --out")
        if key.continues(record):
            message = f"{name}: goes on, with {key.total:,} in all instead of {record['total']:,}"
            record |= {"finished": False, "earlier": [*record.get("earlier", []), record["total"]]}
            recipe.unlink(missing_ok=True)
        elif record.get("key") != key.whole:
            kept = _set_aside(folder, str(record.get("key", "unknown")))
            message = f"{name}: settings or inputs changed; the earlier run is kept in {kept}"
            record = {}
    else:
        refuse_other_files(folder)
    opened = StageFolder(name, folder, key, record, message)
    if record.get("key") != key.whole:
        opened.note(finished=False)  # first: it makes the folder one of condgen's
    if not recipe.exists():
        write_atomically(recipe, to_yaml(settings, folder).encode())
    return opened


def read_record(folder: Path) -> dict[str, Any]:
    """What `stage.json` says; UserError where it is damaged."""
    path = folder / STAGE_FILE
    return parse(_Record, read_json(path), str(path)).model_dump(exclude_unset=True)


def is_finished(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether a folder with this `stage.json` is finished, and its files are still there."""
    return bool(record.get("finished")) and all((folder / name).exists() for name in record.get("outputs", []))


def holds_files(folder: Path) -> bool:
    """Whether there is anything in a folder but its lock and what was not written to the end."""
    return folder.is_dir() and any(entry.name != LOCK_FILE and not is_unfinished(entry) for entry in folder.iterdir())


def refuse_other_files(folder: Path) -> None:
    """Raises where a folder that condgen did not make holds anything."""
    if holds_files(folder):
        raise UserError(f"{folder} holds files that condgen did not write: choose an empty or new folder")


def _set_aside(folder: Path, key: str) -> Path:
    """Moves all but the lock to a neighbouring folder, `stage.json` last: one without it was cut short."""
    key = re.sub(r"[^0-9A-Za-z]", "", key)[:8]  # it stands in a file, which may say anything
    target, number = folder.with_name(f"{folder.name}.before-{key}"), 1
    while (target / STAGE_FILE).exists():
        number += 1
        target = folder.with_name(f"{folder.name}.before-{key}-{number}")
    target.mkdir(exist_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == STAGE_FILE):
        if entry.name != LOCK_FILE:
            entry.rename(target / entry.name)
    return target


@contextmanager
def lock(folder: Path, processes: Processes | None = None) -> Iterator[None]:
    """Holds a folder for all processes of this run until it ends. UserError where another run holds it."""
    held = FileLock(folder / LOCK_FILE, timeout=0)

    def acquire() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.acquire()
        except Timeout as error:
            raise UserError(f"another condgen process is at work in {folder}: wait for it, or stop it") from error
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {error.strerror}; choose another folder with --out") from error
        remove_unfinished(folder)

    try:
        acquire() if processes is None else processes.once(acquire)
        yield
    finally:
        held.release()
