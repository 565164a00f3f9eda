"""Commands of condgen in processes of their own, which are watched, limited, and killed.

A server process imports everything once; each command is a fork of it, which begins at once, in a state that no other
command has touched.
"""

import contextlib
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["Command", "Ended", "complaint"]

_HEAVY = ("matplotlib.pyplot", "sklearn.datasets", "torch._dynamo")  # what commands import when they need it
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["condgen.cli", "condgen.__main__", __name__, *_HEAVY])
_BEGUN, _PEAK = "begun", "peak"
_LOOK = 0.01  # seconds between two looks at a process


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: its exit status; that of a process that was killed is minus the signal's number.
        out, err: what it printed.
        seconds: from its start.
        peak: the most memory it held, in bytes; of one that was killed, the most that it was seen to hold.
        problem: why it was killed by the one who waited, if it was.
    """

    code: int
    out: str
    err: str
    seconds: float
    peak: int
    problem: str = ""


class Command:
    """A command at work, on one thread.

    Args:
        arguments: after `condgen`.
        prepare: called in the new process before anything else; of a module's top level, or a partial of one.
        folder: where it works; by default here.
    """

    def __init__(
        self, *arguments: object, prepare: Callable[[], object] | None = None, folder: Path | None = None
    ) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="condgen-")
        self.arguments = [str(one) for one in arguments]
        self._process = _FORKS.Process(
            target=_begin, args=(self.arguments, self._said.name, prepare, str((folder or Path()).resolve()))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        while self._process.is_alive() and not (Path(self._said.name) / _BEGUN).exists():
            time.sleep(0.001)  # until it is itself, and signals mean what they mean to a command
        self._started = time.perf_counter()

    @property
    def is_at_work(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def join(self, seconds: float) -> None:
        """Waits so long, or until it ends."""
        self._process.join(max(0.0, self._started + seconds - time.perf_counter()))

    def wait(self, seconds: float = 600.0, memory: int | None = None) -> Ended:
        """Waits until it ends, and kills it where it takes longer, or more memory (bytes), than it may."""
        problem, peak = "", 0
        while self._process.is_alive():
            with contextlib.suppress(psutil.Error):
                peak = max(peak, psutil.Process(self.pid).memory_info().rss)
            if time.perf_counter() - self._started > seconds:
                problem = f"still at work after {seconds:g} s"
            elif memory is not None and peak > memory:
                problem = f"took more than {memory / 1e9:.1f} GB"
            if problem:
                self.send(signal.SIGKILL)
            self._process.join(_LOOK)
        took = time.perf_counter() - self._started
        out, err, told = (
            path.read_text(errors="replace") if path.exists() else ""
            for path in (Path(self._said.name) / name for name in ("out", "err", _PEAK))
        )
        self._said.cleanup()
        code = self._process.exitcode
        assert code is not None
        return Ended(code, out, err, took, max(peak, int(told or 0)), problem)


def complaint(ended: Ended) -> str:
    """What is wrong with how a command ended, in a few words; nothing where it did its work, or said why it did not.

    A command that cannot do its work ends with status 2 and one line that begins with `error: `.
    """
    if ended.problem:
        return ended.problem
    if "Traceback" in ended.err:
        return f"a traceback: {ended.err.strip().splitlines()[-1]}"
    if ended.code == 0:
        return ""
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if ended.code != 2 or not (errors or "Usage:" in ended.err):
        return f"it ended with {ended.code} and said {ended.err.strip()[-300:]!r}"
    return ""


def _begin(arguments: list[str], said: str, prepare: Callable[[], object] | None, folder: str) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(said) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    os.chdir(folder)
    warnings.simplefilter("default")
    sys.argv = ["condgen", "--threads", "1", *arguments]
    main = importlib.import_module("condgen.__main__").main  # by name: commands stand above benches
    (Path(said) / _BEGUN).touch()
    if prepare is not None:
        prepare()
    try:
        main()
    finally:
        with contextlib.suppress(OSError):
            (Path(said) / _PEAK).write_text(str(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
