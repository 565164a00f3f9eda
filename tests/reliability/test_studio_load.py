"""The studio under many requests at once and hostile ones: everybody sees what they asked for, memory stays.

uv run pytest -m slow tests/reliability/test_studio_load.py
"""

import concurrent.futures
import contextlib
import http.client
import json
import signal
import socket
import time

import psutil
import pytest
from reliability.commands import Command

METHODS = (
    {"generator": "sid"},
    {"classifier": "ce", "scale": 2.0, "sampler": "ddim", "nfe": 5},
    {"sampler": "heun", "nfe": 5},
)


@contextlib.contextmanager
def studio(run):
    """A studio at work: its port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Command("studio", run, "--port", port, "--no-open")
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert command.process.is_alive(), command.wait()
            time.sleep(0.05)
        yield port, command.pid
    finally:
        command.send(signal.SIGINT)
        assert command.wait(30).code in (0, 130)


def ask(port, number):
    """The samples of a request like no other."""
    method = METHODS[number % len(METHODS)]
    label = None if method == METHODS[2] else number % 10
    body = json.dumps({"label": label, "per_class": 2, "seed": 10 * number, "method": method})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/draw", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        lines = answer.read().splitlines()
    assert answer.status == 200, lines
    return json.loads(lines[-1])["drawn"]["samples"]


def together(port, numbers):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        return list(pool.map(lambda number: ask(port, number), numbers))


@pytest.mark.slow
def test_twenty_at_once_see_what_each_sees_alone_and_memory_stays(digits_of_few_steps):
    with studio(digits_of_few_steps) as (port, pid):
        together(port, range(100, 700))  # fills what it remembers
        before = psutil.Process(pid).memory_info().rss
        answers = together(port, range(100))
        assert psutil.Process(pid).memory_info().rss < 1.05 * before
    with studio(digits_of_few_steps) as (port, _):
        assert answers == [ask(port, number) for number in range(100)]


def requests(secret):
    """Hostile requests, as they are sent."""

    def post(body, *headers):
        lines = ["POST /draw HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    good = b'{"label": 3, "method": {"generator": "sid"}}'
    for path in ("../" * 9 + secret, secret, "/%2e%2e/%2e%2e" + secret, "//etc/passwd", "/static/..%2f..%2f" + secret):
        yield f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for body in (
        b"{",
        b"[]",
        b"\xff",
        b"[" * 9000,
        b'{"per_class": 1000000000}',
        b'{"seed": 1e999}',
        b'{"label": 1e3}',
    ):
        yield post(body)
    for changed in (
        {"sampler": "os:system"},
        {"generator": "../score"},
        {"options": {"churn": "9" * 99}},
        {"nfe": 10**9},
    ):
        yield post(json.dumps({"method": changed}).encode())
    for header in ("Origin: http://attacker.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
        yield post(good, header)
    for host in ("attacker.example", "127.0.0.1.attacker.example", ""):
        yield f"GET /offer.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    for method in ("PUT", "DELETE", "TRACE", "GET"):
        yield f"{method} /draw HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    yield post(b'{"x": "' + b"a" * 2**20 + b'"}')
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Y: z\r\n" * 20_000


@pytest.mark.slow
def test_hostile_requests_are_answered_with_4xx_and_show_no_file(digits_of_few_steps, tmp_path):
    (tmp_path / "secret.txt").write_text("a secret of this machine")
    with studio(digits_of_few_steps) as (port, _):
        expected = ask(port, 0)
        for request in requests(str(tmp_path / "secret.txt")):
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                client.settimeout(30)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(request)
                answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 4"), (request[:100], answer[:100])
            assert b"a secret" not in answer
        idle = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(100)]
        assert ask(port, 0) == expected
        for connection in idle:
            connection.close()
