"""Hostile requests to the studio, each of which must be answered with 4xx in a bounded time, beside drawings.

They are written to the socket as they are, since no client of good manners would send them.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["SECRET", "Attack", "Outcome", "attack", "attacks"]

SECRET = "what lies outside of the run is nobody's business"
_PATIENCE = 30.0  # seconds, after which there is no answer
_IDLE = 200


class Attack(NamedTuple):
    """One of them.

    Attributes:
        name: for people.
        first: what is sent at once.
        more: sent again and again until there is an answer; nothing where it is empty.
        pause: seconds between these.
        idle: silent connections that are open meanwhile.
    """

    name: str
    first: bytes
    more: bytes = b""
    pause: float = 0.0
    idle: int = 0


class Outcome(NamedTuple):
    """What came of one.

    Attributes:
        status: of the answer; 0 where there is none.
        seconds: until it came.
        body: of the answer.
        drawn: whether a drawing that was asked for meanwhile came as ever.
    """

    name: str
    status: int
    seconds: float
    body: str
    drawn: bool


def attack(port: int, one: Attack, draw: Callable[[], bool]) -> Outcome:
    """Sends it, draws beside it, and reads the answer."""
    address = ("127.0.0.1", port)
    with contextlib.ExitStack() as stack:
        for _ in range(one.idle):
            stack.enter_context(socket.create_connection(address, _PATIENCE))
        client = stack.enter_context(socket.create_connection(address, _PATIENCE))
        started = time.perf_counter()
        client.sendall(one.first)
        drawn = draw() if one.more or one.idle else True
        answer = _read(client, one, started)
        seconds = time.perf_counter() - started
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0
    return Outcome(one.name, status, seconds, body.decode(errors="replace"), drawn)


def _read(client: socket.socket, one: Attack, started: float) -> bytes:
    """The answer, while more is sent where there is more."""
    answer = b""
    client.settimeout(max(one.pause, 0.001) if one.more else _PATIENCE)
    while time.perf_counter() - started < _PATIENCE:
        try:
            part = client.recv(65536)
            answer += part
            if not part:
                break
            head, whole, body = answer.partition(b"\r\n\r\n")
            if whole and _is_all(head, body):
                break
        except TimeoutError:
            if not answer:
                with contextlib.suppress(OSError):
                    client.sendall(one.more)
        except OSError:
            break
    return answer


def _is_all(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


def _request(line: str, *headers: str, body: bytes = b"", host: str | None = "127.0.0.1") -> bytes:
    lines = [f"{line} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _post(body: bytes, *headers: str) -> bytes:
    return _request("POST /draw", "Content-Type: application/json", *headers, body=body)


def attacks(run: Path) -> Iterator[Attack]:
    """All of them; paths lead out of a run's folder to a secret beside it."""
    yield from _paths(run)
    yield from _contents()
    json_type = "Content-Type: application/json"
    yield Attack("a body that says to be 10 GB", _request("POST /draw", json_type, "Content-Length: 10000000000"))
    yield Attack("a body of 1 MB", _post(b'{"x": "' + b"a" * 2**20 + b'"}'))
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    yield Attack(
        "a body in chunks without an end", _request("POST /draw", json_type, "Transfer-Encoding: chunked"), chunk
    )
    yield Attack("an endless body where none is read", _request("POST /main.js", "Transfer-Encoding: chunked"), chunk)
    yield Attack("a body, a byte a second", _request("POST /draw", json_type, "Content-Length: 100"), b" ", 1.0)
    yield Attack("a head, a byte a second", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"x", 1.0)
    yield Attack("headers without an end", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-Y: z\r\n" * 500)
    yield Attack("one header of 1 MB", _request("GET /", f"X: {'x' * 2**20}"))
    yield Attack("5,000 headers", _request("GET /", *(f"X-{number}: 1" for number in range(5000))))
    yield Attack(f"{_IDLE} silent connections, and a bad request", _post(b"{"), idle=_IDLE)


def _paths(run: Path) -> Iterator[Attack]:
    secret = run.parent.resolve() / "secret.txt"
    up = "../" * 12
    targets = (f"{up}{str(secret)[1:]}", "../secret.txt", str(secret), "/etc/passwd", f"{up}etc/passwd")
    for target in targets:
        spelt = {
            "as it is": target,
            "encoded": quote(target, safe="").replace(".", "%2e"),
            "encoded twice": quote(quote(target, safe="").replace(".", "%2e"), safe=""),
            "with backslashes": target.replace("/", "\\"),
            "with backslashes, encoded": quote(target.replace("/", "\\"), safe=""),
            "with a NUL": f"{target}%00.js",
        }
        for how, path in spelt.items():
            for before in ("/", "/studio.css/", "/samples/", "//"):
                yield Attack(f"path {before}{target} {how}", _request(f"GET {before}{path}"))
        for name in ("score", "classifier", "guide", "generator", "sampler", "grid", "precision"):
            for value in (target, f"{target}\0", target.replace("/", "\\"), quote(target, safe="")):
                ask = json.dumps({"method": {name: value}})
                yield Attack(f"{name}: {value!r}", _post(ask.encode()))
                yield Attack(f"download, {name}: {value!r}", _request(f"GET /samples.zip?ask={quote(ask)}"))
        whole = ({"label": target}, {"seed": target}, {"method": target}, {"method": {"options": {target: 1}}})
        for settings in whole:
            yield Attack(f"ask {settings}", _post(json.dumps(settings).encode()))


def _contents() -> Iterator[Attack]:
    for name, body in {
        "no JSON": b"{",
        "nothing": b" ",
        "a list": b"[]",
        "deep lists": b"[" * 16_000,
        "deep objects": b'{"a":' * 3_000,
        "deep, and closed": b'{"label": ' + b"[" * 7_000 + b"]" * 7_000 + b"}",
        "bytes that are no text": b'{"label": "\xff\xfe"}',
        "half a surrogate": b'{"method": {"classifier": "\\ud800"}}',
        "NaN": b'{"method": {"classifier": "ce", "scale": NaN}}',
        "1e999": b'{"method": {"classifier": "ce", "scale": 1e999}}',
        "minus infinity": b'{"method": {"classifier": "ce", "scale": -Infinity}}',
        "an interval of 1e999": b'{"method": {"classifier": "ce", "interval": [0, 1e999]}}',
        "a seed of 1e999": b'{"seed": 1e999}',
        "a seed of 5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
        "a class of -1": b'{"label": -1}',
        "10^9 samples": b'{"per_class": 1000000000}',
        "10^9 evaluations": b'{"method": {"nfe": 1000000000}}',
        "an option of 1e11": b'{"method": {"sampler": "restart", "options": {"points": 1e11}}}',
        "an option of NaN": b'{"method": {"sampler": "restart", "options": {"points": NaN}}}',
        "a tolerance of 1e-300": b'{"method": {"sampler": "adaptive-ode", "options": {"relative": 0}}}',
        "a setting that is none": b'{"__class__": "x"}',
    }.items():
        yield Attack(name, _post(body))
    good = b'{"label": 3, "method": {"generator": "sid"}}'
    for header in ("Origin: http://attacker.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
        yield Attack(header, _post(good, header))
    for host in ("attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example", "", None):
        yield Attack(f"host {host!r}", _request("GET /offer.json", host=host))
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GET"):
        yield Attack(f"{method} /draw", _request(f"{method} /draw"))
    yield Attack("POST /", _request("POST /", body=b"{}"))
    yield Attack("as a form", _request("POST /draw", "Content-Type: application/x-www-form-urlencoded", body=good))
    yield Attack("two lengths", _post(good, "Content-Length: 3"))
    yield Attack("a negative length", _request("POST /draw", "Content-Type: application/json", "Content-Length: -1"))
    yield Attack("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    yield Attack("a line break in a header", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n")
