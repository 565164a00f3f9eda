"""A folder of samples: PNGs, and `manifest.jsonl` with a line for each.

Points have no picture; their coordinates stand in the manifest. A set that is drawn in shards lies in sub-folders,
which are read as one set once all are there.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condgen.data import to_uint8
from condgen.errors import UserError
from condgen.files import append, naming, read_picture, write_atomically
from condgen.recipes import Shard
from condgen.runs.folder import drop_partial_line, each_row, read_json, read_lines, read_rows, write_json
from condgen.runs.layout import COST, MANIFEST, STAGE_FILE

__all__ = [
    "Part",
    "append_rows",
    "cut_rows",
    "encode_samples",
    "load_picture",
    "part_folder",
    "parts_left",
    "picture_of",
    "picture_path",
    "read_manifests",
    "read_samples",
    "sample_folders",
    "seeds_written",
    "shard_folder",
    "shards_within",
    "sort_by_seed",
    "write_part_cost",
    "write_samples",
]

_PART = ".part-"
_CLASSES = 1_000_000  # more are a fault of the file
_TOLD = 10  # numbers in a message


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Where a shard of the samples of a folder goes."""
    return folder / f"shard-{shard.number}-of-{shard.of}"


def shards_within(folder: Path) -> dict[Shard, Path]:
    """The shards, finished or not, that a folder holds, by number."""
    places = folder.iterdir() if folder.is_dir() else ()
    named = [(re.fullmatch(r"shard-([1-9]\d*)-of-([1-9]\d*)", place.name), place) for place in places]
    numbers = [(int(found[1]), int(found[2]), place) for found, place in named if found is not None]
    shards = {Shard(number=number, of=of): place for number, of, place in numbers if number <= of}
    return dict(sorted(shards.items(), key=lambda item: item[0].number))


def sample_folders(folder: Path) -> list[Path]:
    """The folders that hold a set of samples, in order of seed: the folder itself, or all its shards.

    Raises:
        UserError: where shards are missing, not finished, or not of one set.
    """
    shards = shards_within(folder)
    if not shards or (folder / STAGE_FILE).exists():
        return [folder]
    counts = sorted({shard.of for shard in shards})
    if len(counts) > 1:
        raise UserError(
            f"{folder} holds shards of {' and '.join(map(str, counts))}: keep those of one number, and move the others"
        )
    records = {s: read_json(place / STAGE_FILE) for s, place in shards.items() if (place / STAGE_FILE).exists()}
    finished = {shard.number for shard, record in records.items() if record.get("finished")}
    lacking = (number for number in range(1, counts[0] + 1) if number not in finished)
    missing = list(islice(lacking, _TOLD))
    if missing:
        raise UserError(
            f"{folder} lacks shards, or they are not finished: {', '.join(map(str, missing))} of {counts[0]}; run the "
            f"command that made the others with --shard {missing[0]}/{counts[0]}"
        )
    if len({record.get("whole") for record in records.values()}) > 1:
        raise UserError(f"{folder} holds shards of different settings or models: draw all of them by one command")
    return list(shards.values())


def seeds_written(folder: Path) -> list[int]:
    """The seeds of the samples that a folder holds, once a line that was cut short is gone."""
    return list(_each_seed(folder))


def _each_seed(folder: Path) -> Iterator[int]:
    drop_partial_line(folder / MANIFEST)
    for row in each_row(folder / MANIFEST):
        yield _seed(row, folder)


def _seed(row: dict[str, Any], folder: Path) -> int:
    seed = row.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"{folder / MANIFEST} holds a sample without a seed: delete {folder} and sample again")
    return seed


def sort_by_seed(folder: Path) -> None:
    """Puts the lines of a manifest, which stand as the samples were finished, in the order of their seeds."""
    if all(one <= other for one, other in pairwise(_each_seed(folder))):  # as always where one process draws
        return
    seeds, lines = seeds_written(folder), read_lines(folder / MANIFEST)
    order = sorted(range(len(seeds)), key=seeds.__getitem__)
    write_atomically(folder / MANIFEST, "".join(lines[place] + "\n" for place in order).encode())


class Part(NamedTuple):
    """What one of many processes has drawn: its pictures lie among the others, its manifest apart until all is merged.

    Attributes:
        rows: the lines of its manifest.
        seconds: of drawing, on the clock that all processes started together.
        evaluations: of networks, by this process.
    """

    rows: list[dict[str, Any]]
    seconds: float
    evaluations: float


def part_folder(folder: Path, session: str, rank: int) -> Path:
    """Where a process other than the first keeps its manifest while it draws."""
    return folder / f"{_PART}{session}-{rank}"


def write_part_cost(place: Path, seconds: float, evaluations: float) -> None:
    """Says what the samples of a part have cost so far; to be called before their lines are written."""
    write_json(place / COST, {"seconds": seconds, "evaluations": evaluations})


def append_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends lines to a manifest."""
    append(folder / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows))


def cut_rows(folder: Path, count: int) -> None:
    """Keeps so many lines of a manifest, the first; what the others name is drawn again."""
    rows = read_rows(folder / MANIFEST)[:count]
    write_atomically(folder / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())


@contextmanager
def parts_left(folder: Path) -> Iterator[list[Part]]:
    """What processes have left that ended before all was drawn, and is new; it is removed once it is taken over.

    Raises:
        UserError: a part does not say what its samples have cost.
    """
    places = sorted(folder.glob(f"{_PART}*"))
    known = set(seeds_written(folder))
    rows = {place: read_rows(place / MANIFEST) for place in places}
    new = [place for place in places if any(_seed(row, place) not in known for row in rows[place])]
    yield [Part(rows[place], *_part_cost(place, folder)) for place in new]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


def _part_cost(place: Path, folder: Path) -> tuple[float, float]:
    cost = read_json(place / COST)
    seconds, evaluations = cost.get("seconds"), cost.get("evaluations")
    if not isinstance(seconds, int | float) or not isinstance(evaluations, int | float):
        raise UserError(f"{place / COST} does not say what samples have cost: delete {folder} and sample again")
    return float(seconds), float(evaluations)


def _as_picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))


def picture_of(x: Tensor) -> Image.Image:
    """The picture of an image as a network sees it, (C, H, W) in [-1, 1]."""
    return _as_picture(to_uint8(x[None]).numpy()[0])


def encode_samples(
    places: Sequence[int], x: Tensor, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """The manifest's row of each sample, and its picture as PNG; None for a point, which stands in the row itself.

    Args:
        places: their numbers in the set, which name the pictures.
        x: as a network sees them, (B, ...) on the CPU.
        rows: what the manifest says of each, beside its file or its coordinates.
    """
    images = to_uint8(x).numpy() if x.ndim == 4 else None
    for i, row in enumerate(rows):
        if images is None:
            yield {"file": None, "x": x[i].tolist(), **row}, None
            continue
        content = io.BytesIO()
        _as_picture(images[i]).save(content, format="PNG")
        yield {"file": f"{places[i]:05d}.png", **row}, content.getvalue()


def write_samples(
    folder: Path, places: Sequence[int], x: Tensor, rows: Sequence[dict[str, Any]], part: Path | None = None
) -> list[dict[str, Any]]:
    """Appends samples: the pictures, then their lines, which it returns, so that what is in the manifest is whole.

    Args:
        folder: of the samples.
        places: their numbers in it.
        x: as a network sees them, (B, ...) on the CPU.
        rows: what the manifest says of each, beside its file or its coordinates.
        part: where the manifest lies, if not beside the pictures.
    """
    lines = []
    for row, picture in encode_samples(places, x, rows):
        if picture is not None:
            path = os.path.join(folder, row["file"])  # a `Path` would enter its name in Python's table, which grows
            with naming(path, len(picture)), open(path, "wb") as file:
                file.write(picture)
        lines.append(row)
    append_rows(part or folder, lines)
    return lines


def read_samples(folder: Path) -> tuple[Tensor, Tensor]:
    """What a sampling stage, or all shards of one, have written: floats (N, ...) as a network sees them, labels (N,).

    Raises:
        UserError: where samples are missing, not finished, or damaged.
    """
    parts = [_read_part(part, rows) for part, rows in read_manifests(folder)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def read_manifests(folder: Path) -> list[tuple[Path, list[dict[str, Any]]]]:
    """The folders that hold a set of samples, in order of seed, and the lines of their manifests.

    Raises:
        UserError: where samples are missing or not finished.
    """
    parts = sample_folders(folder)
    for part in parts:
        if not read_json(part / STAGE_FILE).get("finished"):
            raise UserError(f"{part} is not finished: run the command that made it again, it goes on where it stopped")
    return [(part, read_rows(part / MANIFEST)) for part in parts]


def _read_part(folder: Path, rows: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    try:
        labels = torch.tensor([_label(row["class"]) for row in rows])
        if rows[0].get("file") is None:
            points = torch.tensor([row["x"] for row in rows], dtype=torch.float32)
            if points.ndim != 2:
                raise ValueError("points have coordinates")
            return points, labels
        images = [_read_picture(folder, str(row["file"])) for row in rows]
        x = torch.from_numpy(np.stack(images)).float() / 127.5 - 1
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise UserError(f"{folder / MANIFEST} does not describe samples ({error!r}): sample again") from error
    return x, labels


def _label(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _CLASSES:
        raise ValueError(f"there is no class {value!r}")
    return value


def picture_path(folder: Path, file: str) -> Path:
    """Where a picture that a manifest names lies.

    Raises:
        UserError: where that is not in the manifest's folder.
    """
    path = folder / file
    try:
        inside = Path(file).name == file and not path.is_symlink()
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} names a picture as no file can be named: sample again") from error
    if not inside:
        raise UserError(f"{folder / MANIFEST} names {file!r}, which lies outside the folder: sample again")
    return path


def load_picture(path: Path) -> Image.Image:
    """A picture, decoded. Few bytes may claim to be billions of pixels: that is refused before any are decoded.

    Raises:
        OSError: whatever it is that keeps it from being read.
    """
    return read_picture(path)


def _read_picture(folder: Path, file: str) -> np.ndarray:
    path = picture_path(folder, file)
    try:
        picture = load_picture(path)
        if picture.mode not in ("L", "RGB"):
            raise OSError(f"its mode is {picture.mode}, which condgen does not write")
        pixels = np.asarray(picture)
    except OSError as error:
        raise UserError(f"{path} is missing or damaged ({error}): delete {folder} and sample again") from error
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
