"""Reading files that strangers may have written, within bounds, and writing files that are whole or absent.

A file is written next to its target and then renamed over it. What a killed process leaves unfinished, the next one to
hold the folder removes.
"""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from PIL import Image, ImageOps

from condgen.errors import UserError, explain

# For some other formats Pillow starts a program
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM", "TGA", "QOI", "PCX")
PICTURE_SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in _FORMATS)
_MOST = 2**28  # bytes of a text
_UNFINISHED = re.compile(r"\..+\.(\d+)\.tmp")


def cache_folder() -> Path:
    """Where what can be made again is kept between runs: $CONDGEN_CACHE, or condgen below the user's cache."""
    if own := os.environ.get("CONDGEN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "condgen"


def blamed_on(what: object, *more: type[Exception]) -> AbstractContextManager[None]:
    """Turns an error of values that condgen does not write, or of more kinds, into a UserError that names the file."""
    wrong = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    problem = f"{what} holds what condgen does not write"
    return explain(problem, "run the command that made it again", *wrong, *more)


def _open(path: Path, most: int) -> BinaryIO:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for its writer
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if about.st_size > most:
        raise ValueError(f"it holds more than {most:,} bytes")
    return path.open("rb")


def read_bytes(path: Path, most: int = _MOST) -> bytes:
    """The content of a regular file; an OSError for any other, a ValueError for more than so many bytes."""
    with _open(path, most) as file:
        return file.read(most)


def read_text(path: Path, most: int = _MOST) -> str:
    """The same of a file of UTF-8. Another encoding is a ValueError."""
    return read_bytes(path, most).decode("utf-8")


def each_line(path: Path, most: int = _MOST) -> Iterator[str]:
    """The lines of such a file one at a time, without one that was cut short."""
    with _open(path, most) as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1].decode("utf-8")


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON holds values of any kind
    """ValueError for what is no JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_picture(path: Path, *, upright: bool = False) -> Image.Image:
    """The first frame of a picture, decoded, upright where asked; whatever keeps it from being read is an OSError."""
    with _opened(path) as picture:
        picture.load()
        return ImageOps.exif_transpose(picture) if upright else picture


def picture_format(path: Path) -> tuple[str, int]:
    """Its mode and pixels, undecoded; "" and 0 where it cannot be read."""
    try:
        with _opened(path) as picture:
            return picture.mode, picture.width * picture.height
    except OSError:
        return "", 0


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with _open(path, sys.maxsize) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as picture:
                yield picture
    except OSError:
        raise
    except Exception as error:  # decoders raise anything
        raise OSError(str(error) or type(error).__name__) from error


def as_rgb(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")


def within(root: Path, name: str | Path) -> Path:
    """The path of this name in a folder; UserError where the name, or a symbolic link on the way, leads out of it."""
    path = root / name
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or no name at all
        is_inside = False
    if not is_inside:
        raise UserError(f"{str(name)!r} lies outside the folder {root}: correct it, or make the folder again")
    return path


@contextmanager
def naming(path: Path | str, size: int) -> Iterator[None]:
    """Turns an error of the disk into a UserError with the file and the bytes that it needs."""
    try:
        yield
    except OSError as error:
        problem = f"cannot write {path} ({size:,} bytes needed): {error.strerror or error}"
        raise UserError(f"{problem}; mend that: the same command goes on from what is saved") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to make, which takes the place of another where the block ends well, and is removed otherwise."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):  # it may never have begun
            unfinished.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is whole or absent, also when the power fails; raises what `naming` does."""
    with naming(path, len(content)), _replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole(out: Path, advice: str = "choose another place with --out") -> Iterator[Path]:
    """A path to make, which becomes `out`, new or empty, where the block ends well, and is removed otherwise."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another place with --out, or delete it")
    with explain(f"cannot write {out}", advice, OSError), _replacing(out) as unfinished:
        yield unfinished


def to_png(picture: Image.Image, *, optimize: bool = False) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=optimize)
    return content.getvalue()


def write_png(path: Path, picture: Image.Image) -> None:
    write_atomically(path, to_png(picture))


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
    """Removes the unfinished files of processes that are gone below a folder, which this process holds."""
    for path in folder.rglob(".*.tmp"):
        found = _UNFINISHED.fullmatch(path.name)
        if found is not None and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
            with contextlib.suppress(OSError):  # nothing depends on it
                path.unlink()
