"""Disks that are full, fail, or may not be written: is what was saved still whole, and does the error help?

Each case has a small file system in memory, of its own, which is full too soon, is enlarged, or may be read only. That
takes a Linux that lets users mount inside a namespace of their own (`unshare` of util-linux), where all of this runs.
"""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.parts import Rows, Work

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.runs import read_json, read_rows
from condgen.runs.layout import MANIFEST
from condgen.runs.sample_folder import load_picture
from reliability.command import Command, Ended, complaint
from reliability.kills import Whole, undisturbed
from reliability.work import JOBS, fresh, make_models

__all__ = ["damaged", "disk_rows", "fail_at", "mounts"]

_ENTER = ("unshare", "--user", "--map-root-user", "--mount")
_ROOM = 64 * 2**20  # bytes of a file system that has enough


def mounts() -> bool:
    """Whether this machine lets users mount in a namespace of their own."""
    return (
        shutil.which(_ENTER[0]) is not None and subprocess.run([*_ENTER, "true"], capture_output=True).returncode == 0
    )


def disk_rows(folder: Path, times: int, seed: int, kinds: Sequence[str] = tuple(JOBS)) -> Work:
    """Lets disks fail under each kind of work, so many times in each of four ways.

    Args:
        folder: is emptied.
        times: how often, of each kind and way.
        seed: of sizes and moments.
        kinds: of work.

    Returns:
        A row a figure: what, variant, value, unit.

    Raises:
        UserError: this machine does not let users mount.
    """
    if not mounts():
        raise UserError("disk: needs Linux with unshare (util-linux) and user namespaces; leave this part out")
    yield from make_models(fresh(folder) / "models", kinds)
    script = f"from {__name__} import within; within()"
    arguments = [str(folder), str(times), str(seed), *kinds]
    rows: Rows = []
    command = [*_ENTER, sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            said = json.loads(line)
            if "doing" in said:
                yield said["doing"]
            else:
                rows.append(said)
    if process.returncode != 0:
        raise UserError("disk: the part did not reach its end")
    return rows


def within() -> None:
    """What runs in the namespace: prints what it does next, and rows, a line of JSON each."""
    folder, times, seed, *kinds = sys.argv[1:]
    place = fresh(Path(folder) / "mounted")
    for kind in kinds:
        for said in _of_kind(kind, JOBS[kind](Path(folder) / "models"), place, int(times), seed):
            print(json.dumps(said), flush=True)


def fail_at(call: str, number: int, code: int) -> None:
    """Lets a call of the module `os` fail in this process, from the time number so and so on, from 0."""
    real, calls = getattr(os, call), iter(range(number))

    def failing(*arguments: object) -> object:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    setattr(os, call, failing)


class _Failure(NamedTuple):
    """A command that met a failing disk.

    Attributes:
        ended: how it ended.
        damaged: how many files could not be read then.
        same: whether it ended in the same bits when the disk was mended.
    """

    ended: Ended
    damaged: int
    same: bool


class _Case(NamedTuple):
    """Work whose disk is to fail."""

    arguments: list[str]
    folder: Path
    whole: Whole
    needed: int  # bytes
    chance: random.Random

    def fails(self, prepare: Callable[[], None] | None = None) -> Ended:
        """Runs the command in its folder as it is."""
        return Command(*self.arguments, "--out", self.folder, prepare=prepare).wait()

    def seen(self, ended: Ended, mend: Callable[[], None] = lambda: None) -> _Failure:
        """What is left after it failed, and what comes of it when it is run again."""
        bad = len(damaged(self.folder))
        mend()
        return _Failure(ended, bad, self.fails().code == 0 and self.whole.is_left_in(self.folder))


def _full(case: _Case) -> _Failure:
    with _Mounted(case.folder.parent, int(case.needed * case.chance.uniform(0.05, 0.95))) as mounted:
        return case.seen(case.fails(), partial(mounted.again, f"size={_ROOM}"))


def _read_only(case: _Case) -> _Failure:
    with _Mounted(case.folder.parent, _ROOM) as mounted:
        case.fails(partial(fail_at, "replace", case.chance.randrange(case.whole.replaced), errno.EIO))
        mounted.again("ro")
        return case.seen(case.fails(), partial(mounted.again, "rw"))


def _failing(call: str, code: int, case: _Case) -> _Failure:
    with _Mounted(case.folder.parent, _ROOM):
        return case.seen(case.fails(partial(fail_at, call, case.chance.randrange(case.whole.replaced), code)))


_WAYS: dict[str, Callable[[_Case], _Failure]] = {
    "full": _full,
    "read-only": _read_only,
    "failing fsync": partial(_failing, "fsync", errno.EIO),
    "failing rename": partial(_failing, "replace", errno.EDQUOT),
}


def _of_kind(kind: str, arguments: list[str], place: Path, times: int, seed: str) -> Iterator[dict[str, object]]:
    folder = place / kind
    yield {"doing": f"{kind}: undisturbed"}
    with _Mounted(place, _ROOM):
        whole = undisturbed(arguments, folder)
        needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    case = _Case(arguments, folder, whole, needed, random.Random(f"{seed} {kind}"))
    for way, happen in _WAYS.items():
        count: Counter[str] = Counter()
        for number in range(times):
            yield {"doing": f"{kind}: {way}, {number + 1} of {times}"}
            ended, bad, same = happen(case)
            failed = ended.code != 0  # or it needed less than was thought
            found = {
                "runs that failed": True,
                "said so in one line": complaint(ended) == "",
                "named the place": str(place) in ended.err,
                "named the bytes needed": "bytes needed" in ended.err,
                "ended in the same bits once mended": same,
                "damaged files": bad,
            }
            count.update({what: int(value) * failed for what, value in found.items()})
        for what, value in count.items():
            unit = "files" if what.endswith("files") else "runs"
            yield {"what": what, "variant": f"{kind}, {way}", "value": value, "unit": unit}


def damaged(folder: Path) -> list[Path]:
    """The files of a run folder that cannot be read, and those that are named and are not there."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.suffix == ".safetensors":
                load_tensors(path)
            elif path.suffix == ".json":
                read_json(path)
            elif path.name == MANIFEST:
                [load_picture(path.parent / row["file"]) for row in read_rows(path)]
            elif path.suffix == ".jsonl":
                read_rows(path)
        except (UserError, OSError):
            found.append(path)
    return found


class _Mounted:
    """A file system in memory, of so many bytes, while it is held."""

    def __init__(self, place: Path, size: int) -> None:
        self._place, self._size = place, size

    def __enter__(self) -> "_Mounted":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", self._place], check=True)
        return self

    def again(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self._place], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self._place], check=True)
