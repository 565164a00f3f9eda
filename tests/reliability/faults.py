"""Faults that tests put into a process, theirs or a command's: sudden ends, failing disks, numbers that are not finite.

Each is called in the process; arguments are bound with `functools.partial`.
"""

import itertools
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


def watch(folder, tell):
    """Calls `tell` before every change of a file below a folder, in this process."""

    def hook(event, arguments):
        if event in CHANGES and isinstance(arguments[0], str | Path) and str(arguments[0]).startswith(folder):
            flags = arguments[2] if event == "open" else os.O_WRONLY
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                tell()

    sys.addaudithook(hook)


def count_changes(folder, notes):
    out = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    watch(folder, lambda: os.write(out, b"\n"))


def die_before(folder, number):
    """Kills this process before its change number so and so, from 0."""
    changes = itertools.count()
    watch(folder, lambda: next(changes) == number and os.kill(os.getpid(), signal.SIGKILL))


def die_in_a_file(size):
    """Kills this process when it writes beyond so many bytes of any file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python makes an error of it, which work could survive


def fail_at(call: str, number: int, code: int) -> None:
    """Lets a call of the module `os` fail in this process, from the time number so and so on, from 0."""
    real, calls = getattr(os, call), iter(range(number))

    def failing(*arguments: object) -> object:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    setattr(os, call, failing)


def bad_losses(first: int, last: int, value: float, row: int | None = None) -> None:
    """The score model's losses in steps `first` to `last`, counted from 1, are a value; in one row of a batch alone."""
    from condgen.training import tasks

    honest, steps = vars(tasks)["score_matching_loss"], iter(range(1, 10**9))

    def planted(*arguments: Any) -> Tensor:
        losses: Tensor = honest(*arguments)
        if not first <= next(steps) <= last:
            return losses
        chosen = torch.ones(len(losses), dtype=torch.bool) if row is None else torch.arange(len(losses)) == row
        return torch.where(chosen, value * losses, losses)

    vars(tasks)["score_matching_loss"] = planted


def bad_prior(after: int) -> None:
    """What DLSM's target is made of is not a number from the call after so many on."""
    from condgen.score import ScoreModel

    honest, calls = ScoreModel.eps, iter(range(10**9))

    def planted(self: ScoreModel, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return honest(self, x_t, t, y) * (math.nan if next(calls) >= after else 1.0)

    _replace(ScoreModel, {"eps": planted})


def bad_points() -> None:
    """Two of the moons' points are not numbers."""
    import sklearn.datasets

    honest = sklearn.datasets.make_moons

    def planted(*arguments: Any, **named: Any) -> tuple[Any, Any]:
        x, y = honest(*arguments, **named)
        x[3], x[5] = math.nan, math.inf
        return x, y

    sklearn.datasets.make_moons = planted


def bad_labels() -> None:
    """Some digits are of class 12."""
    import sklearn.datasets

    honest = sklearn.datasets.load_digits

    def planted() -> Any:
        digits = honest()
        digits.target[digits.target == 4] = 12
        return digits

    sklearn.datasets.load_digits = planted


def huge_weights(factor: float) -> None:
    """A score model begins with weights so many times larger."""
    from condgen.score import ScoreModel

    honest = ScoreModel.__init__

    def planted(self: ScoreModel, config: Any) -> None:
        honest(self, config)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(factor).add_(factor)

    _replace(ScoreModel, {"__init__": planted})


def bad_guidance(label: int, below: float) -> None:
    """A guided estimate is not a number for one class, below a noise level."""
    from condgen.guidance import ClassifierGuided

    honest = ClassifierGuided.forward

    def planted(self: ClassifierGuided, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        estimate = honest(self, x_t, t, y)
        assert y is not None
        bad = (y == label) & (self.schedule.noise_level(t).to(y.device) < below)
        return torch.where(bad.view(-1, *(1,) * (x_t.ndim - 1)), math.nan, estimate)

    _replace(ClassifierGuided, {"forward": planted})


def bad_generator(label: int) -> None:
    """A generator's samples of one class are infinite."""
    from condgen.generator import Generator

    honest = Generator.forward

    def planted(self: Generator, z: Tensor, y: Tensor) -> Tensor:
        x = honest(self, z, y)
        return torch.where((y == label).view(-1, *(1,) * (x.ndim - 1)), math.inf, x)

    _replace(Generator, {"forward": planted})


def bad_classifier(below: float) -> None:
    """A classifier's answers are not numbers below a noise level."""
    from condgen.classifier import Classifier

    honest = Classifier.forward

    def planted(self: Classifier, x_t: Tensor, t: Tensor) -> Tensor:
        bad = bool((self.schedule.noise_level(t) < below).any())
        return honest(self, x_t, t) * (math.nan if bad else 1.0)

    _replace(Classifier, {"forward": planted})


def bad_vectors() -> None:
    """Features of samples are not numbers."""
    from condgen.metrics import features

    honest = features._flatten

    def planted(x: Tensor) -> features.Features:
        found = honest(x)
        found.vectors[1] = math.nan
        return found

    features._flatten = planted


def _replace(owner: type, methods: Mapping[str, Callable[..., Any]]) -> None:
    for name, method in methods.items():
        setattr(owner, name, method)
