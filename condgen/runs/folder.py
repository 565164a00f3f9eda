"""A run folder: the only currency between commands.

`stage.json` says which settings, by content hash, the folder holds and whether they are finished. The same settings
again resume, or do nothing; other settings set the old folder aside, so that nothing is ever overwritten.
"""

import fcntl
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel

from condgen.errors import UserError
from condgen.files import (
    append,
    each_line,
    is_unfinished,
    open_file,
    parse_json,
    read_bytes,
    read_text,
    remove_unfinished,
    write_atomically,
)
from condgen.hub import CONFIG_FILE
from condgen.recipes import read_yaml, to_yaml
from condgen.runs.layout import LOCK_FILE, LOG_FILE, MODEL_FILE, RECIPE_FILE, STAGE_FILE
from condgen.training import Processes

__all__ = [
    "Progress",
    "Stage",
    "Work",
    "each_row",
    "file_key",
    "in_main",
    "lock",
    "open_stage",
    "read_json",
    "read_rows",
    "read_settings",
    "write_json",
]


class Progress(NamedTuple):
    """What a stage yields while it works."""

    stage: str
    done: int
    total: int
    images: int  # processed so far in this session of the stage, for a rate
    note: str = ""
    message: str = ""  # something that the user should read
    preview: Path | None = None  # the folder of a stage that has just written a preview: pictures can be drawn
    together: bool = False  # every process of the run yields this very event, so that all can stop here


Work: TypeAlias = Generator[Progress, None, None]
"""A stage at work. Closing it early makes it save what it has."""


class Stage:
    """One stage of work in its folder. Of many processes each has one, and that of process 0 alone writes.

    Args:
        name: for people.
        folder: where its files lie.
        key: content hash of its settings and inputs.
        record: what `stage.json` says.
        message: what the user should know before work begins.

    Attributes:
        finished: whether there is nothing left to do: it was finished, and what it wrote is still here.
        writes: whether this process writes the files.
    """

    def __init__(self, name: str, folder: Path, key: str, record: dict[str, Any], message: str = "") -> None:
        self.name, self.folder, self.key, self.record, self.message = name, folder, key, record, message
        self._started = time.perf_counter()
        self._seconds_before = float(record.get("seconds", 0.0))
        outputs = record.get("outputs", [])
        self.finished = bool(record.get("finished")) and all((folder / name).exists() for name in outputs)
        self.writes = True

    @property
    def seconds(self) -> float:
        """Working time so far, earlier sessions included."""
        return self._seconds_before + time.perf_counter() - self._started

    def note(self, **facts: object) -> None:
        """Writes facts, and the time spent, to `stage.json`."""
        self.record |= {"stage": self.name, "key": self.key, "seconds": round(self.seconds, 3)} | facts
        if self.writes:
            write_json(self.folder / STAGE_FILE, self.record)

    def finish(self, outputs: Sequence[str] = (), **facts: object) -> None:
        """Marks the stage as finished, with the files that it has written."""
        self.note(finished=True, outputs=list(outputs), **facts)
        self.finished = True

    def start(self) -> Iterator[Progress]:
        """What the user should read before the work begins."""
        if self.message:
            yield Progress(self.name, 0, 1, 0, message=self.message)

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends a row to `log.jsonl`."""
        if self.writes:
            append(self.folder / LOG_FILE, json.dumps(row) + "\n")

    def forget_log_after(self, step: int) -> None:
        """Drops the rows of steps that will be done again."""
        path = self.folder / LOG_FILE
        if self.writes and path.exists():
            kept = [row for row in read_rows(path) if row.get("step", 0) <= step]
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())


def open_stage(name: str, folder: Path, key: str, settings: BaseModel, processes: Processes | None = None) -> Stage:
    """Opens a folder for a stage: fresh, to be resumed, or finished. A folder of other settings is set aside.

    Args:
        name: for people; its first word is the kind of stage.
        folder: where its files lie, or will.
        key: content hash of its settings and inputs.
        settings: what is asked for.
        processes: those that work on it, and all call this: process 0 decides for them. None where this process is the
            only one.

    Raises:
        UserError: where the folder holds a stage of another kind, or files that are not condgen's.
    """
    if processes is None:
        return _open(name, folder, key, settings)
    stage = processes.once(lambda: _open(name, folder, key, settings))
    stage.writes = processes.is_main
    return stage


def in_main(processes: Processes, work: Work) -> Work:
    """Work that process 0 does while the others wait."""
    if processes.is_main:
        yield from work
    processes.wait()


def _open(name: str, folder: Path, key: str, settings: BaseModel) -> Stage:
    path = folder / STAGE_FILE
    record: dict[str, Any] = {}
    message = ""
    if path.exists():
        record = read_json(path)
        _check_record(record, path)
        before = str(record.get("stage", "unknown"))
        if before.split()[:1] != name.split()[:1]:
            raise UserError(f"{folder} holds a stage of another kind ({before}): choose another folder with --out")
        if record.get("key") != key:
            kept = _set_aside(folder, str(record.get("key", "unknown")))
            message = f"{name}: settings or inputs changed; the earlier run is kept in {kept}"
            record = {}
    else:
        refuse_foreign_files(folder)
    stage = Stage(name, folder, key, record, message)
    if not record:
        stage.note(finished=False)  # first: it makes the folder one of condgen's
    if not (folder / RECIPE_FILE).exists():
        write_atomically(folder / RECIPE_FILE, to_yaml(settings).encode())
    return stage


def _check_record(record: Mapping[str, Any], path: Path) -> None:
    """Raises where what `stage.json` says of a stage is not what one has written."""
    seconds, outputs = record.get("seconds", 0.0), record.get("outputs", [])
    fits = isinstance(seconds, int | float) and math.isfinite(seconds) and isinstance(outputs, list)
    if not fits or not all(isinstance(name, str) and "\0" not in name for name in outputs):
        raise UserError(f"{path} is damaged (its seconds or outputs): delete it and run the command again")


def refuse_foreign_files(folder: Path) -> None:
    """Raises where a folder that condgen did not make holds anything."""
    if folder.is_dir() and not all(entry.name == LOCK_FILE or is_unfinished(entry) for entry in folder.iterdir()):
        raise UserError(f"{folder} holds files that condgen did not write: choose an empty or new folder")


def _set_aside(folder: Path, key: str) -> Path:
    """Moves all but the lock, which this process holds, to a folder beside it.

    `stage.json` goes last: until it is there, an earlier attempt was cut short, and this one goes on with it.
    """
    key = re.sub(r"[^0-9A-Za-z]", "", key)  # it stands in a file, which may say anything
    target = folder.with_name(f"{folder.name}.before-{key[:8]}")
    number = 2
    while (target / STAGE_FILE).exists():
        target = folder.with_name(f"{folder.name}.before-{key[:8]}-{number}")
        number += 1
    target.mkdir(exist_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == STAGE_FILE):
        if entry.name != LOCK_FILE:
            entry.rename(target / entry.name)
    return target


@contextmanager
def lock(folder: Path, processes: Processes | None = None) -> Iterator[None]:
    """Holds a folder for this run; another run is told so. The lock goes with the process, however it ends.

    Args:
        folder: what to hold.
        processes: of this run: process 0 holds it for all.
    """
    with ExitStack() as stack:
        if processes is None:
            stack.enter_context(_held(folder))
        else:
            processes.once(lambda: stack.enter_context(_held(folder)))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}; choose another folder with --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another condgen process is at work in {folder}: wait for it, or stop it") from error
        remove_unfinished(folder)
        yield


def file_key(path: Path) -> str:
    """A short content hash of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        hint = "train it first, or name its folder" if path.name == MODEL_FILE else "check the folder"
        raise UserError(f"cannot read {path} ({error.strerror}): {hint}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = parse_json(read_text(path))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: name a folder that a condgen command has written") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the command again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not a JSON object): delete it and run the command again")
    return value


def read_settings(folder: Path) -> dict[str, Any]:
    """What the stage in a folder was asked for, also in one that `condgen export` has written."""
    recipe, config = folder / RECIPE_FILE, folder / CONFIG_FILE
    settings = read_json(config).get("stage") if config.is_file() and not recipe.is_file() else read_yaml(recipe)
    if not isinstance(settings, dict):
        raise UserError(f"{config} says nothing of how the model was trained: export it with condgen export")
    return settings


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object atomically."""
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def drop_partial_line(path: Path) -> None:
    """Cuts off a last line that was not written to its end, so that more can be appended."""
    try:
        with open_file(path) as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
            if file.read() in (b"", b"\n"):
                return
        content = read_bytes(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the command again") from error
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(path, whole)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line that was cut short is left out."""
    return list(each_row(path))


def each_row(path: Path) -> Iterator[dict[str, Any]]:
    """The same, one at a time: a file of many takes little memory."""
    for number, line in enumerate(_each_line(path), start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is damaged ({error}): delete the line") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number} is not a JSON object: delete the line")
        yield row


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without one that was cut short; none where there is no file."""
    return list(_each_line(path))


def _each_line(path: Path) -> Iterator[str]:
    try:
        yield from each_line(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the command again") from error
