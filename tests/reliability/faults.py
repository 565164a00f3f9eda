"""Faults that tests put into a process, theirs or a command's: sudden ends, failing disks, numbers that are not finite.

Each is called in the process; arguments are bound with `functools.partial`.
"""

import itertools
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
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


def corrupt(owner: type, where: Callable[..., Any]) -> None:
    """What a class of networks returns is not a number in the rows where `where(self, *arguments)` holds."""
    honest = owner.forward

    def planted(self: Any, *arguments: Any) -> Tensor:
        found: Tensor = honest(self, *arguments)
        bad = torch.as_tensor(where(self, *arguments))
        return found * torch.where(bad, math.nan, 1.0).to(found.dtype).view(-1, *(1,) * (found.ndim - 1))

    owner.forward = planted


def bad_guidance(label: int, below: float) -> None:
    """A guided estimate is not a number for one class, below a noise level."""
    from condgen.guidance import ClassifierGuided

    corrupt(ClassifierGuided, lambda self, x_t, t, y: (y == label) & (self.schedule.noise_level(t) < below))


def bad_classifier(below: float) -> None:
    """A classifier's answers are not numbers below a noise level."""
    from condgen.classifier import Classifier

    corrupt(Classifier, lambda self, x_t, t: self.schedule.noise_level(t) < below)
