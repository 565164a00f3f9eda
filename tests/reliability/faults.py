"""Faults that tests put into the process of a command: sudden ends, failing disks.

Each is called in the process; arguments are bound with `functools.partial`.
"""

import itertools
import os
import resource
import signal
import sys
from pathlib import Path

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
