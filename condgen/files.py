"""Files that are whole or absent, however a process ends.

A file is written beside its target and then renamed over it, so a reader sees the old file or the new one, never half
of one. A process that is killed in between leaves an unfinished file, which the next one to hold the folder removes.
"""

import contextlib
import os
import re
from pathlib import Path

import psutil

from condgen.errors import UserError

__all__ = ["is_unfinished", "remove_unfinished", "write_atomically"]

_UNFINISHED = re.compile(r"\..+\.(\d+)\.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is either whole or absent, also when the power fails.

    Raises:
        UserError: with the bytes that are needed, where the disk is full, fails, or may not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where the folder itself is none
            temporary.unlink()
        raise UserError(f"cannot write {path} ({len(content):,} bytes needed): {error.strerror}") from error


def is_unfinished(path: Path) -> bool:
    """Whether `write_atomically` has begun a file of this name, and not finished it."""
    return _UNFINISHED.fullmatch(path.name) is not None


def remove_unfinished(folder: Path) -> None:
    """Removes what processes that are gone have not finished below a folder, which this process holds."""
    for path in folder.rglob(".*.tmp"):
        found = _UNFINISHED.fullmatch(path.name)
        if found is not None and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
            with contextlib.suppress(OSError):  # nothing depends on it
                path.unlink()
