"""Samples in one file that training pipelines read: a tar for webdataset, or Parquet for the library `datasets`.

A tar holds `NUMBER.png`, `NUMBER.cls` (the class as a number) and `NUMBER.json` (the line of the manifest). Parquet has
the columns image, label, name, seed, sampler and settings (the rest of the line, as JSON), and says in its own metadata
that the first is a picture and the second a class, so that nothing has to be declared when it is read. A large set is
split into files of bounded size. The same samples make the same bytes.
"""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from condgen.errors import UserError
from condgen.files import read_bytes
from condgen.report import parse_rows
from condgen.runs.layout import MANIFEST
from condgen.runs.sample_folder import picture_path, read_manifests

if TYPE_CHECKING:
    import pyarrow

Format: TypeAlias = Literal["webdataset", "parquet"]

SUFFIXES: dict[str, Format] = {".tar": "webdataset", ".parquet": "parquet"}

_MOST_CLASSES = 100_000  # each below the largest has a name in every file
_GROUP = 500  # rows of Parquet that are held and read at a time


class _Sample(BaseModel):
    """A line of a manifest; what else it holds are the settings by which it was drawn."""

    model_config = ConfigDict(strict=True, extra="allow")

    label: int = Field(alias="class", ge=0, lt=_MOST_CLASSES)
    name: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    sampler: str | None = None
    file: str | None = None
    x: Annotated[list[float], Field(min_length=1)] | None = None
    _folder: Path

    def picture(self) -> bytes:
        """Its PNG."""
        path = picture_path(self._folder, str(self.file))
        try:
            return read_bytes(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged ({error}): sample again") from error

    @property
    def size(self) -> int:
        """The coordinates of a point, 0 of a picture, -1 where there is neither."""
        return 0 if self.file else len(self.x or ()) or -1


def pack(folder: Path, out: Path, form: Format, size: int) -> list[Path]:
    """Writes a set of samples to a file, or to several of at most `size` samples; returns them.

    Args:
        folder: what `condgen sample` has written, whole or all shards.
        out: the file; where several are needed, NAME-00000-of-00007.tar and so on.
        form: of the file.
        size: samples a file.

    Raises:
        UserError: where samples are missing, have no picture that the form needs, or a file exists already.
    """
    samples = _read(folder, form)
    names = _class_names(samples)
    count = -(-len(samples) // size)
    targets = [out.with_name(f"{out.stem}-{i:05d}-of-{count:05d}{out.suffix}") for i in range(count)]
    targets = targets if count > 1 else [out]
    taken = next((target for target in (out, *targets) if target.exists()), None)
    if taken is not None:
        raise UserError(f"{taken} exists already: choose another name with --out, or delete it")
    schema = _schema(samples[0], names) if form == "parquet" else None
    unfinished = [target.with_name(f".{target.name}.{os.getpid()}.tmp") for target in targets]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for i, path in enumerate(unfinished):
            part = samples[i * size : (i + 1) * size]
            if schema is None:
                _write_tar(path, part, i * size)
            else:
                _write_parquet(path, part, schema)
        for path, target in zip(unfinished, targets, strict=True):  # all or none, but for a failure between two names
            path.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}: choose another place with --out") from error
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)
    return targets


def _read(folder: Path, form: Format) -> list[_Sample]:
    """The samples of a folder, checked before anything is written."""
    samples = []
    for place, rows in read_manifests(folder):
        for sample in parse_rows(_Sample, rows, str(place / MANIFEST)):
            sample._folder = place
            samples.append(sample)
    if not samples:
        raise UserError(f"{folder} holds no samples: name a folder that condgen sample has written")
    sizes = {sample.size for sample in samples}
    if len(sizes) > 1 or -1 in sizes:
        raise UserError(f"{folder} mixes pictures and points, or points of several sizes: sample again")
    if form == "webdataset" and sizes != {0}:
        raise UserError(f"{folder} holds points, which have no pictures for a tar: name the file .parquet")
    return samples


def _class_names(samples: Sequence[_Sample]) -> list[str]:
    """Names by class; those of which there is no sample, so that numbers stay as they are, are named by the number."""
    known = {sample.label: sample.name for sample in samples}
    found = [known.get(label) or f"class {label}" for label in range(max(known) + 1)]
    count = Counter(found)
    return [name if count[name] == 1 else f"{name} ({label})" for label, name in enumerate(found)]


# ----------------------------------------------------------------------------------------------------
# The two forms


def _write_tar(path: Path, samples: Sequence[_Sample], first: int) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, sample in enumerate(samples, start=first):
            about = sample.model_dump_json(by_alias=True, exclude={"file"}, exclude_unset=True)
            files = {"png": sample.picture(), "cls": str(sample.label).encode(), "json": about.encode()}
            for suffix, content in files.items():
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")  # of no owner and no time
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def _schema(sample: _Sample, names: Sequence[str]) -> "pyarrow.Schema":
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError("Parquet needs pyarrow, which is not installed: pip install 'condgen[parquet]'") from error
    fields = [("label", pa.int64()), ("name", pa.string()), ("seed", pa.int64())]
    fields += [("sampler", pa.string()), ("settings", pa.string())]
    features: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in fields}
    features["label"] = {"names": list(names), "_type": "ClassLabel"}
    if sample.file:
        fields.insert(0, ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
        features = {"image": {"_type": "Image"}} | features
    else:
        places = [f"x{i}" for i in range(sample.size)]
        fields = [*((place, pa.float64()) for place in places), *fields]
        features = {place: {"dtype": "float64", "_type": "Value"} for place in places} | features
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _write_parquet(path: Path, samples: Sequence[_Sample], schema: "pyarrow.Schema") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(samples), _GROUP):
            rows = [_parquet_row(sample) for sample in samples[first : first + _GROUP]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _parquet_row(sample: _Sample) -> dict[str, Any]:
    about = {"label": sample.label, "name": sample.name, "seed": sample.seed, "sampler": sample.sampler}
    about["settings"] = json.dumps(sample.model_extra)
    if sample.file:
        return about | {"image": {"bytes": sample.picture(), "path": sample.file}}
    return about | {f"x{i}": value for i, value in enumerate(sample.x or ())}
