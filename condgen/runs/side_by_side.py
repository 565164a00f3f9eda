"""Stages at work side by side, in processes of their own; their results are those of the same stages in turn."""

import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import cast

import torch

from condgen.checkpoint import trusted_imports
from condgen.errors import UserError
from condgen.runs.stage import Progress, Stage, Work
from condgen.training.distributed import RESUMES, Processes

Load = Callable[[Processes], Sequence[Stage]]


def in_turn(stages: Sequence[Stage], processes: Processes) -> Generator[Progress | Stage, None, None]:
    """Yields what each stage yields, and the stage itself once it is finished."""
    for stage in stages:
        yield from _timed(stage, processes)
        yield stage


def side_by_side(
    stages: Sequence[Stage], load: Load, jobs: int, processes: Processes, trusted: tuple[str, ...]
) -> Generator[Progress | Stage, None, None]:
    """As `in_turn`, with `jobs` stages at once, each begun when those that it reads are finished.

    Every process loads the stages anew by `load`. When one fails, or this is closed early, all are saved.
    """
    waiting = {each: {place for file in each.follows() for place in file.parents} - {each.folder} for each in stages}
    workers: list[SpawnProcess] = []
    idle, working = list[Connection](), dict[Connection, Stage]()
    arguments = load, torch.get_num_threads(), processes.device.type == "cpu", trusted
    try:
        while waiting or working:
            unfinished = {stage.folder for stage in (*waiting, *working.values())}
            ready = [stage for stage, needed in waiting.items() if unfinished.isdisjoint(needed)]
            # training last, so that what is there is sampled soon, and the longest first
            ready.sort(key=lambda stage: (stage.unit == "steps", -stage.total()))
            for stage in ready[: jobs - len(working)]:
                if not idle:
                    ours, theirs = get_context("spawn").Pipe()
                    workers.append(get_context("spawn").Process(target=_work, args=(theirs, *arguments)))
                    with on_signals(signal.SIG_IGN):  # this process decides
                        workers[-1].start()
                    theirs.close()  # so that the end of either process is the end of the connection
                    idle.append(ours)
                working[idle[-1]] = stage
                idle.pop().send(stage.name)
                del waiting[stage]
            for connection in wait(list(working)):
                connection = cast(Connection, connection)
                stage = working[connection]
                found = connection.recv()
                if isinstance(found, UserError):
                    raise found
                if isinstance(found, Progress):
                    yield found
                else:
                    idle.append(connection)
                    yield working.pop(connection)
    except (EOFError, ConnectionError) as error:
        why = "killed, out of memory (--jobs 1 uses less), or an error above"
        raise UserError(f"the process of {stage.name} is gone: {why}; {RESUMES}") from error
    except KeyboardInterrupt:  # at once, which files survive: they are written whole
        for worker in workers:
            worker.kill()
        raise
    finally:
        for connection in (*idle, *working):
            connection.close()
        try:
            for worker in workers:
                worker.join()
        finally:  # all have ended, or Ctrl-C came again
            for worker in workers:
                worker.kill()


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """What Ctrl-C and SIGTERM do meanwhile. A process that is started ignores them if they are ignored."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def _timed(stage: Stage, processes: Processes) -> Work:
    started = time.perf_counter()
    with closing(stage.run(processes)) as work:
        for event in work:
            yield event._replace(seconds=time.perf_counter() - started)


def _work(connection: Connection, load: Load, threads: int, cpu: bool, trusted: tuple[str, ...]) -> None:
    """Works through the stages whose names come, until the connection ends."""
    torch.set_num_threads(threads)
    processes = Processes(cpu)
    stages = {stage.name: stage for stage in load(processes)}
    with suppress(EOFError, ConnectionError), trusted_imports(trusted):
        while True:
            stage = stages[connection.recv()]
            try:
                with closing(_timed(stage, processes)) as work:
                    for event in work:
                        connection.send(event)
            except UserError as error:
                connection.send(error)
            else:
                connection.send(None)
