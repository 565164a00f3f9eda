"""What the person at the terminal sees while work goes on, and what Ctrl-C does."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment

from condgen.errors import shown
from condgen.runs import Progress, Work
from condgen.training import Processes

__all__ = ["STOPPED", "Stopped", "console", "follow"]


class _Quoting(Console):
    """Shows names that others chose, of classes and files, without giving them power over the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


console = _Quoting(highlight=False)
STOPPED = "stopped, nothing is lost: the same command goes on from here"
_PATIENCE = b"\nstopping after this step, with all of it saved; Ctrl-C again stops at once\n"
_GRACE = 20.0  # seconds from a signal until a process that still waits for another gives up; launchers kill after 30


class Stopped(Exception):
    """The user asked to stop; the state is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(STOPPED)
        self.exit_code = 128 + signal_number


class _Request:
    """Remembers the first signal, so that work stops between two steps; a second Ctrl-C stops at once.

    A second polite kill does not: launchers send one to processes that are already saving.
    """

    signal_number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal_number is None and number == signal.SIGINT and console.is_terminal and not console.quiet:
            os.write(2, _PATIENCE)  # the console may be in use at this very moment
        self.signal_number = self.signal_number or number


@contextmanager
def _stop_request(processes: Processes) -> Iterator[_Request]:
    request = _Request()
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _never_stuck(processes):
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _never_stuck(processes: Processes) -> Iterator[None]:
    """Meanwhile, ends a process that was asked to stop, but waits in vain for another inside a collective call.

    Python's handlers of signals run between two of its instructions, which such a process does not reach, or reached
    too early: NCCL waits for a process that was killed until it is killed itself. A thread sees the signal all the
    same.
    """
    if processes.count == 1:
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def watch() -> None:
        numbers = os.read(heard, 1)
        os.close(heard)
        if not numbers:  # the work is done
            return
        done.wait(_GRACE)
        while not done.is_set():
            if processes.is_waiting:
                if processes.first_to_end():
                    print(f"{STOPPED}; another process did not answer", file=sys.__stderr__, flush=True)
                os._exit(128 + numbers[0])
            done.wait(1)  # it saves

    done = threading.Event()
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.close(told)


def follow(work: Work, processes: Processes) -> int:
    """Runs stages to their end with a bar each, and says how many had something to do.

    Args:
        work: of this process.
        processes: which follow the same work; they stop at the same step.

    Raises:
        Stopped: after Ctrl-C or a polite kill, once the stage has saved its state.
        Lost: another process is gone.
    """
    bars = Bars(
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>12}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}", markup=True),
        console=console,
        disable=not console.is_terminal or console.quiet,
    )
    seen: dict[str, tuple[TaskID, float, int]] = {}
    last: Progress | None = None
    begun = time.perf_counter()
    with _stop_request(processes) as request, bars:
        for event in work:
            now = time.perf_counter()
            if event.message:
                console.print(event.message, markup=False, soft_wrap=True)
            if event.stage not in seen:
                _say_done(last, seen)
                task = bars.add_task(event.stage, total=event.total, completed=event.done, rate="", note="")
                seen[event.stage] = (task, begun, 0)
            task, started, images = seen[event.stage]
            rate = f"{(event.images - images) / (now - started):,.0f} img/s" if event.images > images else ""
            bars.update(task, completed=event.done, total=event.total, rate=rate, note=event.note.replace("[", "("))
            last, begun = event, now
            stop = request.signal_number is not None
            if event.together:
                stop = processes.agree(stop)
            if stop:
                work.close()
                if event.together:
                    processes.wait()  # launchers kill the others as soon as one process ends
                raise Stopped(request.signal_number or signal.SIGTERM)
    _say_done(last, seen)
    return len(seen)


def _say_done(event: Progress | None, seen: dict[str, tuple[TaskID, float, int]]) -> None:
    """Where there is no terminal for bars, one line a finished stage."""
    if event is not None and not console.is_terminal:
        seconds = time.perf_counter() - seen[event.stage][1]
        line = f"{event.stage}: {event.done:,} of {event.total:,} in {seconds:.1f} s  {event.note}"
        console.print(line.rstrip(), markup=False, soft_wrap=True)
