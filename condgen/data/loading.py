"""From settings to labelled sets.

scikit-learn and torchvision are imported where they are used, because together they take seconds.
"""

import os
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from condgen.data.folder import read_folder
from condgen.data.labelled import LabelledSet, Split
from condgen.data.settings import AnyData, Cifar10, Cifar100, Digits, Folder, Moons
from condgen.errors import UserError

__all__ = ["load"]

_LARGEST = 2**28  # bytes of a file of CIFAR


def load(settings: AnyData, split: Split) -> LabelledSet:
    """One split of a labelled set, on the CPU.

    Raises:
        UserError: the data are missing or broken.
    """
    match settings:
        case Digits():
            return _load_digits(settings, split)
        case Moons():
            return _load_moons(settings, split)
        case Cifar10() | Cifar100():
            return _load_cifar(settings, split)
        case Folder():
            return _load_folder(settings, split)
        case _:
            assert_never(settings)


def _members(y: np.ndarray, settings: Digits | Folder, split: Split) -> Tensor:
    """Indices of one side of a class-stratified split, rising."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(y)), test_size=settings.test_fraction, random_state=settings.split_seed, stratify=y
    )
    return torch.from_numpy(np.sort(train if split == "train" else test))


def _load_digits(settings: Digits, split: Split) -> LabelledSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.round(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    index = _members(digits.target, settings, split)
    names = tuple(str(digit) for digit in range(10))
    return LabelledSet(
        torch.from_numpy(x)[index], torch.from_numpy(digits.target).long()[index], names, "digits", split
    )


def _load_moons(settings: Moons, split: Split) -> LabelledSet:
    from sklearn.datasets import make_moons

    x, y = make_moons(settings.n, noise=settings.noise, random_state=settings.seed)
    centre = x.mean(0)
    if split == "test":
        x, y = make_moons(settings.n, noise=settings.noise, random_state=settings.seed + 1)
    if split == "test" and settings.noise == 0:  # the same points again: take those half-way between them
        x, y = make_moons(2 * settings.n - 2, shuffle=False)
        between = np.concatenate([np.flatnonzero(y == label)[1::2] for label in (0, 1)])
        x, y = x[between], y[between]
    points = torch.from_numpy((x - centre) * settings.scale).float()
    return LabelledSet(points, torch.from_numpy(y).long(), ("upper", "lower"), "moons", split)


def _load_cifar(settings: Cifar10 | Cifar100, split: Split) -> LabelledSet:
    from torchvision.datasets import CIFAR10, CIFAR100

    archive = CIFAR10 if settings.kind == "cifar10" else CIFAR100
    root = settings.root or Path(os.environ.get("CONDGEN_DATA") or "data")
    folder = root / archive.base_folder
    if not (settings.download or folder.is_dir()):
        raise UserError(
            f"{settings.kind} is not in {root}: pass data.root or set CONDGEN_DATA to a folder that holds"
            f" {archive.base_folder}, or ask for the download (`data.download: true` in the recipe, `--download` on the"
            " command line)"
        )
    whole = f"{settings.kind}: the files in {folder} are incomplete or corrupt; remove that folder and obtain it anew"
    if folder.is_dir() and any(file.is_file() and file.stat().st_size > _LARGEST for file in folder.iterdir()):
        raise UserError(whole)  # the checksums of something endless are never known
    try:
        data = archive(root, train=split == "train", download=settings.download)
    except (RuntimeError, OSError) as error:
        if settings.download:
            reason = " ".join(str(error).split())
            raise UserError(f"{settings.kind} could not be downloaded to {root}: {reason}; try again later") from error
        raise UserError(whole) from error
    x = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return LabelledSet(x, torch.tensor(data.targets), tuple(data.classes), settings.kind, split)


def _load_folder(settings: Folder, split: Split) -> LabelledSet:
    x, y, names = read_folder(settings.root, settings.image_size)
    sizes = np.bincount(y)
    held_out = int(np.ceil(len(y) * settings.test_fraction))
    if sizes.min() < 2 or not len(names) <= held_out <= len(y) - len(names):
        raise UserError(
            f"{settings.root}: {len(y)} images in {len(names)} classes (the smallest, {names[sizes.argmin()]!r}, has"
            f" {sizes.min()}) are too few to hold out {held_out}; add images or change data.test_fraction"
        )
    index = _members(y, settings, split)
    return LabelledSet(torch.from_numpy(x)[index], torch.from_numpy(y)[index], names, str(settings.root), split)
