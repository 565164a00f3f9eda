"""What the person at the terminal sees while work goes on, and what Ctrl-C does."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from condgen.run import Progress, Work

__all__ = ["Stopped", "console", "follow"]

console = Console(highlight=False)


class Stopped(Exception):
    """The user asked to stop; the state is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped, nothing is lost: the same command goes on from here")
        self.exit_code = 128 + signal_number


class _Request:
    """Remembers the first signal, so that work stops between two steps; a second Ctrl-C stops at once."""

    signal_number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def _stop_request() -> Iterator[_Request]:
    request = _Request()
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow(work: Work) -> int:
    """Runs stages to their end with a bar each, and says how many had something to do.

    Raises:
        Stopped: after Ctrl-C or a polite kill, once the stage has saved its state.
    """
    bars = Bars(
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>12}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}", markup=True),
        console=console,
        disable=not console.is_terminal,
    )
    seen: dict[str, tuple[TaskID, float, int]] = {}
    last: Progress | None = None
    begun = time.perf_counter()
    with _stop_request() as request, bars:
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
            if request.signal_number is not None:
                work.close()
                raise Stopped(request.signal_number)
    _say_done(last, seen)
    return len(seen)


def _say_done(event: Progress | None, seen: dict[str, tuple[TaskID, float, int]]) -> None:
    """Where there is no terminal for bars, one line a finished stage."""
    if event is not None and not console.is_terminal:
        seconds = time.perf_counter() - seen[event.stage][1]
        line = f"{event.stage}: {event.done:,} of {event.total:,} in {seconds:.1f} s  {event.note}"
        console.print(line.rstrip(), markup=False, soft_wrap=True)
