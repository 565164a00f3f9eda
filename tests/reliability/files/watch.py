"""Workers watched from outside: one that hangs or grows is killed, and another goes on with the next case."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from reliability import command
from reliability.files.worker import Result, work

__all__ = ["LIMITS", "Limits", "watch"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["condgen.cli", command.__name__, work.__module__])  # of both, since the last call holds
_LOOK = 0.05  # seconds between two looks at the memory of a case that takes its time
_TO_START = 120.0


class Limits(NamedTuple):
    """What one case may take."""

    seconds: float = 5.0
    memory: int = 2 * 10**9


LIMITS = Limits()
"""What is promised."""


def watch(name: str, seed: int, numbers: Sequence[int], folder: Path, limits: Limits = LIMITS) -> Iterator[Result]:
    """Has cases read in workers, and gives the result of each.

    A case that takes too long is tried once more by itself before it counts: the machine may have been busy.
    """
    todo, doubted = list(numbers), set[int]()
    while todo:
        ended = 0
        for result in _session(name, seed, todo, folder, limits):
            if result.outcome == "hang" and result.number not in doubted:
                doubted.add(result.number)
                break
            ended += 1
            yield result
        todo = todo[ended:]


def _session(name: str, seed: int, numbers: list[int], folder: Path, limits: Limits) -> Iterator[Result]:
    """Results of one worker, the last of which may be that it had to be killed."""
    hear, tell = _FORKS.Pipe(duplex=False)
    worker = _FORKS.Process(target=work, args=(name, seed, numbers, folder, tell), daemon=True)
    worker.start()
    tell.close()
    assert worker.pid is not None
    process, number, since = psutil.Process(worker.pid), numbers[0], time.perf_counter() + _TO_START
    peak, died, begun = 0, False, False
    try:
        while True:
            if hear.poll(_LOOK):
                try:
                    told = hear.recv()
                except EOFError as error:
                    worker.join()
                    if not begun:
                        raise RuntimeError(f"no case of {name} was read: the valid ones are not, see above") from error
                    yield Result(number, "crash", 0.0, f"the process ended with {worker.exitcode}", (), 0, peak)
                    return
                if told is None:
                    return
                if isinstance(told, Result):
                    peak, since = told.peak, time.perf_counter() + _TO_START
                    is_large = told.peak > limits.memory
                    yield told._replace(outcome="memory") if is_large else told
                    if is_large:  # the mark stays up
                        return
                else:
                    number, since, begun = told, time.perf_counter(), True
                continue
            try:
                held = process.memory_info().rss
            except psutil.Error:
                if died:  # and nothing more to hear
                    yield Result(number, "crash", 0.0, "the process is gone", (), 0, peak)
                    return
                died = True
                continue
            took = time.perf_counter() - since
            if held > limits.memory:
                yield Result(number, "memory", took, f"more than {limits.memory / 1e9:.1f} GB", (), 0, held)
                return
            if took > limits.seconds:
                yield Result(number, "hang", took, f"still at it after {limits.seconds:g} s", (), 0, max(peak, held))
                return
    finally:
        worker.kill()
        worker.join()
        hear.close()
