"""Faults that are planted, so that one sees that each kind of them is found."""

import pickle
import time
from pathlib import Path
from random import Random

from reliability.files.kinds import Kind
from reliability.files.pictures import Planted

__all__ = ["FAULTS"]


def _nothing(chance: Random, valid: Path, case: Path) -> None:
    pass


def _raise(chance: Random, case: Path) -> None:
    raise KeyError("names")


def _sleep(chance: Random, case: Path) -> None:
    time.sleep(3600)


def _grow(chance: Random, case: Path) -> None:
    held = [bytearray(b"x") * 2**28 for _ in range(64)]
    time.sleep(len(held))


def _plant(chance: Random, valid: Path, case: Path) -> None:
    (case / "in" / "data.pkl").write_bytes(pickle.dumps(Planted(case / "canary")))


def _unpickle(chance: Random, case: Path) -> None:
    pickle.loads((case / "in" / "data.pkl").read_bytes())


def _write(chance: Random, case: Path) -> None:
    (case / "elsewhere").write_text("x")


def _read(chance: Random, case: Path) -> None:
    (case / "outside" / "secret.txt").read_text()


FAULTS: dict[str, Kind] = {
    "traceback": Kind("an error of Python", _nothing, _raise),
    "hang": Kind("no end", _nothing, _sleep),
    "memory": Kind("no bound", _nothing, _grow),
    "canary": Kind("foreign code", _plant, _unpickle),
    "outside": Kind("a file elsewhere", _nothing, _write),
    "secret": Kind("what is private", _nothing, _read),
}
