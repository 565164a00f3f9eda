"""Images in a folder of folders, one per class, which may lie below train, validation and test."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from condgen.data.labelled import Split
from condgen.errors import UserError
from condgen.files import PICTURE_SUFFIXES, as_rgb, picture_mode, read_picture

_SPLITS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_SET_ASIDE = ("lost+found", "@eaDir")  # folders of systems, with those whose names begin with . or __


class _File(NamedTuple):
    path: Path
    label: int
    split: Split | None  # that of the folder it lies in, if splits have folders


class ImageFiles(NamedTuple):
    """The images below a folder, by class and name."""

    names: tuple[str, ...]  # of the classes
    files: list[_File]
    passed_over: str  # how many files of which kind are not read, and which folders; empty where all are

    def rows(self, split: Split, test_fraction: float, validation_fraction: float, seed: int) -> list[_File]:
        """The images of a split: those in its folder, or else those whose names have a hash within a range.

        So no image changes its split because others come or go, save that a class gives at least one image to the test
        and then, if it has more than two, one to validation.

        Raises:
            UserError: a class has too few images.
        """
        given = {file.split for file in self.files}
        tests = 0.0 if "test" in given else test_fraction
        validation = tests + (0.0 if "validation" in given else (1 - tests) * validation_fraction)
        found = []
        for label, own in groupby(self.files, key=lambda file: file.label):
            members = list(own)
            free = {file: _uniform(file.path, self.names[label], seed) for file in members if file.split != "test"}
            order = sorted((file for file in free if file.split != "validation"), key=free.__getitem__)
            most = len(order) - 1
            first = min(max(1, sum(free[file] < tests for file in order)), most) if tests else 0
            second = max(sum(free[file] < validation for file in order), min(first + (validation > tests), most))
            second = min(second, most)
            if most < (1 if tests else 0):
                raise UserError(
                    f"class {self.names[label]!r} has too few images, {len(order)}: one is needed to learn from and one"
                    f" to test with; add images to {members[0].path.parent}, or move this folder to another place"
                )
            part = {"test": order[:first], "validation": order[first:second], "train": order[second:]}[split]
            chosen = {*part, *(file for file in members if split != "train" and file.split == split)}
            found += [file for file in members if file in chosen]
        return found

    def read(self, files: Sequence[_File], image_size: int | None) -> np.ndarray:
        """Images, uint8 (N, C, H, W), of some files, each of which is decoded once and held once.

        They have one channel if all images of the folder are 8-bit grey without transparency (Pillow's mode L), else
        three. Transparency is dropped, and the orientation that a camera noted is applied. With an image size they are
        cropped and resized to a square of that side; without one, all must have one size.

        Raises:
            UserError: a file is no image, or has another size.
        """
        grey = all(picture_mode(file.path) == "L" for file in self.files)
        x = np.empty(0)
        for i, (path, *_) in enumerate(files):
            image = _read_image(path, image_size, grey)
            if i == 0:
                height, width = image.shape[:2]
                x = np.empty((len(files), 1 if grey else 3, height, width), np.uint8)
            if image.shape[:2] != (height, width):
                raise UserError(
                    f"{files[0].path} is {width} x {height} and {path} is {image.shape[1]} x {image.shape[0]} pixels;"
                    " crop and resize all images: --set data.image_size=SIDE, or data.image_size in the recipe"
                )
            x[i] = image if grey else image.transpose(2, 0, 1)
        return x


def list_images(root: Path, *, follow_links: bool = False, of: str | None = None) -> ImageFiles:
    """All images below a root that has a folder for each class, or such folders below train and test.

    Args:
        root: the folder.
        follow_links: whether links may lead out of it.
        of: the class of images that lie directly in the root, where there are no folders.

    Raises:
        UserError: the folder has another layout.
    """
    if not root.is_dir():
        raise UserError(
            f"there is no folder {root}: name one that holds one folder per class, with --data DIR or --set "
            "data.root=DIR"
        )
    passed_over: Counter[str] = Counter()
    inside = None if follow_links else root.resolve()
    places: list[tuple[Path, Split | None]] = [(root, None)]
    if of is not None:
        names = [of]
    else:
        top = _folders(root, inside, passed_over)
        splits = {"train", "test"} <= {path.name for path in top} and {path.name for path in top} <= _SPLITS.keys()
        below = {path: _folders(path, inside, Counter()) for path in top} if splits else {}
        if splits and all(below.values()):
            places = [(place, _SPLITS[path.name]) for path, found in below.items() for place in found]
        else:
            places = [(path, None) for path in top]
        names = sorted({path.name for path, _ in places})
        if not names:
            raise UserError(
                f"{root} holds no class folders: put the images of each class into a folder of its own; of evaluate, "
                "--class NAME names one class of all images"
            )
    files = []
    for place, split in places:
        label = 0 if of is not None else names.index(place.name)
        found = _images(place, inside, passed_over)
        if not found and split is None:
            raise UserError(f"class {names[label]!r} has no images: add some to {place}, or remove this folder")
        files += [_File(path, label, split) for path in found]
    files.sort(key=lambda file: (file.label, file.path.name, file.path))
    text = ", ".join(f"{count:,} {what}" for what, count in sorted(passed_over.items()))
    return ImageFiles(tuple(names), files, f"{root.name}: passed over {text}" if text else "")


def _uniform(path: Path, label: str, seed: int) -> float:
    """A number in [0, 1) that depends on names alone, however a file system spells their accents."""
    name = unicodedata.normalize("NFC", f"{seed}/{label}/{path.name}")
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _folders(folder: Path, inside: Path | None, passed_over: Counter[str]) -> list[Path]:
    """The folders in one, without those of systems and editors; all else is passed over."""
    found = []
    for entry in _entries(folder, inside):
        if entry.is_dir() and not entry.name.startswith((".", "__")) and entry.name not in _SET_ASIDE:
            found.append(entry)
        else:
            passed_over[f"folder {entry.name}" if entry.is_dir() else f"{_kind(entry)} beside the classes"] += 1
    return found


def _images(folder: Path, inside: Path | None, passed_over: Counter[str]) -> list[Path]:
    nested = _folders(folder, inside, Counter())
    if nested:
        raise UserError(f"{nested[0]} is a folder inside a class; put its images directly into {folder}")
    found = []
    for entry in _entries(folder, inside):
        if not entry.is_dir() and entry.suffix.lower() in PICTURE_SUFFIXES and not entry.name.startswith("."):
            found.append(entry)
        else:
            passed_over[f"folder {entry.name}" if entry.is_dir() else _kind(entry)] += 1
    return found


def _kind(file: Path) -> str:
    return file.suffix.lower() or file.name


def _entries(folder: Path, inside: Path | None) -> list[Path]:
    """The entries of a folder by name; where they must lie inside another, none may lead out of it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be listed: {error.strerror}; mend its permissions") from error
    for entry in (folder, *(entry for entry in entries if entry.is_symlink())):
        if inside is not None and not Path(os.path.realpath(entry)).is_relative_to(inside):
            raise UserError(
                f"{entry} is a link that leaves {inside}: put a copy in its place, or allow it with --set "
                "data.follow_links=true"
            )
    return entries


def _read_image(path: Path, size: int | None, grey: bool) -> np.ndarray:
    """(H, W) of grey images, else (H, W, 3)."""
    try:
        image = read_picture(path, upright=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be read as an image: {reason}; mend or remove it") from error
    if image.mode.startswith(("I", "F")):
        raise UserError(
            f"{path} cannot be read as an image: its pixels (mode {image.mode}) have more than 8 bits a channel; mend "
            "or remove it"
        )
    if not grey:
        image = as_rgb(image)
    if size is not None:
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    return np.asarray(image)
