"""Samples in one tar for webdataset: `NUMBER.png`, `NUMBER.cls`, the class, `NUMBER.json`, the manifest's line."""

import io
import tarfile
from pathlib import Path

from condgen.errors import UserError
from condgen.files import blamed_on, read_bytes, whole, within
from condgen.runs.sample_folder import read_manifest


def pack(folder: Path, out: Path) -> None:
    """Writes a set of samples to a tar, whole or not at all; a UserError for what is unfinished or has no pictures."""
    rows = read_manifest(folder)
    if not rows or any(row.file is None for row in rows):
        raise UserError(f"{folder} holds no pictures: points stand in its manifest.jsonl, which is JSON a line")
    with whole(out) as unfinished, tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, row in enumerate(rows):
            about = row.model_dump_json(by_alias=True, exclude={"file"}, exclude_unset=True)
            path = within(folder, str(row.file))
            with blamed_on(path, OSError):
                picture = read_bytes(path)
            for suffix, content in {"png": picture, "cls": b"%d" % row.label, "json": about.encode()}.items():
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")  # of no owner and no time
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
