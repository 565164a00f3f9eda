"""Images in a folder of folders, one per class, which may lie below train, validation and test."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from condgen.data.labelled import Split
from condgen.errors import UserError, explain
from condgen.files import PICTURE_SUFFIXES, as_rgb, cache_folder, picture_format, read_picture, whole

_SPLITS: dict[str, Split] = {"train": "train", "test": "test", "validation": "validation"}
_SPLITS |= {"val": "validation", "valid": "validation"}
_MOST_IN_MEMORY = 2**26  # bytes of decoded images
_SET_ASIDE = ("lost+found", "@eaDir")  # folders of systems, with those whose names begin with . or __


class _File(NamedTuple):
    path: Path
    label: int
    split: Split | None  # that of the folder it lies in, if splits have folders


class ImageFiles(NamedTuple):
    names: tuple[str, ...]  # of the classes
    files: list[_File]
    passed_over: str  # how many files of which kind are not read, and which folders; empty where all are

    def rows(self, split: Split, test_fraction: float, validation_fraction: float, seed: int) -> list[_File]:
        """A split's images, by folder or by a hash of names; a class gives test one at least, validation the next."""
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
            second = min(max(sum(free[file] < validation for file in order), first + (validation > tests)), most)
            if most < (1 if tests else 0):
                place = members[0].path.parent
                if members[0].split == "test":  # images there would not help
                    place = place.parents[1] / "train" / place.name
                few = f"class {self.names[label]!r} has too few images, {len(order)}, to learn from some and test with"
                raise UserError(f"{few} others: add images to {place}, or move the class to another place")
            part = {"test": order[:first], "validation": order[first:second], "train": order[second:]}[split]
            chosen = {*part, *(file for file in members if split != "train" and file.split == split)}
            found += [file for file in members if file in chosen]
        return found

    def read(self, files: Sequence[_File], image_size: int | None) -> np.ndarray:
        """Images, uint8 (N, C, H, W), of some files, cropped and resized to a square where an image size is given.

        They have one channel if all images of the folder are 8-bit grey without transparency (Pillow's mode L). Those
        that would fill much memory are decoded once, into a file of the cache, which is mapped.
        """
        pixels = image_size**2 if image_size is not None else picture_format(files[0].path)[1]
        if 3 * pixels * len(files) <= _MOST_IN_MEMORY:
            return np.stack(list(self._decoded(files, image_size)))
        key = hashlib.sha256(repr(image_size).encode())
        for path, *_ in self.files:
            state = path.stat()
            key.update(os.fsencode(f"{path}\0{state.st_size} {state.st_mtime_ns}\0"))
        for path, *_ in files:
            key.update(os.fsencode(path) + b"\0")
        kept = cache_folder() / "images" / f"{key.hexdigest()[:32]}.npy"
        if not kept.exists():
            advice = "make room there, or name another place by the environment variable CONDGEN_CACHE"
            console, about = Console(stderr=True), f"decoding {len(files):,} images"
            with whole(kept, advice) as unfinished, unfinished.open("wb") as file:
                images = enumerate(self._decoded(files, image_size))
                silent = not console.is_terminal
                for i, image in track(images, about, len(files), console=console, transient=True, disable=silent):
                    if i == 0:
                        header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *image.shape)}
                        np.lib.format.write_array_header_1_0(file, header)
                    file.write(image.tobytes())
        with explain(f"{kept} is damaged or cut short", "delete it: it is made again", OSError, ValueError, EOFError):
            return np.load(kept, mmap_mode="c")

    def _decoded(self, files: Sequence[_File], image_size: int | None) -> Iterator[np.ndarray]:
        grey = all(picture_format(file.path)[0] == "L" for file in self.files)
        height, width = 0, 0
        for path, *_ in files:
            image = _read_image(path, image_size, grey)
            height, width = height or image.shape[0], width or image.shape[1]
            if image.shape[:2] != (height, width):
                sizes = f"is {width} x {height} and {path} is {image.shape[1]} x {image.shape[0]} pixels"
                raise UserError(f"{files[0].path} {sizes}: crop and resize all images, by --set data.image_size=SIDE")
            yield image[None] if grey else image.transpose(2, 0, 1)


def list_images(root: Path, *, follow_links: bool = False, of: str | None = None) -> ImageFiles:
    """All images below a root that has a folder for each class, or such folders below train and test.

    Links may not lead out of the root unless they are followed. `of` is the class of images that lie directly in a root
    without folders.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: name one that holds one folder per class, with --data DIR")
    passed_over: Counter[str] = Counter()
    inside = None if follow_links else root.resolve()
    places: list[tuple[Path, Split | None]] = [(root, None)]
    top, pictures, rest = _look(root, inside)
    names = [of] if of is not None and not top else []
    if not names:
        passed_over.update(_kind(entry, " beside the classes") for entry in (*pictures, *rest))
        splits = {"train", "test"} <= {path.name for path in top} and {path.name for path in top} <= _SPLITS.keys()
        below = {path: _look(path, inside)[0] for path in top} if splits else {}
        if splits and all(below.values()):
            places = [(place, _SPLITS[path.name]) for path, found in below.items() for place in found]
        else:
            places = [(path, None) for path in top]
        names = sorted({path.name for path, _ in places})
        if not names:
            advice = "condgen evaluate takes --class NAME, and training --set data.single_class=NAME"
            problem = f"{root} holds no class folders: make one for each class, or name the class of all images"
            raise UserError(f"{problem}: {advice}")
    files = []
    for place, split in places:
        label = 0 if place == root else names.index(place.name)
        nested, found, rest = _look(place, inside)
        passed_over.update(map(_kind, rest))
        if nested:
            raise UserError(f"{nested[0]} is a folder inside a class; put its images directly into {place}")
        if not found and split is None:
            raise UserError(f"class {names[label]!r} has no images: add some to {place}, or remove this folder")
        files += [_File(path, label, split) for path in found]
    files.sort(key=lambda file: (file.label, file.path.name, file.path))
    text = ", ".join(f"{count:,} {what}" for what, count in sorted(passed_over.items()))
    names = [name.encode(errors="replace").decode() for name in names]  # of old archives, not all are texts
    return ImageFiles(tuple(names), files, f"{root.name}: passed over {text}" if text else "")


def _uniform(path: Path, label: str, seed: int) -> float:
    """A number in [0, 1) that depends on names alone, however a file system spells their accents."""
    name = unicodedata.normalize("NFC", f"{seed}/{label}/{path.name}")
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:6]) / 2**48


def _look(folder: Path, inside: Path | None) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders in one, but those of systems and editors; its pictures; all else. Links stay `inside`, if given."""
    folders, pictures, rest = list[Path](), list[Path](), list[Path]()
    with explain(f"{folder} cannot be listed", "mend its permissions", OSError), os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        if inside and entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
            raise UserError(f"{path} is a link that leaves {inside}: copy it, or --set data.follow_links=true")
        if path.is_dir() if entry.is_symlink() else entry.is_dir():  # a link may be of a loop
            hidden = entry.name.startswith((".", "__")) or entry.name in _SET_ASIDE
            (rest if hidden else folders).append(path)
        else:
            is_picture = path.suffix.lower() in PICTURE_SUFFIXES and not entry.name.startswith(".")
            (pictures if is_picture else rest).append(path)
    return folders, pictures, rest


def _kind(entry: Path, where: str = "") -> str:
    return f"folder {entry.name}" if entry.is_dir() else (entry.suffix.lower() or entry.name) + where


def _read_image(path: Path, size: int | None, grey: bool) -> np.ndarray:
    """(H, W) of grey images, else (H, W, 3)."""
    with explain(f"{path} cannot be read as an image", "mend or remove it", OSError):
        image = read_picture(path, upright=True)
        if image.mode.startswith(("I", "F")):
            raise OSError(f"its pixels (mode {image.mode}) have more than 8 bits a channel")
    if not grey:
        image = as_rgb(image)
    if size is not None:
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    return np.asarray(image)
