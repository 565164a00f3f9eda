"""Commands under torchrun or accelerate launch: process 0 prints, the others are silent but for errors of their own."""

import os
import sys
from typing import NoReturn

from condgen.cli.terminal import console
from condgen.errors import UserError


def join(verb: str, joins: bool) -> int:
    """Meets the other processes of this job; returns how many share the machine."""
    if not _is_one_of_many():
        return 1
    if not joins:
        raise UserError(f"condgen {verb} is the work of one process: leave the launcher out")
    for name in ("RANK", "LOCAL_RANK"):
        if name not in os.environ:
            raise UserError(f"WORLD_SIZE is set, but {name} is not set: start with torchrun or accelerate launch")
    from condgen.training.distributed import Processes

    Processes()
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def choose_device(name: str | None) -> None:
    import torch

    if name is None:
        return
    if _is_one_of_many():
        raise UserError("a launcher gives each process its device: leave --device out, or set ACCELERATE_USE_CPU=1")
    kind, _, index = name.partition(":")
    known = ["cpu", *(found for found in ("cuda", "mps", "xpu") if getattr(torch, found).is_available())]
    count = 1 if kind in ("cpu", "mps") or kind not in known else getattr(torch, kind).device_count()
    if kind not in known or (index and not (index.isdecimal() and int(index) < count)):
        raise UserError(f"there is no device {name!r} here: choose one of {', '.join(known)}")
    os.environ["ACCELERATE_TORCH_DEVICE"] = name


def silence_others() -> None:
    if _is_one_of_many() and os.environ.get("RANK", "0") != "0":
        console.quiet = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives


def speaks(error: BaseException | None) -> bool:
    """Whether this process prints the error that ends it; process 0 reports the loss of another one."""
    if not _is_one_of_many() or os.environ.get("RANK") == "0":
        return True
    from condgen.training.distributed import Lost

    return not isinstance(error, Lost)


def leave(code: int) -> NoReturn:
    """Ends the process; one of many ends at once, since threads that hold connections may abort a slower exit."""
    if not _is_one_of_many():
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _is_one_of_many() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
