"""A folder of samples: PNGs, and `manifest.jsonl` with a line for each; points stand in the manifest alone."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from condgen.data.folder import list_images
from condgen.data.labelled import to_uint8
from condgen.errors import UNSUITABLE, UserError, explain
from condgen.files import append, naming, read_picture, to_png, within, write_atomically
from condgen.runs.folder import drop_partial_line, each_row, read_json
from condgen.runs.layout import MANIFEST, STAGE_FILE
from condgen.settings import parse


class Sampled(BaseModel, extra="allow"):
    """What is relied upon of a line of a manifest, which may be damaged."""

    label: int = Field(alias="class", strict=True, ge=0, lt=1_000_000)
    name: str
    seed: int = Field(strict=True)
    file: str | None = None
    x: list[float] | None = None


class SampleSet(NamedTuple):
    x: Tensor  # floats (N, ...) as a network sees them
    y: Tensor  # labels of the classes asked for, (N,)
    names: dict[int, str]  # of the classes, by label
    seeds: list[int]  # empty for images that condgen has not drawn


def part_manifest(rank: int) -> str:
    """The manifest of a process other than the first, until all are merged."""
    return f".{rank}-{MANIFEST}"


def merge_manifests(folder: Path) -> set[int]:
    """Makes one manifest, in order of seeds, of those of all processes, where later lines count; returns the seeds."""
    drop_partial_line(folder / MANIFEST)
    parts = sorted(folder.glob(part_manifest(0).replace("0", "[0-9]*", 1)))
    seeds = [_seed(row, folder) for row in each_row(folder / MANIFEST)]
    if parts or any(one >= other for one, other in pairwise(seeds)):
        rows = {_seed(row, path): row for path in (*reversed(parts), folder / MANIFEST) for row in each_row(path)}
        seeds = sorted(rows)
        write_atomically(folder / MANIFEST, "".join(json.dumps(rows[seed]) + "\n" for seed in seeds).encode())
        for part in parts:
            part.unlink()
    return set(seeds)


def _seed(row: dict[str, Any], path: Path) -> int:
    return parse(Sampled, row, str(path)).seed


def picture_of(x: Tensor) -> Image.Image:
    """The picture of an image as a network sees it, (C, H, W) in [-1, 1]."""
    pixels = to_uint8(x[None]).numpy()[0]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))


def encode_samples(
    places: Sequence[int], x: Tensor, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """The manifest's row of each sample (B, ...), and its picture as PNG; points have none."""
    for place, sample, row in zip(places, x, rows, strict=True):
        if sample.ndim == 1:
            yield {"file": None, "x": sample.tolist(), **row}, None
            continue
        yield {"file": f"{place:05d}.png", **row}, to_png(picture_of(sample))


def write_samples(
    folder: Path, places: Sequence[int], x: Tensor, rows: Sequence[dict[str, Any]], manifest: str = MANIFEST
) -> None:
    """Appends samples: pictures, then their lines, so that what is in the manifest is whole; see `encode_samples`."""
    lines = []
    for row, picture in encode_samples(places, x, rows):
        if picture is not None:
            path = os.path.join(folder, row["file"])  # a `Path` would enter its name in Python's table, which grows
            with naming(path, len(picture)), open(path, "wb") as file:
                file.write(picture)
        lines.append(json.dumps(row) + "\n")
    append(folder / manifest, "".join(lines))


def read_manifest(folder: Path) -> list[Sampled]:
    """The lines of a finished folder's manifest; UserError where samples are missing, or a line is damaged."""
    if not read_json(folder / STAGE_FILE).get("finished"):
        raise UserError(f"{folder} is not finished: run the command that made it again, it goes on where it stopped")
    return [parse(Sampled, row, str(folder / MANIFEST)) for row in each_row(folder / MANIFEST)]


def is_image_folder(folder: Path) -> bool:
    """Whether a folder holds images alone, which no sampling stage has described."""
    return folder.is_dir() and not any((folder / file).exists() for file in (MANIFEST, STAGE_FILE))


def read_images(folder: Path, size: int | None, of: str | None) -> SampleSet:
    """The images of a folder, by the names of its sub-folders or all `of` one class, as squares of a size if given."""
    found = list_images(folder, of=of)
    x = torch.from_numpy(found.read(found.files, size)).float() / 127.5 - 1
    return SampleSet(x, torch.tensor([file.label for file in found.files]), dict(enumerate(found.names)), [])


def picture_side(folder: Path) -> int | None:
    """The side of the pictures that a sampling stage has written, if they are squares."""
    row = next(each_row(folder / MANIFEST), {})
    if row.get("file") is None:
        return None
    _, height, width = _read_picture(folder, str(row["file"])).shape
    return height if height == width else None


def read_samples(folder: Path) -> SampleSet:
    """What a sampling stage has written; UserError where samples are missing, not finished, or damaged."""
    parsed = read_manifest(folder)
    labels, seeds = torch.tensor([row.label for row in parsed]), [row.seed for row in parsed]
    names = {row.label: row.name for row in parsed}
    with explain(f"{folder / MANIFEST} does not describe samples", "sample again", *UNSUITABLE):
        if parsed[0].file is None:
            points = torch.tensor([row.x for row in parsed], dtype=torch.float32)
            if points.ndim != 2:
                raise ValueError("points have coordinates")
            return SampleSet(points, labels, names, seeds)
        images = np.stack([_read_picture(folder, str(row.file)) for row in parsed])
    return SampleSet(torch.from_numpy(images).float() / 127.5 - 1, labels, names, seeds)


def _read_picture(folder: Path, file: str) -> np.ndarray:
    path = within(folder, file)
    with explain(f"{path} is missing or damaged", f"delete {folder} and sample again", OSError):
        picture = read_picture(path)
        if picture.mode not in ("L", "RGB"):
            raise OSError(f"its mode is {picture.mode}, which condgen does not write")
        pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
