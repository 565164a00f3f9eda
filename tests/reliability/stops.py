"""Work that is asked to stop, by Ctrl-C or a polite kill: how soon it ends, and whether anything is lost."""

import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts import Rows, Work

from condgen.runs import lock
from reliability.command import Command
from reliability.kills import begun
from reliability.work import JOBS, fresh, make_models

__all__ = ["stop_rows"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_rows(folder: Path, times: int, seed: int, kinds: Sequence[str] = tuple(JOBS)) -> Work:
    """Stops each kind of work so many times, at random moments, and runs it again.

    Args:
        folder: is emptied.
        times: runs of each kind that are stopped.
        seed: of moments.
        kinds: of work.

    Returns:
        A row a figure: what, variant, value, unit.
    """
    models = fresh(folder) / "models"
    yield from make_models(models, kinds)
    rows: Rows = []
    for kind in kinds:
        arguments, chance, whole = yield from begun(kind, models, folder, seed)
        count: Counter[str] = Counter()
        slowest = 0.0
        for number in range(times):
            yield f"{kind}: {number + 1} of {times}; {slowest:.1f} s at most"
            place = fresh(folder / kind / "stopped" / kind)
            command = Command(*arguments, "--out", place)
            command.join(chance.uniform(0, whole.seconds))
            number_sent, sent = _SIGNALS[number % 2], time.perf_counter()
            command.send(number_sent)
            ended = command.wait()
            if ended.code == 0:  # it was at its end
                continue
            slowest = max(slowest, time.perf_counter() - sent)
            count["stopped"] += 1
            count["said"] += "nothing is lost" in ended.out or "the last saved state is whole" in ended.err
            count["silent"] += ended.code == -number_sent  # before any work
            count["traceback"] += "Traceback" in ended.err
            again = Command(*arguments, "--out", place).wait()
            count["same"] += again.code == 0 and whole.is_left_in(place)
        rows += [
            {"what": what, "variant": kind, "value": count[key], "unit": "runs"}
            for what, key in (
                ("runs that were stopped", "stopped"),
                ("said that nothing is lost", "said"),
                ("ended silently, before any work", "silent"),
                ("ended in a traceback", "traceback"),
                ("ended in the same bits when run again", "same"),
            )
        ]
        rows.append({"what": "slowest to end", "variant": kind, "value": slowest, "unit": "s"})
        with lock(fresh(folder / kind / "held")):
            ended = Command(*arguments, "--out", folder / kind / "held").wait()
        told = "another condgen process is at work" in ended.err
        rows.append({"what": "told that another is at work", "variant": kind, "value": int(told), "unit": "of 1"})
    return rows
