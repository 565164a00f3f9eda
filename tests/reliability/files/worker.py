"""The process that reads hostile files, one case after the other, and says before and after each how it went."""

import gc
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from condgen.errors import UserError
from reliability.files.faults import FAULTS
from reliability.files.guard import INSIDE, SECRET, Guard
from reliability.files.kinds import KINDS, Kind

__all__ = ["CANARY", "Result", "chance_of", "make_case", "work"]

CANARY = "canary"
_SECRET = "nobody is to read this"
_SAID = 300  # characters of what a case said


class Result(NamedTuple):
    """How a case went.

    Attributes:
        number: of the case.
        outcome: "accepted", "refused", "traceback", "hang", "memory" or "crash".
        seconds: of reading.
        said: the message, or what went wrong and where.
        seen: what the guard has noted.
        canaries: files that foreign code has written.
        peak: the most memory that the process has had so far, in bytes.
    """

    number: int
    outcome: str
    seconds: float
    said: str = ""
    seen: tuple[str, ...] = ()
    canaries: int = 0
    peak: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether something happened that must not."""
        return self.outcome not in ("accepted", "refused") or bool(self.seen) or self.canaries > 0


def chance_of(kind: str, seed: int, number: int) -> random.Random:
    """All chance of one case."""
    return random.Random(f"{kind}/{seed}/{number}")


def make_case(kind: Kind, chance: random.Random, valid: Path, case: Path) -> None:
    """Writes the files of a case: hostile ones in `in`, and beside them what nobody is to read."""
    for part in (*INSIDE, SECRET[0]):
        (case / part).mkdir(parents=True)
    case.joinpath(*SECRET).write_text(_SECRET)
    kind.make(chance, valid, case)


def work(name: str, seed: int, numbers: Iterable[int], folder: Path, told: Connection) -> None:
    """Reads the cases of a kind, and tells a `Result` of each, and its number before.

    Args:
        name: of the kind.
        seed: of all chance.
        numbers: of the cases.
        folder: to work in; it holds the valid files.
        told: to whom.
    """
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who watches ends it
    os.chdir(folder)
    warnings.simplefilter("error")  # a warning is no line that says what to do
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    guard, place, kind = Guard(), folder / "case", (KINDS | FAULTS)[name]
    shutil.rmtree(place, ignore_errors=True)
    (place / "out").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind.warm(folder / "valid", place / "out")
    for number in numbers:
        chance = chance_of(name, seed, number)
        shutil.rmtree(place, ignore_errors=True)
        make_case(kind, chance, folder / "valid", place)
        told.send(number)
        told.send(_read(kind, chance, number, place, guard))
        if number % 50 == 0:
            gc.collect()
    shutil.rmtree(place, ignore_errors=True)
    told.send(None)


def _read(kind: Kind, chance: random.Random, number: int, place: Path, guard: Guard) -> Result:
    outcome, said, started = "accepted", "", time.perf_counter()
    with guard.watching(place, private=not kind.reads_outside):
        try:
            kind.read(chance, place)
        except UserError as error:
            outcome, said = "refused", str(error)
            if len(said.splitlines()) != 1:
                outcome, said = "traceback", f"an error that is not one line: {said!r}"
        except BaseException as error:  # whatever it is, people would see it
            where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-5:]]
            outcome, said = "traceback", f"{type(error).__name__} at {' '.join(where)}: {error}"
    seconds = time.perf_counter() - started
    seen = list(guard.seen)
    if sorted(path.name for path in (place / SECRET[0]).iterdir()) != [SECRET[1]]:
        seen.append("a file more or less outside")
    canary = place / CANARY
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Result(number, outcome, seconds, said[:_SAID], tuple(seen[:5]), int(canary.exists()), peak)
