"""The studio under many requests at once, and under hostile ones.

Every answer is compared with what the same request gives alone, in a studio of its own: everybody sees the drawing that
they asked for. Memory is the resident set of the process after a warm-up of five times as many requests, which fills
the memory of what was drawn last, and at the end. Files that it opens once it serves are told by an audit hook; those
outside of the run and of Python are counted.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import http.client
import json
import os
import signal
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from benchmarks.parts import Rows, Work

import condgen
from condgen.errors import UserError
from reliability.command import Command
from reliability.hostile import SECRET, attack, attacks
from reliability.small import small_run

__all__ = ["studio_rows"]

_PATIENCE = 60.0  # seconds for an answer
_WARM_UP = 5  # times as many requests as are counted
_METHODS: Sequence[dict[str, Any]] = (
    {"generator": "sid"},
    {"classifier": "ce", "scale": 2.0, "sampler": "ddim", "nfe": 5},
    {"sampler": "heun", "nfe": 5},
)


class _Answer(NamedTuple):
    """What came of a request."""

    digest: str  # of the samples; empty where there are none
    status: int  # 0 where nothing came
    seconds: float


def studio_rows(
    folder: Path,
    requests: int,
    at_once: int,
    seed: int,
    *,
    hostile: bool = True,
    plant: Callable[[], object] | None = None,
) -> Work:
    """Starts a studio, and asks it.

    Args:
        folder: for the run, and what is noted.
        requests: for drawings, all different.
        at_once: so many of them.
        seed: of the small run, and of the first drawing.
        hostile: whether hostile requests follow.
        plant: called in the studio's process before it starts: changes it, to see whether that is noticed.

    Raises:
        UserError: the studio did not start.
    """
    yield "training small models"
    run = small_run(folder, seed=seed)
    (folder / "secret.txt").write_text(SECRET)
    asks = [_ask(number, seed) for number in range(requests)]
    with _studio(run) as (alone, _):
        yield f"{requests:,} requests, one after another"
        expected = [_draw(alone, ask).digest for ask in asks]
    opened = folder / "opened.txt"
    with _studio(run, functools.partial(_prepared, str(opened), plant)) as (port, pid):
        before = len(opened.read_text().splitlines())
        warm_up = _WARM_UP * requests  # until as much is kept of what was drawn as may be
        yield f"warming up, {warm_up:,} requests"
        _together(port, [_ask(number + requests, seed) for number in range(warm_up)], at_once)
        _settle()
        memory = [psutil.Process(pid).memory_info().rss]
        yield f"{requests:,} requests, {at_once} at once"
        started = time.perf_counter()
        answers = _together(port, asks, at_once)
        seconds = time.perf_counter() - started
        _settle()
        memory.append(psutil.Process(pid).memory_info().rss)
        rows = _rows_of_requests(answers, expected, at_once, seconds, memory)
        if not hostile:
            return rows
        found = []
        for number, one in enumerate(attacks(run)):
            yield f"hostile request {number + 1}: {one.name}"
            found.append(attack(port, one, lambda: _draw(port, asks[0]).digest == expected[0]))
        after = _draw(port, asks[0]).digest == expected[0]
        outside = [path for path in opened.read_text().splitlines()[before:] if not _is_own(path, run)]
    said = Counter("4xx" if 400 <= one.status < 500 else "other" for one in found)
    bad = sorted({one.name for one in found if not 400 <= one.status < 500})
    leaks = sum(SECRET in one.body for one in found)
    told: Sequence[tuple[str, str | None, float, str]] = (
        ("hostile requests", None, len(found), "requests"),
        ("hostile requests answered with 4xx", None, said["4xx"], "requests"),
        ("hostile requests answered otherwise", ", ".join(bad) or None, said["other"], "requests"),
        ("hostile requests, the longest", None, max(one.seconds for one in found), "s"),
        ("hostile requests beside which a drawing failed", None, sum(not one.drawn for one in found), "requests"),
        ("drawn as before after all of them", None, int(after), "of 1"),
        ("files opened outside of the run", ", ".join(sorted(set(outside))[:3]) or None, len(outside), "files"),
        ("answers that hold a file's content", None, leaks, "answers"),
    )
    return [*rows, *({"what": what, "variant": of, "value": value, "unit": unit} for what, of, value, unit in told)]


def _rows_of_requests(
    answers: Sequence[_Answer], expected: Sequence[str], at_once: int, seconds: float, memory: Sequence[int]
) -> Rows:
    lost = sum(one.status == 0 for one in answers)
    failed = sum(one.status != 0 and not one.digest for one in answers)
    wrong = sum(bool(one.digest) and one.digest != right for one, right in zip(answers, expected, strict=True))
    took = sorted(one.seconds for one in answers)
    variant = f"{len(answers):,} requests, {at_once} at once"
    figures: Sequence[tuple[str, float, str]] = (
        ("requests", len(answers), "requests"),
        ("different drawings among them", len(set(expected)), "drawings"),
        ("lost", lost, "requests"),
        ("failed", failed, "requests"),
        ("wrong", wrong, "requests"),
        ("rate", len(answers) / seconds, "requests/s"),
        ("latency, median", statistics.median(took), "s"),
        ("latency, 99%", took[min(len(took) - 1, int(0.99 * len(took)))], "s"),
        ("memory after the warm-up", memory[0] / 2**20, "MB"),
        ("memory at the end", memory[1] / 2**20, "MB"),
        ("memory, growth", 100 * (memory[1] / memory[0] - 1), "%"),
    )
    return [{"what": what, "variant": variant, "value": value, "unit": unit} for what, value, unit in figures]


def _ask(number: int, seed: int) -> dict[str, Any]:
    """A request like no other: every one has a seed of its own."""
    method = _METHODS[number % len(_METHODS)]
    return {"label": number % 10 if "sampler" not in method or "classifier" in method else None, "per_class": 2} | {
        "seed": seed + 10 * number,
        "method": method,
    }


def _together(port: int, asks: Sequence[dict[str, Any]], at_once: int) -> list[_Answer]:
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda ask: _draw(port, ask), asks))


def _draw(port: int, ask: dict[str, Any]) -> _Answer:
    """Asks for a drawing as the page does, and reads the answer to its end."""
    started, status = time.perf_counter(), 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("POST", "/draw", json.dumps(ask), {"Content-Type": "application/json"})
        response = connection.getresponse()
        lines = response.read().splitlines()
        status = response.status
        drawn = json.loads(lines[-1]).get("drawn") if status == 200 and lines else None
        digest = hashlib.sha256(json.dumps(drawn["samples"]).encode()).hexdigest() if drawn else ""
    except (OSError, http.client.HTTPException, ValueError):
        status, digest = 0, ""
    finally:
        connection.close()
    return _Answer(digest, status, time.perf_counter() - started)


@contextlib.contextmanager
def _studio(run: Path, prepare: Callable[[], object] | None = None) -> Iterator[tuple[int, int]]:
    """A studio at work: its port, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    command = Command("studio", run, "--port", port, "--no-open", prepare=prepare)
    try:
        deadline = time.monotonic() + _PATIENCE
        while command.is_at_work and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        if not command.is_at_work:
            raise UserError(f"the studio did not start: {command.wait().err.strip()}")
        _draw(port, _ask(0, 0))  # it imports what it needs at the first drawing
        yield port, command.pid
    finally:
        command.send(signal.SIGINT)
        command.wait(time.perf_counter() - started + 20)


def _settle() -> None:
    """Lets what is under way come to its end."""
    time.sleep(0.3)


def _prepared(opened: str, plant: Callable[[], object] | None) -> None:
    """In the studio's process: notes every file that is opened, and every folder that is listed."""
    out = os.open(opened, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
            os.write(out, os.path.abspath(os.fsencode(arguments[0])) + b"\n")

    sys.addaudithook(note)
    if plant is not None:
        plant()


def _is_own(path: str, run: Path) -> bool:
    """Whether a file is of the run, of condgen, of Python, or of the system's own devices."""
    own = (run.resolve(), Path(condgen.__file__).resolve().parent, Path(sys.prefix), Path(sys.base_prefix))
    return any(Path(path).is_relative_to(place) for place in (*own, Path("/proc"), Path("/dev"), Path("/sys")))
