"""Images in a folder of folders, one per class."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from condgen.errors import UserError
from condgen.files import as_rgb, read_picture

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def read_folder(root: Path, image_size: int | None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All images below a root, by class and file name: uint8 (N, C, H, W); labels, int64 (N,); names of the classes.

    They have one channel if all of them are 8-bit grey images without transparency (Pillow's mode L), else three.
    Transparency is dropped, and the orientation that a camera noted is applied. With an image size they are cropped and
    resized to a square of that side; without one, all must have one size.

    Raises:
        UserError: anything that keeps the folder from being a labelled set.
    """
    classes = _list_images(root)
    paths = [path for found in classes.values() for path in found]
    images = [_read_image(path, image_size) for path in paths]
    height, width = images[0].shape[:2]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != (height, width):
            raise UserError(
                f"{paths[0]} is {width} x {height} and {path} is {image.shape[1]} x {image.shape[0]} pixels;"
                " set data.image_size to crop and resize all images"
            )
    channels = 3 if any(image.ndim == 3 for image in images) else 1
    x = np.empty((len(images), channels, height, width), np.uint8)
    for row, image in zip(x, images, strict=True):
        row[:] = image.transpose(2, 0, 1) if image.ndim == 3 else image
    return x, np.repeat(np.arange(len(classes)), [len(found) for found in classes.values()]), tuple(classes)


def _list_images(root: Path) -> dict[str, list[Path]]:
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give the path of a folder that holds one folder per class")
    folders = [entry for entry in _entries(root, root) if entry.is_dir()]
    if len(folders) < 2:
        raise UserError(
            f"{root} holds {len(folders)} class folder{'s' * (len(folders) != 1)}; it needs one folder of images per"
            " class, and at least 2 classes"
        )
    classes = {}
    for folder in folders:
        entries = _entries(folder, root)
        nested = [entry for entry in entries if entry.is_dir()]
        if nested:
            raise UserError(f"{nested[0]} is a folder inside a class; put its images directly into {folder}")
        classes[folder.name] = [entry for entry in entries if entry.suffix.lower() in _SUFFIXES]
        if not classes[folder.name]:
            raise UserError(f"class {folder.name!r} has no images (png, jpg, jpeg, webp, bmp); add some to {folder}")
    return classes


def _entries(folder: Path, root: Path) -> list[Path]:
    """The visible entries of a folder by name, none of which may point out of the root."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed: {error.strerror}; mend its permissions") from error
    inside = root.resolve()
    for entry in (folder, *(entry for entry in entries if entry.is_symlink())):
        if not Path(os.path.realpath(entry)).is_relative_to(inside):
            raise UserError(f"{entry} is a link that leaves {root}; put a copy in its place")
    return entries


def _read_image(path: Path, size: int | None) -> np.ndarray:
    """(H, W) for mode L, (H, W, 3) for any other."""
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
    if image.mode != "L":
        image = as_rgb(image)
    if size is not None:
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    return np.asarray(image)
