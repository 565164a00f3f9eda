"""Work that is killed, and started again by the same command: is what it leaves the same, bit by bit?

Three ways to die: at a random moment; before a file operation, any of those that the work does; in the middle of
writing a file, at a random byte of it, where a line that is being added to a file is an error instead.
"""

import itertools
import os
import random
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.parts import Rows, Work

from condgen.errors import UserError
from reliability.command import Command, Ended
from reliability.work import JOBS, contents, fresh, make_models

__all__ = [
    *("WAYS", "Whole", "begun", "die_before", "die_in_a_file", "kill_rows", "killed_and_resumed", "note_operations"),
    "undisturbed",
]

WAYS = ("at a random moment", "before a file operation", "in the middle of a file")
_MOST_KILLS = 3  # of one run
_MOST_TRIES = 10  # to kill it at all
_TELLING = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"})


def _watch(folder: str, tell: Callable[[str], object]) -> None:
    """Calls `tell` before every change of a file below a folder, in this process."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _TELLING or not isinstance(arguments[0], str | Path):
            return
        flags = arguments[2] if event == "open" else os.O_WRONLY
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and str(arguments[0]).startswith(folder):
            tell(f"{event} {arguments[0]}")

    sys.addaudithook(hook)


def note_operations(folder: str, notes: str) -> None:
    """Writes a line before every change of a file below a folder, in this process."""
    out = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _watch(folder, lambda line: os.write(out, line.replace("\n", " ").encode() + b"\n"))


def die_before(folder: str, number: int) -> None:
    """Kills this process before its change number so and so, from 0, of a file below a folder."""
    changes = itertools.count()

    def tell(_: str) -> None:
        if next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(folder, tell)


def die_in_a_file(size: int) -> None:
    """Kills this process when it writes beyond so many bytes of any file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python makes an error of it, which work could survive


class Whole(NamedTuple):
    """What a command does and leaves when nothing disturbs it.

    Attributes:
        contents: of its folder, but for what is never the same twice.
        varying: files that are never the same twice, since they say how long things took.
        seconds: that it takes.
        operations: how many times it changes a file.
        replaced: how many files it writes beside their targets, which they replace then.
        largest: bytes of the largest file.
    """

    contents: dict[str, str]
    varying: tuple[str, ...]
    seconds: float
    operations: int
    replaced: int
    largest: int

    def is_left_in(self, folder: Path) -> bool:
        """Whether a folder holds the same files, bit by bit."""
        return {path: found for path, found in contents(folder).items() if path not in self.varying} == self.contents


def undisturbed(arguments: list[str], folder: Path) -> Whole:
    """Runs a command to its end, twice, and counts what it does.

    Args:
        arguments: of the command.
        folder: for both, one after the other.
    """
    notes = fresh(folder).with_name(f"{folder.name}.operations")
    found = []
    for _ in range(2):
        fresh(folder)
        notes.unlink(missing_ok=True)
        ended = _command(arguments, folder, partial(note_operations, str(folder), str(notes))).wait()
        if ended.code != 0:
            raise UserError(f"the command failed that was to be killed: {ended.err.strip()}")
        found.append(contents(folder))
    varying = tuple(path for path in {**found[0], **found[1]} if found[0].get(path) != found[1].get(path))
    lasting = {path: hash_ for path, hash_ in found[1].items() if path not in varying}
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    operations = notes.read_text().splitlines()
    replaced = sum(line.startswith("open ") and line.endswith(".tmp") for line in operations)
    return Whole(lasting, varying, ended.seconds, len(operations), replaced, largest)


def begun(
    kind: str, models: Path, folder: Path, seed: int
) -> Generator[str, None, tuple[list[str], random.Random, Whole]]:
    """A kind of work before it is disturbed: its arguments, what decides when and where, and what it does undisturbed.

    Args:
        kind: of work.
        models: the folder of `make_models`.
        folder: to run it in.
        seed: of moments and places.
    """
    arguments = JOBS[kind](models)
    yield f"{kind}: undisturbed"
    return arguments, random.Random(f"{seed} {kind}"), undisturbed(arguments, folder / kind / "whole" / kind)


def killed_and_resumed(
    arguments: list[str], folder: Path, way: str, whole: Whole, chance: random.Random
) -> tuple[int, Ended]:
    """Runs a command in an empty folder, kills it once or more, and runs it again until it ends.

    A moment drawn may come too late, since no run takes as long as another: another is drawn then.

    Returns:
        How often it was killed, and how it ended at last.
    """
    killed, tries = 0, 0
    while not killed and tries < _MOST_TRIES:
        fresh(folder)
        tries += 1
        for _ in range(chance.randint(1, _MOST_KILLS)):
            if _killed(arguments, folder, way, whole, chance).code >= 0:
                break
            killed += 1
    return killed, _command(arguments, folder, None).wait()


def _killed(arguments: list[str], folder: Path, way: str, whole: Whole, chance: random.Random) -> Ended:
    """How a command ended that was to be killed: it may have been done before, or have met an error."""
    prepare: Callable[[], None] | None = None
    if way == WAYS[1]:
        prepare = partial(die_before, str(folder), chance.randrange(whole.operations))
    elif way == WAYS[2]:
        prepare = partial(die_in_a_file, int(whole.largest ** chance.random()))
    command = _command(arguments, folder, prepare)
    if way == WAYS[0]:
        command.join(chance.uniform(0, whole.seconds))
        command.send(signal.SIGKILL)
    return command.wait()


def kill_rows(folder: Path, times: int, seed: int, kinds: Sequence[str] = tuple(JOBS)) -> Work:
    """Kills each kind of work so many times, in each way in turn.

    Args:
        folder: is emptied.
        times: runs of each kind that are killed.
        seed: of moments and places.
        kinds: of work.

    Returns:
        A row a figure: what, variant, value, unit.
    """
    fresh(folder)
    models = folder / "models"
    yield from make_models(models, kinds)
    rows: Rows = []
    for kind in kinds:
        arguments, chance, whole = yield from begun(kind, models, folder, seed)
        count: Counter[str] = Counter()
        for number in range(times):
            way = WAYS[number % len(WAYS)]
            yield f"{kind}: {number + 1} of {times}, killed {way}; {count['different']} differ"
            place = folder / kind / "killed" / kind
            killed, ended = killed_and_resumed(arguments, place, way, whole, chance)
            same = ended.code == 0 and whole.is_left_in(place)
            count.update({"killed": killed, f"killed {way}": killed, "runs": killed > 0, "same": killed > 0 and same})
            if not same:
                count["different"] += 1
                _keep(place, folder / kind / f"different-{number}", ended)
        rows += [
            {"what": "runs that were killed", "variant": kind, "value": count["runs"], "unit": "runs"},
            *(
                {"what": f"kills {way}", "variant": kind, "value": count[f"killed {way}"], "unit": "kills"}
                for way in WAYS
            ),
            {"what": "files compared", "variant": kind, "value": len(whole.contents), "unit": "files"},
            {"what": "files with times, not compared", "variant": kind, "value": len(whole.varying), "unit": "files"},
            {"what": "runs that ended in the same bits", "variant": kind, "value": count["same"], "unit": "runs"},
            {"what": "runs that ended in other bits", "variant": kind, "value": count["different"], "unit": "runs"},
        ]
    return rows


def _command(arguments: list[str], folder: Path, prepare: Callable[[], None] | None) -> Command:
    return Command(*arguments, "--out", folder, prepare=prepare)


def _keep(place: Path, target: Path, ended: Ended) -> None:
    """Puts aside what came out differently, to be looked at."""
    shutil.rmtree(target, ignore_errors=True)
    place.rename(target)
    (target / "said.txt").write_text(f"{ended.code}\n{ended.out}\n{ended.err}")
