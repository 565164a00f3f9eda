"""Whole commands on hostile files: what a person would see, and what the process did."""

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from reliability.command import Command, complaint
from reliability.files.guard import Guard
from reliability.files.kinds import KINDS
from reliability.files.watch import Limits
from reliability.files.worker import CANARY, Result, chance_of, make_case

__all__ = ["COMMANDS", "watch_commands"]

COMMANDS = "commands"
"""What cases of whole commands are called."""

_IN, _OUT = "case/in", "case/out/made"
_COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {  # by the kind of what they are given
    "recipes": (("run", f"{_IN}/recipe.yaml", "--dry-run"), ("run", f"{_IN}/recipe.yaml", "--size", "small")),
    "includes": (("run", f"{_IN}/0.yaml", "--dry-run"), ("run", f"{_IN}/0.yaml", "--size", "small", "--dry-run")),
    "samples": (
        ("pack", f"{_IN}/samples", "--out", f"{_OUT}.tar"),
        ("pack", f"{_IN}/samples", "--out", f"{_OUT}.parquet"),
        ("evaluate", "--samples", f"{_IN}/samples", "--data", "digits", "--out", _OUT),
    ),
    "runs": (
        ("report", f"{_IN}/run"),
        ("export", f"{_IN}/run", "--out", _OUT),
        ("tensorboard", f"{_IN}/run", "--out", _OUT),
        ("export", f"{_IN}/run/classifier-ce", "--out", _OUT),
    ),
    "models": (
        ("sample", "--score", f"{_IN}/model", "--n", "2", "--sampler", "heun", "--steps", "3", "--out", _OUT),
        ("sample", "--generator", f"{_IN}/model", "--per-class", "1", "--out", _OUT),
        ("export", f"{_IN}/model", "--out", _OUT),
    ),
    "images": (("train-score", "--data", f"{_IN}/images", "--steps", "1", "--out", _OUT),),
    "archives": (("train-score", "--data", "cifar10", "--steps", "1", "--out", _OUT),),
}
_TAKES = 40.0  # seconds for work that a command does on what it has accepted, beside reading it


def watch_commands(
    seed: int, numbers: Sequence[int], folder: Path, limits: Limits, *, keep: bool = False
) -> Iterator[Result]:
    """Runs a command for each case, and gives how it went.

    Args:
        seed: of all chance.
        numbers: of the cases.
        folder: to work in; it holds the valid files.
        limits: of reading; a command that trains or draws may take longer.
        keep: the files of the last case.
    """
    place = folder / "case"
    for number in numbers:
        shutil.rmtree(place, ignore_errors=True)
        chance = chance_of(COMMANDS, seed, number)
        kind = chance.choice(list(_COMMANDS))
        make_case(KINDS[kind], chance, folder / "valid", place)
        yield _run(chance, kind, number, folder, limits)
    if not keep:
        shutil.rmtree(place, ignore_errors=True)


def _run(chance: Random, kind: str, number: int, folder: Path, limits: Limits) -> Result:
    noted, place = folder / "seen.jsonl", folder / "case"
    arguments = chance.choice(_COMMANDS[kind])
    prepare = partial(_prepare, str(place), str(noted), KINDS[kind].reads_outside)
    ended = Command(*arguments, prepare=prepare, folder=folder).wait(limits.seconds + _TAKES, limits.memory)
    seen = tuple(json.loads(line) for line in noted.read_text().splitlines()) if noted.exists() else ()
    noted.unlink(missing_ok=True)
    wrong = complaint(ended)
    outcome = "accepted" if ended.code == 0 else "refused"
    if ended.problem:
        outcome = "memory" if "GB" in ended.problem else "hang"
    elif wrong:
        outcome = "traceback"
    elif "\x1b" in ended.out + ended.err:
        outcome, wrong = "traceback", "it printed what a terminal obeys"
    said = f"condgen {' '.join(arguments)}: {wrong or ended.err.strip()[-200:]}"
    return Result(number, outcome, ended.seconds, said, seen[:5], int((place / CANARY).exists()), ended.peak)


def _prepare(place: str, noted: str, reads_outside: bool) -> None:
    """In the command's process: writes down what must not happen, when it happens."""
    import os

    os.environ["CONDGEN_DATA"] = f"{place}/in"
    os.environ["CONDGEN_CACHE"] = f"{place}/out/cache"
    file = os.open(noted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what: str) -> None:
        os.write(file, (json.dumps(what) + "\n").encode())

    guard = Guard(note)
    watching: Any = guard.watching(Path(place), private=not reads_outside)
    watching.__enter__()  # for as long as the process lives
