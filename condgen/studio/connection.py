"""A connection to somebody who may be slow, silent, or never end: each has its time, and there are so many at most.

uvicorn waits for ever for the first line of a request, for what is left of a body that nobody reads, and for a reader
who does not read. Here the head of a request has `HEAD_SECONDS` to arrive, and a reader `READ_SECONDS` to take what is
ready; a body that is still on its way when the answer is out is not waited for. (A body that is read has its time in
`condgen.studio.app`.) Where there are too many connections, the one that has been silent for longest makes place.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_SECONDS", "MOST_CONNECTIONS", "Connection"]

HEAD_SECONDS = 10.0
READ_SECONDS = 30.0
LINGER_SECONDS = 2.0  # to read an answer, by one who still sends
MOST_CONNECTIONS = 400


class Connection(H11Protocol):
    """HTTP/1.1 with one client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self._patience: asyncio.TimerHandle | None = None  # with the head of a request
        self._slow: asyncio.TimerHandle | None = None  # with a reader
        self._began = self._ended = False  # the head of a request has; the last answer is out
        self._since = self.loop.time()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request rather than for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins; in place of another where there are too many."""
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > MOST_CONNECTIONS:
            idle = [one for one in self.connections if isinstance(one, Connection) and one.is_idle and one is not self]
            oldest = min(idle, key=lambda one: one._since, default=self)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        self._stop(self._patience)
        self._stop(self._slow)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes in what comes, unless the last answer is out."""
        if self._ended:
            return
        self._began = True
        super().data_received(data)
        if not self.is_idle:
            self._stop(self._patience)

    def on_response_complete(self) -> None:
        """Waits for the next request, but not for the rest of this one."""
        self._began = False
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(READ_SECONDS, self.transport.abort)
        elif self.is_idle:
            self._wait_for_head()
            if self.conn.their_state not in (h11.IDLE, h11.DONE):
                self._end()

    def pause_writing(self) -> None:
        """The reader is slow: it has a while."""
        super().pause_writing()
        self._stop(self._slow)
        self._slow = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has read."""
        super().resume_writing()
        self._stop(self._slow)

    def _wait_for_head(self) -> None:
        self._since = self.loop.time()
        self._stop(self._patience)
        self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Ends a connection on which no whole head of a request has come."""
        if self.transport.is_closing() or not self.is_idle:
            return
        if self._began and self.conn.our_state is h11.IDLE:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            for event in (
                h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
                h11.Data(data=b"the request took too long to arrive"),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self._end()

    def _end(self) -> None:
        """Closes this side, so that the answer can be read, and soon the other."""
        self._ended = True
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
