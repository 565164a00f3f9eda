"""One thread that draws, and a line of bounded length before it.

Torch uses all cores for one drawing anyhow, so two at once would only share them; and a page waits its turn in a line
that it can see. Who leaves the line, or the page, is drawn no more: a drawing is stopped before the next layer of its
network.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch

from condgen.errors import UserError
from condgen.studio.draw import Drawn, Tell

__all__ = ["Done", "Drawing", "Event", "Failed", "Full", "Ticket", "Waiting", "Worker"]

_TOLD_EVERY = 0.08  # seconds between two messages on how far a drawing is


class Waiting(NamedTuple):
    """In line, with so many drawings to finish before."""

    ahead: int


class Drawing(NamedTuple):
    """Under way: evaluations so far, and in all where that is known."""

    done: int
    expected: int | None


class Done(NamedTuple):
    """At its end."""

    drawn: Drawn


class Failed(NamedTuple):
    """At its end, with nothing drawn."""

    problem: str
    unexpected: Exception | None = None


Event = Waiting | Drawing | Done | Failed


class Full(Exception):
    """The line is as long as it may be."""


class _Stopped(Exception):
    """Nobody waits for this any more."""


class Ticket:
    """A place in the line.

    Args:
        work: draws; it is given what to call before every evaluation.
        notify: called from the thread that draws, with what happens.
    """

    def __init__(self, work: Callable[[Tell], Drawn], notify: Callable[[Event], None]) -> None:
        self.work, self.notify = work, notify
        self.left = threading.Event()


class Worker:
    """The thread that draws.

    Args:
        waiting: the most tickets in line.
        seconds: the most that a drawing may take. It ends before the next layer of its network.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        self._most, self._seconds = waiting, seconds
        self._line: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._busy = self._closed = False
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)
        self._thread.start()

    def join(self, ticket: Ticket) -> None:
        """Puts a ticket at the end of the line.

        Raises:
            Full: where there is no place left.
        """
        with self._changed:
            if len(self._line) >= self._most:
                raise Full
            ahead = len(self._line) + self._busy
            self._line.append(ticket)
            self._changed.notify()
        if ahead:
            ticket.notify(Waiting(ahead))

    def leave(self, ticket: Ticket) -> None:
        """Takes a ticket out of the line, or stops its drawing."""
        ticket.left.set()
        with self._changed:
            if ticket in self._line:
                self._line.remove(ticket)

    def close(self, seconds: float = 0.5) -> bool:
        """Stops what is drawn, and everything in line; says whether the thread has ended within so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # a setting of each thread
        while (ticket := self._next()) is not None:
            event = self._drawn(ticket)
            if event is not None:
                ticket.notify(event)
            with self._changed:
                self._busy = False

    def _next(self) -> Ticket | None:
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._closed)
            if self._closed:
                return None
            ticket, self._busy = self._line.popleft(), True
            others = list(self._line)
        for ahead, other in enumerate(others, start=1):
            other.notify(Waiting(ahead))
        return ticket

    def _drawn(self, ticket: Ticket) -> Event | None:
        started = told = time.monotonic()

        def tell(done: int, expected: int | None) -> None:
            nonlocal told
            if ticket.left.is_set() or self._closed:
                raise _Stopped
            now = time.monotonic()
            if now - started > self._seconds:
                of = f" of {expected:,}" if expected else ""
                raise UserError(
                    f"stopped after {self._seconds:g} seconds, at evaluation {done:,}{of}: ask for fewer samples or "
                    "evaluations, or start the studio with more --seconds"
                )
            if now - told >= _TOLD_EVERY:
                told = now
                ticket.notify(Drawing(done, expected))

        try:
            return Done(ticket.work(tell))
        except _Stopped:
            return None
        except UserError as error:
            return Failed(str(error))
        except Exception as error:
            return Failed(f"unexpected {type(error).__name__}: {error}", error)
