"""Pictures that few expect, and things that are called pictures and are none."""

import contextlib
import functools
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from reliability.files.mutate import NAMES, hostile_bytes

__all__ = ["FILES", "PLACES", "Planted", "bomb", "file_name", "grey", "hostile_file", "planted", "png"]


class Planted:
    """Whoever unpickles it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.canary, "unpickled")


def planted(chance: Random, canary: Path) -> bytes:
    """A pickle that writes the canary, as it is or as numpy and torch wrap one."""
    content = pickle.dumps(Planted(canary))
    packed = io.BytesIO()
    match chance.randrange(3):
        case 0:
            return content
        case 1:
            np.save(packed, np.array([Planted(canary)], dtype=object), allow_pickle=True)
        case _:
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr(zipfile.ZipInfo("archive/data.pkl"), content)  # without today's date
                archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    return packed.getvalue()


def grey(chance: Random, side: int = 8) -> Image.Image:
    """A small picture."""
    return Image.frombytes("L", (side, side), chance.randbytes(side * side))


def _encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format=form, **options)
    return out.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, extra: bytes = b"") -> bytes:
    """A PNG of these compressed pixels, whatever it claims to be."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


@functools.cache
def bomb(side: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of zeros alone: some kilobytes that stand for side x side pixels."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    line, packer = bytes(1 + (side * samples * depth + 7) // 8), zlib.compressobj(1)
    return png(side, side, depth, colour, b"".join(packer.compress(line) for _ in range(side)) + packer.flush())


def _palette(chance: Random) -> bytes:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette(chance.randbytes(chance.choice((3, 6, 48, 768))))
    return _encoded(picture, transparency=chance.choice((0, 1, 255, b"\xff\x80", chance.randbytes(9))))


def _animated(chance: Random) -> bytes:
    form = chance.choice(("PNG", "WEBP", "GIF"))
    return _encoded(grey(chance), form, save_all=True, append_images=[grey(chance) for _ in range(5)], duration=40)


def _with_exif(chance: Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = chance.choice((0, 1, 3, 6, 8, 9, 65535))
    block = exif.tobytes()
    if chance.random() < 0.7:
        block = block[:6] + hostile_bytes(chance, block[6:])
    return _encoded(grey(chance), chance.choice(("JPEG", "PNG", "WEBP")), exif=block)


def _claims(chance: Random) -> bytes:
    sizes = (0, 1, 8, 2**16, 50_000, 2**31 - 1, 2**32 - 1)
    width, height = chance.choice(sizes), chance.choice(sizes)
    depth, colour = chance.choice((0, 1, 2, 4, 8, 16, 255)), chance.choice((0, 1, 2, 3, 4, 6, 7))
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) if chance.random() < 0.2 else b""
    return png(width, height, depth, colour, zlib.compress(bytes(chance.choice((0, 9, 72, 10**5)))), text)


def _giant(chance: Random) -> bytes:
    kinds = ((4000, 1, 0), (3000, 8, 0), (2000, 8, 2), (2000, 8, 6), (12_000, 1, 0), (40_000, 1, 0))
    rare = ((9400, 8, 6), (9400, 8, 2), (13_300, 8, 0))  # near what is let in, and beyond it
    return bomb(*chance.choice(rare if chance.random() < 0.01 else kinds))


def _mode(chance: Random) -> bytes:
    kinds = (
        *(("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "JPEG"), ("YCbCr", "JPEG")),
        *(("I;16", "PNG"), ("F", "TIFF"), ("CMYK", "TIFF"), ("RGB", "BMP"), ("1", "BMP"), ("P", "GIF")),
    )
    mode, form = chance.choice(kinds)
    return _encoded(Image.new(mode, (8, 8), 1 if mode in ("1", "I", "F", "I;16", "P") else None), form)


def _script(chance: Random) -> bytes:
    """Forms that other programs are started for, and that are no pictures at all."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(canary) (w) file\n%%EOF\n"
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    return chance.choice((eps, svg, b"", b"\0" * 100, b"GIF89a", b"BM", b"RIFF\xff\xff\xff\xffWEBP", b"\xff\xd8\xff"))


def _mutated(chance: Random) -> bytes:
    form = chance.choice(("PNG", "JPEG", "WEBP", "BMP"))
    return hostile_bytes(chance, _encoded(grey(chance, chance.choice((1, 8, 33))), form))


FILES: dict[str, Callable[[Random], bytes]] = {
    "changed bytes": _mutated,
    "palette": _palette,
    "animated": _animated,
    "mode": _mode,
    "exif": _with_exif,
    "claims": _claims,
    "giant": _giant,
    "no picture": _script,
}
"""What a file that is called a picture may hold."""


def hostile_file(chance: Random) -> bytes:
    """The content of a file that is called a picture."""
    return chance.choices(list(FILES.values()), weights=(10, 3, 2, 5, 5, 5, 2, 2))[0](chance)


# ----------------------------------------------------------------------------------------------------
# Places that are no files


def _socket(path: Path, _: Path) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:  # names of sockets are short
        here = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def _device(path: Path, _: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, for those who may
    except OSError:
        os.mkfifo(path)


def _circle(path: Path, _: Path) -> None:
    other = path.with_name("other.png")
    other.unlink(missing_ok=True)
    path.symlink_to(other)
    other.symlink_to(path)


def _unreadable(path: Path, _: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


def _sparse(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 * 2**30)


PLACES: dict[str, Callable[[Path, Path], None]] = {
    "fifo": lambda path, _: os.mkfifo(path),
    "socket": _socket,
    "device": _device,
    "folder": lambda path, _: path.mkdir(),
    "link out": lambda path, outside: path.symlink_to(outside / "secret.txt"),
    "link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path, _: path.symlink_to(path.with_name("gone")),
    "circle": _circle,
    "unreadable": _unreadable,
    "8 GB of nothing": _sparse,
}
"""What may lie where a file is expected; each makes it, and is told of a folder that nobody is to read."""


def file_name(chance: Random, suffix: str = ".png") -> str:
    """A name as file systems take it, with whatever they take."""
    name = chance.choice((*NAMES, "half\udcff", "a\tb", "-rf", "con", "x" * 240)).replace("/", "_").replace("\0", "")
    coded = name.encode("utf-8", "surrogateescape" if "\udcff" in name else "replace")[:240]
    return os.fsdecode(coded.strip(b".") or b"x") + suffix
