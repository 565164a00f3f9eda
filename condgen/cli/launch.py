"""Commands under a launcher, such as torchrun or accelerate launch, which starts the same command many times.

Process 0 is the one that people hear. The others are silent, unless one of them ends first and for a reason of its own:
whichever process ends first says why, in one line, and all follow it.
"""

import contextlib
import os
import sys
from typing import NoReturn, TextIO

import typer
from torch import distributed

from condgen.cli.progress import console
from condgen.errors import UserError
from condgen.training import Lost, Processes

__all__ = ["follow_first", "hush", "join", "leave", "may_speak", "voice"]

_TOGETHER = ("run", "train-score", "train-classifier", "train-generator", "calibrate", "sample", "evaluate", "diagnose")
_ONE_PROCESS = {"studio": "it answers one person"}
_ENVIRONMENT = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}


def join(command: str) -> int:
    """Meets the other processes of this job, if there are any; returns how many of them share this machine.

    A command that is done in no time is done by process 0 alone, and the others end here.

    Raises:
        UserError: the command is for one process, or the launcher has not said which process this is.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return 1
    missing = [name for name in ("RANK", "LOCAL_RANK") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is {count}, but {missing[0]} is not set: start with torchrun or accelerate launch")
    if command in _ONE_PROCESS:
        raise UserError(f"condgen {command} is for one process ({_ONE_PROCESS[command]}): leave the launcher out")
    if command in _TOGETHER:
        Processes()
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if os.environ["RANK"] != "0":
        raise typer.Exit
    for name in _ENVIRONMENT:
        os.environ.pop(name, None)
    return 1


def hush() -> None:
    """Silences every process but the first; tracebacks stay, where somebody asked for them."""
    if _is_one_of_many() and os.environ.get("RANK", "0") != "0":
        console.quiet = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
        if not os.environ.get("CONDGEN_DEBUG"):
            sys.stderr = sys.stdout


def may_speak() -> bool:
    """Whether this process, which is about to end, is the one that says why."""
    if not _is_one_of_many():
        return True
    if distributed.is_initialized():
        return Processes().first_to_end()
    return os.environ.get("LOCAL_RANK", "0") == "0"  # they have not met: what is wrong may be wrong on one machine


def voice(hushed: TextIO, own: TextIO | None) -> TextIO:
    """Where the process that may speak is heard: a stream as it is, or the one that it had before it was hushed."""
    return own if console.quiet and own is not None else hushed


def follow_first(code: int) -> NoReturn:
    """Ends the process as the command's parser wishes; where it is wrong, process 0 says so, and ends before others."""
    if code and console.quiet and distributed.is_initialized():
        with contextlib.suppress(Lost):
            Processes().wait()
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends the process.

    One of many ends at once: an interpreter that takes its time to end kills threads that still hold connections, which
    now and then aborts the process, and a kernel that waits for a process that is gone never ends.
    """
    if not _is_one_of_many():
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _is_one_of_many() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
