"""What a process does that reading a file must not: write elsewhere, start programs, unpickle, open what is private.

Python tells a hook of it before it happens. A hook cannot be taken away, so this belongs in a process of its own.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["INSIDE", "SECRET", "Guard"]

INSIDE, SECRET = ("in", "out"), ("outside", "secret.txt")
"""Of the folder of a case: where readers may write, and what they must not even read."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGING = {  # which of its arguments an event changes, and where the numbers of open folders stand
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
}
_RUNNING = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
        "pickle.find_class",
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.sendto",
    }
)


class Guard:
    """Notes what must not be, while it watches.

    Args:
        note: called with each, in place of keeping it.

    Attributes:
        seen: what was noted, each in a few words.
    """

    def __init__(self, note: Callable[[str], object] | None = None) -> None:
        self.seen: list[str] = []
        self._note = note or self._keep
        self._case: str | None = None
        self._private = True
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, case: Path, *, private: bool = True) -> Iterator[None]:
        """Notes what happens meanwhile, save in the parts of the case's folder that are there to be written to.

        Args:
            case: the folder.
            private: whether what lies outside of those parts must not be read either.
        """
        self.seen, self._case, self._private = [], os.path.realpath(case), private
        try:
            yield
        finally:
            self._case = None

    def _keep(self, what: str) -> None:
        self.seen.append(what)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        case = self._case
        if case is None:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int):
                place = _place(path, None)
                if self._private and place == os.path.join(case, *SECRET):
                    self._note(f"opened {place}")
                elif flags & _WRITING and not _is_inside(place, case):
                    self._note(f"wrote {place}")
        elif event in _CHANGING:
            for which, folder in _CHANGING[event]:
                place = _place(arguments[which], arguments[folder] if folder is not None else None)
                if not _is_inside(place, case):
                    self._note(f"{event} {place}")
        elif event in _RUNNING:
            self._note(f"{event} {str(arguments)[:200]}")


def _is_inside(place: str, case: str) -> bool:
    return place == os.devnull or any((place + os.sep).startswith(os.path.join(case, part, "")) for part in INSIDE)


def _place(path: object, folder: object) -> str:
    """The real path of what an event names, relative to an open folder where it is."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    name = os.fsdecode(path)  # type: ignore[arg-type]
    if isinstance(folder, int) and folder >= 0:
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    return os.path.join(os.path.realpath(os.path.dirname(name) or "."), os.path.basename(name))
