"""The kinds of input that others may have written: how to make a hostile one, and who reads it."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

from reliability.files import images, models, runs, settings

__all__ = ["KINDS", "Kind", "Make", "Read", "Warm"]

Make: TypeAlias = Callable[[Random, Path, Path], None]
"""Writes a case: of all its chance, the valid files, and the case's folder."""

Read: TypeAlias = Callable[[Random, Path], object]
"""Reads the case in a folder by condgen's own code."""


Warm: TypeAlias = Callable[[Path, Path], object]
"""Reads the valid files in a folder, and may write in another."""


def nothing(valid: Path, out: Path) -> None:
    """Needs no warming."""


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        about: what it is.
        make: writes a hostile one.
        read: reads it.
        warm: reads valid ones, so that no case waits for a library that is loaded when it is first needed.
        reads_outside: whether a file may name another elsewhere, which is then read, as a recipe may.
    """

    about: str
    make: Make
    read: Read
    warm: Warm = nothing
    reads_outside: bool = False


KINDS: dict[str, Kind] = {
    "recipes": Kind("a recipe", settings.make_recipe, settings.read_recipe),
    "includes": Kind(
        "recipes that include each other, in sizes", settings.make_includes, settings.read_includes, reads_outside=True
    ),
    "requests": Kind("requests to the studio, words of a command line", settings.make_words, settings.read_words),
    "samples": Kind("manifests and pictures of samples", runs.make_samples, runs.read_sample_folder, runs.warm_samples),
    "runs": Kind("runs, for report, export, studio", runs.make_run, runs.read_run_folder, runs.warm_runs),
    "models": Kind("score models, classifiers, generators", models.make_model, models.read_model, models.warm_models),
    "states": Kind("the state of a training", models.make_state, models.read_state, models.warm_state),
    "features": Kind(
        "kept features, networks for them, looks", models.make_features, models.read_features, models.warm_features
    ),
    "diffusers": Kind("pipelines of diffusers", models.make_diffusers, models.read_diffusers, models.warm_diffusers),
    "images": Kind("folders of pictures", images.make_images, images.read_images, images.warm_images),
    "archives": Kind("CIFAR, or pickles in its place", images.make_archive, images.read_archive, images.warm_images),
}
