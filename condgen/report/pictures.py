"""Pictures and points that a run folder names: samples, strips, training data.

A run may come from somebody else, and its report may go to others. So a name in it reaches no file outside of its
folder, and a small file cannot make the report a large one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from condgen.errors import UserError
from condgen.files import as_rgb
from condgen.report.rows import CLASSES, LARGEST
from condgen.runs import read_rows
from condgen.runs.layout import MANIFEST
from condgen.runs.sample_folder import load_picture, picture_path

__all__ = ["Sample", "open_picture", "read_images", "read_manifests"]


@dataclass(frozen=True)
class Sample:
    """One line of a manifest: an image file or a point, its class and its seed."""

    label: int
    name: str
    seed: int | None
    file: Path | None = None
    point: tuple[float, ...] | None = None


def read_manifests(folder: Path, order: Sequence[str]) -> dict[str, list[Sample]]:
    """Samples by method, those of `order` in that order; others, which earlier recipes left behind, are passed over.

    Raises:
        UserError: a line that describes no sample, or names a file outside of its folder.
    """
    out: dict[str, list[Sample]] = {}
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        method, samples = manifest.parent.name, []
        for number, row in enumerate(read_rows(manifest), start=1):
            label, point = row.get("class"), row.get("x")
            if not isinstance(label, int):
                raise UserError(f"{manifest}, line {number}: class is not a whole number; sample anew")
            if not 0 <= label < CLASSES:
                raise UserError(f"{manifest}, line {number}: there is no class {label}; sample anew")
            seed = row.get("seed")
            samples.append(
                Sample(
                    label=label,
                    name=str(row.get("name", label)),
                    seed=seed if isinstance(seed, int) else None,
                    file=picture_path(manifest.parent, str(row["file"])) if row.get("file") else None,
                    point=_point(point, f"{manifest}, line {number}"),
                )
            )
            method = str(row.get("method", method))
        if samples:
            out[method] = samples
    known = {method: samples for method, samples in out.items() if not order or method in order}
    return dict(sorted(known.items(), key=lambda item: order.index(item[0]) if order else 0))


def _point(values: object, where: str) -> tuple[float, ...] | None:
    """A point of the plane, where there is one."""
    if not isinstance(values, list):
        return None
    if len(values) != 2 or not all(isinstance(value, int | float) and abs(value) <= LARGEST for value in values):
        raise UserError(f"{where}: x is not a point of the plane; sample anew")
    return float(values[0]), float(values[1])


def read_images(samples: list[Sample]) -> list[Image.Image]:
    """The pictures of samples that have files.

    Raises:
        UserError: a file is gone, is no picture, or lies elsewhere.
    """
    return [_picture(sample.file, "named in the manifest") for sample in samples if sample.file is not None]


def open_picture(folder: Path, name: str) -> Image.Image:
    """A picture that a file of a run names.

    Raises:
        UserError: it is gone, is no picture, or lies elsewhere.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder} names a picture that lies outside of it, {name}: run the recipe again")
    return _picture(path, "named in the run")


def _picture(path: Path, named: str) -> Image.Image:
    try:
        return as_rgb(load_picture(path))
    except OSError as error:
        raise UserError(f"{path}, {named}, is not a readable image; sample anew") from error
