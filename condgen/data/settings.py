"""What a recipe may say about its data."""

import os
from abc import ABC
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from condgen.errors import UserError
from condgen.settings import Settings

__all__ = ["AnyData", "Cifar10", "Cifar100", "DataSettings", "Digits", "Folder", "Moons", "parse_data"]


class DataSettings(Settings, ABC):
    """What to load; `condgen.data.load` turns it into a `LabelledSet`."""


class Digits(DataSettings):
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels."""

    kind: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.2, ge=0.01, le=0.99)  # either side keeps every class
    split_seed: int = Field(default=0, ge=0, lt=2**32)


class Moons(DataSettings):
    """Two half circles, centred by the mean of the train split, then scaled; class 0 is the upper one.

    The defaults are the set of Chao et al. 2022, "Denoising Likelihood Score Matching for Conditional Score-based Data
    Generation". Without noise the
    test split holds the points of the same curves half-way between those of the training split.
    """

    kind: Literal["moons"] = "moons"
    n: int = Field(default=10_000, ge=4, le=10_000_000)  # samples of either split
    noise: float = Field(default=0.0, ge=0)  # standard deviation in units of the circles' radius
    scale: float = Field(default=20.0, gt=0)
    seed: int = Field(default=1, ge=0, lt=2**32 - 1)  # of the train split; the test split takes the next one


class _Cifar(DataSettings):
    root: Path | None = None  # where the archive's folder lies; else $CONDGEN_DATA, else ./data
    download: bool = False


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 and 10,000 images of 32 x 32 pixels in 10 classes."""

    kind: Literal["cifar10"] = "cifar10"


class Cifar100(_Cifar):
    """CIFAR-100 with its 100 fine classes."""

    kind: Literal["cifar100"] = "cifar100"


class Folder(DataSettings):
    """A folder with one sub-folder of images (png, jpg, jpeg, webp, bmp) per class.

    Images lie directly in the folder of their class. Hidden entries, files beside the class folders, and files of
    other kinds are passed over.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    image_size: int | None = Field(default=None, ge=1)  # centre crop and resize to a square of this side


AnyData: TypeAlias = Annotated[Digits | Moons | Cifar10 | Cifar100 | Folder, Field(discriminator="kind")]

_NAMED: dict[str, type[Digits | Moons | Cifar10 | Cifar100]] = {
    "digits": Digits,
    "moons": Moons,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
}


def parse_data(text: str) -> AnyData:
    """Settings for the name of a built-in set, or for a path: an existing folder, or anything with a slash.

    Raises:
        UserError: the text is neither.
    """
    if text in _NAMED:
        return _NAMED[text]()
    if "/" in text or os.sep in text or os.path.isdir(text):
        return Folder(root=Path(text))
    close = get_close_matches(text.lower(), _NAMED, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    raise UserError(f"no data set is called {text!r}{hint} known are {', '.join(_NAMED)}, or the path of a folder")
