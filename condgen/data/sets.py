"""The data that a recipe may name: settings, each of which loads a split. Slow libraries are imported where used."""

import os
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from pydantic import AfterValidator, Field

from condgen.data.folder import ImageFiles, list_images
from condgen.data.labelled import LabelledSet, Split, validation_rows
from condgen.errors import UserError, did_you_mean, explain
from condgen.rng import keyed_generator
from condgen.settings import UNKEYED, Settings, Target, import_target

Place: TypeAlias = Annotated[Path, AfterValidator(lambda path: Path(os.path.abspath(path)))]
"""A folder, from any working directory."""


class Splits(NamedTuple):
    train: LabelledSet
    validation: LabelledSet
    test: LabelledSet


class DataSettings(Settings, ABC):
    @abstractmethod
    def load(self, split: Split) -> LabelledSet:
        """One split, on the CPU; UserError where the data are missing or broken."""

    def load_all(self) -> Splits:
        return Splits(*map(self.load, get_args(Split)))


class _WithValidation(DataSettings, ABC):
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="of what is drawn for each split")
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="of every class of the train split, to make choices by: one sample or more"
    )


class _TrainAndTest(_WithValidation):
    @abstractmethod
    def read(self, split: Literal["train", "test"]) -> LabelledSet:
        """One split, that for training with the part for validation."""

    def load(self, split: Split) -> LabelledSet:
        return self.read("test") if split == "test" else self._divide(self.read("train"), split)

    def load_all(self) -> Splits:
        whole = self.read("train")
        return Splits(self._divide(whole, "train"), self._divide(whole, "validation"), self.read("test"))

    def _divide(self, whole: LabelledSet, split: Split) -> LabelledSet:
        chosen = validation_rows(whole.y, self.validation_fraction, keyed_generator(self.split_seed))
        return replace(whole.at(chosen if split == "validation" else ~chosen), split=split)


class Digits(_TrainAndTest):
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels."""

    kind: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.2, ge=0.01, le=0.99)  # either side keeps every class

    def read(self, split: Literal["train", "test"]) -> LabelledSet:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        x, y = load_digits(return_X_y=True)
        places = np.arange(len(y))
        sides = train_test_split(places, test_size=self.test_fraction, random_state=self.split_seed, stratify=y)
        index = np.sort(sides[split == "test"])
        pixels = np.round(x[index].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        labels = torch.from_numpy(y[index]).long()
        return LabelledSet(torch.from_numpy(pixels), labels, tuple("0123456789"), "digits", split)


class Moons(DataSettings):
    """Two half circles, centred by the mean of the train split, then scaled; by default the set of Chao et al. 2022.

    Validation and test are new draws; without noise, points a quarter and half of the way between those of train.
    """

    kind: Literal["moons"] = "moons"
    n: int = Field(default=10_000, ge=4, le=10_000_000)  # samples of each split
    noise: float = Field(default=0.0, ge=0)  # standard deviation in units of the circles' radius
    scale: float = Field(default=20.0, gt=0)
    seed: int = Field(default=1, ge=0, lt=2**32 - 2)  # of the train split; test and validation take the next two

    def load(self, split: Split) -> LabelledSet:
        from sklearn.datasets import make_moons

        x, y = make_moons(self.n, noise=self.noise, random_state=self.seed)
        centre = x.mean(0)
        if split != "train" and self.noise == 0:  # another seed gives the same points: take some between them
            parts = 2 if split == "test" else 4
            x, y = make_moons(parts * (self.n - 2) + 2, shuffle=False)
            between = np.concatenate([np.flatnonzero(y == label)[1::parts] for label in (0, 1)])
            x, y = x[between], y[between]
        elif split != "train":
            x, y = make_moons(self.n, noise=self.noise, random_state=self.seed + (1 if split == "test" else 2))
        points = torch.from_numpy((x - centre) * self.scale).float()
        return LabelledSet(points, torch.from_numpy(y).long(), ("upper", "lower"), "moons", split)


TorchvisionName: TypeAlias = Literal["cifar10", "cifar100", "fashion-mnist", "svhn", "stl10"]


def _archives(root: Path | None) -> Path:
    return Path(os.path.abspath(root or os.environ.get("CONDGEN_DATA") or "data"))


class Torchvision(_TrainAndTest):
    kind: TorchvisionName
    root: Annotated[Path | None, AfterValidator(_archives)] = Field(
        default=None,
        validate_default=True,
        json_schema_extra=UNKEYED,
        description="where torchvision keeps it; by default $CONDGEN_DATA, else ./data",
    )
    download: bool = False

    def read(self, split: Literal["train", "test"]) -> LabelledSet:
        import torchvision

        root = self.root if self.root is not None and self.root.is_dir() else _archives(None)  # it may be moved
        chosen = {"split": split} if self.kind in ("svhn", "stl10") else {"train": split == "train"}
        name = "FashionMNIST" if self.kind == "fashion-mnist" else self.kind.upper()
        advice = "name its folder by CONDGEN_DATA or data.root, or set data.download: true (--set data.download=true)"
        with explain(f"{self.kind} is not in {root}, or its files are damaged", advice, RuntimeError, OSError):
            data = getattr(torchvision.datasets, name)(root, download=self.download, **chosen)
        x = torch.as_tensor(data.data)
        x = x[:, None] if x.ndim == 3 else x if x.shape[1] == 3 else x.permute(0, 3, 1, 2)  # grey, or channels last
        y = torch.as_tensor(data.targets if hasattr(data, "targets") else data.labels).long()
        return LabelledSet(x.contiguous(), y, tuple(getattr(data, "classes", "0123456789")), self.kind, split)


class Folder(_WithValidation):
    """A folder with one sub-folder of images per class, or with such folders below train, test and perhaps validation.

    A hash of its class and file name puts an image into a split, which does not change when others are added.
    """

    kind: Literal["folder"] = "folder"
    root: Place = Field(json_schema_extra=UNKEYED, description="where it lies; results depend on what it holds")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="of every class, where there is no folder test")
    image_size: int | None = Field(default=None, ge=1, description="centre crop and resize to a square of this side")
    follow_links: bool = Field(default=False, json_schema_extra=UNKEYED, description="links may lead out of the folder")
    single_class: str | None = Field(default=None, json_schema_extra=UNKEYED, description="where no class has a folder")

    def load(self, split: Split) -> LabelledSet:
        return self._read(self._list(), split)

    def load_all(self) -> Splits:
        images = self._list()
        return Splits(*(self._read(images, split) for split in get_args(Split)))

    def _list(self) -> ImageFiles:
        return list_images(self.root, follow_links=self.follow_links, of=self.single_class)

    def _read(self, images: ImageFiles, split: Split) -> LabelledSet:
        files = images.rows(split, self.test_fraction, self.validation_fraction, self.split_seed)
        if not files:
            raise UserError(f"{self.root}: so few images leave none to the {split} split: add some to every class")
        x = torch.from_numpy(images.read(files, self.image_size))
        y = torch.tensor([file.label for file in files])
        least = 1 if self.single_class is not None else 2
        return LabelledSet(x, y, images.names, self.root.name, split, images.passed_over, least)


class ImportedData(_TrainAndTest):
    kind: Literal["import"] = "import"
    target: Target = Field(
        description="package.module:function of split ('train' or 'test') and options, which returns samples, uint8 "
        "(N, C, H, W) or float32 (N, D), labels, int64 (N,), and names of classes; or a LabelledSet"
    )
    options: dict[str, Any] = Field(default={}, description="further keyword arguments of the function")

    def read(self, split: Literal["train", "test"]) -> LabelledSet:
        made = import_target(self.target)(split=split, **self.options)
        if isinstance(made, LabelledSet):
            return made
        problem = f"{self.target} does not return samples, labels and names of classes"
        with explain(problem, "correct this function", TypeError, ValueError):
            x, y, names = made
            return LabelledSet(torch.as_tensor(x), torch.as_tensor(y), tuple(map(str, names)), self.target, split)


AnyData: TypeAlias = Annotated[Digits | Moons | Torchvision | Folder | ImportedData, Field(discriminator="kind")]


def load(settings: AnyData, split: Split) -> LabelledSet:
    """One split of a labelled set, on the CPU. Raises UserError where the data are missing or broken."""
    return settings.load(split)


def parse_data(text: str) -> AnyData:
    """Settings for the name of a built-in set, or for a path: an existing folder, or anything with a slash."""
    named: dict[str, AnyData] = {"digits": Digits(), "moons": Moons()}
    named |= {kind: Torchvision(kind=kind) for kind in get_args(TorchvisionName)}
    if text in named:
        return named[text]
    if "/" in text or os.path.isdir(text):
        return Folder(root=Path(text))
    known = f"known are {', '.join(named)}, or the path of a folder"
    raise UserError(f"no data set is called {text!r}: {did_you_mean(text, named)} {known}")
