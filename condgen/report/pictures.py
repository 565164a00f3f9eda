"""Pictures that a run folder names: samples, strips, training data."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from condgen.errors import UserError

__all__ = ["Sample", "open_picture", "read_images"]


@dataclass(frozen=True)
class Sample:
    """One line of a manifest: an image file or a point, its class and its seed."""

    label: int
    name: str
    seed: int | None
    file: Path | None = None
    point: tuple[float, ...] | None = None


def read_images(samples: list[Sample]) -> list[Image.Image]:
    """The pictures of samples that have files.

    Raises:
        UserError: a file is gone or is no picture.
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
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}, {named}, is not a readable image; sample anew") from error
