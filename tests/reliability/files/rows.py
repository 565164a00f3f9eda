"""How hostile files went, in rows; and one case once more.

A case is known by its kind, the seed and its number, `runs/0/17`: the same three make the same files.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parts import Rows, Work

from condgen.errors import UserError
from reliability.files.commands import COMMANDS, watch_commands
from reliability.files.faults import FAULTS
from reliability.files.kinds import KINDS
from reliability.files.valid import make_valid
from reliability.files.watch import LIMITS, Limits, watch
from reliability.files.worker import Result, chance_of, make_case

__all__ = ["file_rows", "replay"]

_TOLD = 500  # cases between two words
_FEWER = 25  # cases for each whole command, which takes as long
_PATIENT, _IMPATIENT = Limits(60.0, 1_500_000_000), Limits(0.5)  # with planted faults
_FOUND = {
    "traceback": "traceback",
    "hang": "hang",
    "memory": "memory",
}  # the outcomes of planted faults; others are seen


def file_rows(
    folder: Path, cases: int, seed: int, kinds: Sequence[str] = (*KINDS, COMMANDS), limits: Limits = LIMITS
) -> Work:
    """Has hostile files of every kind read, and counts what must not happen.

    Before that, faults are planted, to see that each of them would be found.

    Args:
        folder: to work in: an empty or new one, which is left as it was.
        cases: of each kind; of whole commands, one for every 25.
        seed: of all chance.
        kinds: those to make; all by default.
        limits: of one case.

    Returns:
        By kind: cases, how many were accepted and refused, tracebacks, hangs, cases over the limit of memory, processes
        that died, canaries that ran, cases that wrote, read, ran or unpickled what they must not, the slowest case in
        seconds, the most memory in MB. For each case that went wrong, a row that names it and says how.

    Raises:
        UserError: there is no such kind, or a planted fault was not found.
    """
    unknown = set(kinds) - {*KINDS, COMMANDS}
    if unknown:
        raise UserError(f"there is no kind {min(unknown)!r}: choose among {', '.join((*KINDS, COMMANDS))}")
    folder = folder.resolve()
    rows: Rows = []
    try:
        yield "small valid files"
        make_valid(folder / "valid")
        yield "planted faults"
        _find_faults(folder)
        for kind in kinds:
            found: list[Result] = []
            for result in _results(kind, cases, seed, folder, limits):
                found.append(result)
                if result.is_fault:
                    yield f"{kind}/{seed}/{result.number}: {_in_words(result)}"
                elif len(found) % _TOLD == 0:
                    yield f"{kind}: {len(found):,} of {cases:,}"
            rows += _rows(kind, seed, found)
    finally:
        for name in ("valid", "case"):
            shutil.rmtree(folder / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
    return rows


def _results(kind: str, cases: int, seed: int, folder: Path, limits: Limits) -> Iterator[Result]:
    if kind == COMMANDS:
        return watch_commands(seed, range(-(-cases // _FEWER)), folder, limits)
    return watch(kind, seed, range(cases), folder, limits)


def _find_faults(folder: Path) -> None:
    """Raises where a planted fault is not found."""
    for name in FAULTS:
        (result,) = watch(name, 0, [0], folder, _IMPATIENT if name == "hang" else _PATIENT)
        if not result.is_fault or result.outcome != _FOUND.get(name, result.outcome):
            raise UserError(
                f"the planted fault {name!r} was not found ({result.outcome}): what is counted means nothing"
            )


def _rows(kind: str, seed: int, found: Sequence[Result]) -> Rows:
    outcomes = Counter(result.outcome for result in found)
    values: list[tuple[str, float, str]] = [
        ("cases", len(found), "cases"),
        ("accepted", outcomes["accepted"], "cases"),
        ("refused", outcomes["refused"], "cases"),
        ("tracebacks", outcomes["traceback"], "cases"),
        ("hangs", outcomes["hang"], "cases"),
        ("over the limit of memory", outcomes["memory"], "cases"),
        ("processes that died", outcomes["crash"], "cases"),
        ("canaries run", sum(result.canaries for result in found), "files"),
        ("outside", sum(bool(result.seen) for result in found), "cases"),
        ("slowest case", max((result.seconds for result in found), default=0.0), "s"),
        ("peak memory", max((result.peak for result in found), default=0) / 1e6, "MB"),
    ]
    rows: list[dict[str, Any]] = [{"what": w, "variant": kind, "value": v, "unit": unit} for w, v, unit in values]
    faults = [result for result in found if result.is_fault]
    names = [f"{kind}/{seed}/{result.number}" for result in faults]
    return rows + [
        {"what": "fault", "variant": name, "value": 1, "unit": "case", "said": _in_words(result)}
        for name, result in zip(names, faults, strict=True)
    ]


def _in_words(result: Result) -> str:
    seen = [*result.seen, *(["a canary was written"] if result.canaries else [])]
    return "; ".join([f"{result.outcome} after {result.seconds:.1f} s", *filter(None, [result.said]), *seen])


def replay(case: str, folder: Path) -> str:
    """Makes one case again, and reads it; says how it went. Its files stay, to be looked at.

    Args:
        case: KIND/SEED/NUMBER, as rows name them.
        folder: to work in; the files of the case are in `case/in`.

    Raises:
        UserError: there is no such case.
    """
    kind, _, rest = case.partition("/")
    seed, _, number = rest.partition("/")
    if kind not in {*KINDS, COMMANDS} or not (seed.isdecimal() and number.isdecimal()):
        raise UserError(f"{case!r} is no case: write KIND/SEED/NUMBER, with one of {', '.join((*KINDS, COMMANDS))}")
    folder = folder.resolve()
    if not (folder / "valid").exists():
        make_valid(folder / "valid")
    if kind == COMMANDS:
        (result,) = watch_commands(int(seed), [int(number)], folder, LIMITS, keep=True)
        return f"{case}: {_in_words(result)}"
    (result,) = watch(kind, int(seed), [int(number)], folder)
    shutil.rmtree(folder / "case", ignore_errors=True)
    make_case(KINDS[kind], chance_of(kind, int(seed), int(number)), folder / "valid", folder / "case")
    return f"{case}: {_in_words(result)}"
