"""Pictures that claim to be what they are not, and pickles in their place."""

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np


class Planted:
    """Whoever unpickles it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.write_text, (self.canary, "unpickled")


def planted(chance, canary: Path) -> bytes:
    """A pickle that writes the canary, as it is or as numpy and torch wrap one."""
    content, packed = pickle.dumps(Planted(canary)), io.BytesIO()
    match chance.randrange(3):
        case 0:
            return content
        case 1:
            np.save(packed, np.array([Planted(canary)], dtype=object), allow_pickle=True)
        case _:
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("archive/data.pkl", content)
                archive.writestr("archive/version", "3\n")
    return packed.getvalue()


def png(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    """A PNG of these compressed pixels, whatever it claims to be."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bomb(side: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of zeros alone: some kilobytes that stand for side x side pixels."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    line, packer = bytes(1 + (side * samples * depth + 7) // 8), zlib.compressobj(1)
    return png(side, side, depth, colour, b"".join(packer.compress(line) for _ in range(side)) + packer.flush())
