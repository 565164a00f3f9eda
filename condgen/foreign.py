"""Files that others may have written, read within bounds.

What a name stands for may be a pipe that never ends or a device, its text no text, its JSON a million brackets. All of
that is an `OSError` or a `ValueError` here, which callers put into words.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from condgen.errors import UserError

__all__ = ["blamed_on", "each_line", "is_file", "open_file", "parse_json", "read_bytes", "read_text"]

_MOST = 2**28  # bytes of a log, and more than any other text of a run
_DEPTH = 60  # of what JSON nests
_DIGITS = 19
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_UNPAIRED = re.compile(r"[\ud800-\udfff]")


@contextmanager
def blamed_on(what: object, *more: type[Exception]) -> Iterator[None]:
    """Turns what code raises that meets what condgen does not write into an error that names the file or folder.

    Anything may stand where a figure should, and what is checked is never all.

    Args:
        what: it is.
        more: errors that are raised beside those of Python.
    """
    kinds: tuple[type[Exception], ...] = (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        *more,
    )
    try:
        yield
    except kinds as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{what} holds what condgen does not write ({reason}): run the command that made it again"
        ) from error


def is_file(path: Path) -> bool:
    """Whether there is a file that can be read to its end; no error, whatever the path."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def open_file(path: Path) -> BinaryIO:
    """A regular file, open to be read.

    Raises:
        OSError: there is none, it is a pipe, a device or a folder, or it cannot be read.
        ValueError: its name is none.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened, which may wait for another
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb", opener=_without_waiting)


def read_bytes(path: Path, most: int = _MOST) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as from `open_file`.
        ValueError: it holds more than so many bytes, or its name is none.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it holds more than {most:,} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_text(path: Path, most: int = _MOST) -> str:
    """The same of a file of UTF-8; another encoding is a `ValueError`."""
    return read_bytes(path, most).decode("utf-8")


def each_line(path: Path, most: int = _MOST) -> Iterator[str]:
    """The lines of such a file one at a time, without one that was cut short; raises the same while they are read."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"it holds more than {most:,} bytes")
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1].decode("utf-8")


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON holds values of any kind
    """What JSON says, in values that any code can handle: not nested without end, whole numbers of at most 64 bits.

    Halves of characters, which JSON can hold and files cannot, become question marks.

    Raises:
        ValueError: it is no JSON, or such.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        tree = json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [tree] if isinstance(tree, dict | list) else []
    for _ in range(_DEPTH):
        if not level:
            break
        level = [part for node in level for part in _parts(node) if isinstance(part, dict | list)]
    if level:
        raise ValueError(f"it is nested more than {_DEPTH} levels deep")
    return _whole_characters(tree) if _HALF.search(text) else tree


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS + 1 or abs(int(digits)) >= 2**63:
        raise ValueError(f"{digits[:24]} is too large a number")
    return int(digits)


def _parts(node: dict[str, Any] | list[Any]) -> Any:  # noqa: ANN401 - as above
    return node.values() if isinstance(node, dict) else node


def _whole_characters(tree: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(tree, str):
        return _UNPAIRED.sub("\ufffd", tree)
    if isinstance(tree, list):
        return [_whole_characters(part) for part in tree]
    if isinstance(tree, dict):
        return {_UNPAIRED.sub("\ufffd", key): _whole_characters(part) for key, part in tree.items()}
    return tree
