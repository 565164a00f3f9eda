"""Files that are whole or absent, however a process ends.

A file is written beside its target and then renamed over it, so a reader sees the old file or the new one, never half
of one. A process that is killed in between leaves an unfinished file, which the next one to hold the folder removes.
"""

import contextlib
import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image

from condgen.errors import UserError

__all__ = ["append", "is_unfinished", "naming", "remove_unfinished", "write_atomically", "write_png"]

_UNFINISHED = re.compile(r"\..+\.(\d+)\.tmp")


@contextmanager
def naming(path: Path | str, size: int) -> Iterator[None]:
    """Around writing: an error of the disk names the file, and the bytes that are needed for it.

    Raises:
        UserError: where the disk is full, fails, or may not be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({size:,} bytes needed): {error.strerror or error}; once that is mended, the same "
            "command goes on from what is saved"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is either whole or absent, also when the power fails; raises what `naming` does."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path, len(content)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):  # where the folder itself is none
                temporary.unlink()
            raise


def write_png(path: Path, picture: Image.Image) -> None:
    """Writes a picture as PNG so that it is either whole or absent; raises what `naming` does."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    write_atomically(path, content.getvalue())


def append(path: Path, text: str) -> None:
    """Adds whole lines to a file, or none of them where there is no room; raises what `naming` does."""
    content = text.encode()
    with naming(path, len(content)), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


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
