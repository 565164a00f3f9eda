"""Progress bars of stages, and what Ctrl-C does meanwhile."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from condgen.cli.terminal import Stopped, console, say
from condgen.runs import Progress, Work
from condgen.training import Processes

__all__ = ["follow"]

_PATIENCE = b"\nstopping after this step, with all of it saved; Ctrl-C again stops at once\n"


class _Request:
    """Remembers the first signal, so that work stops between two steps; a second Ctrl-C stops at once.

    A second SIGTERM does not: launchers send one to processes that are already saving.
    """

    signal_number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal_number is None and number == signal.SIGINT and console.is_terminal and not console.quiet:
            os.write(2, _PATIENCE)  # the console may be in use at this very moment
        self.signal_number = self.signal_number or number


@contextmanager
def _stop_request() -> Iterator[_Request]:
    request = _Request()
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow(work: Work, processes: Processes) -> int:
    """Runs stages to their end with a bar each; returns how many had something to do.

    Args:
        work: of this process.
        processes: which follow the same work; they stop at the same step.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, once the stage has saved its state.
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
    with _stop_request() as request, bars:
        for event in work:
            now = time.perf_counter()
            if event.message:
                say(event.message)
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
    """Without a terminal for bars, one line a finished stage."""
    if event is not None and not console.is_terminal:
        seconds = time.perf_counter() - seen[event.stage][1]
        say(f"{event.stage}: {event.done:,} of {event.total:,} in {seconds:.1f} s  {event.note}".rstrip())
