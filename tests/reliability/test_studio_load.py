"""The studio under many requests at once: everybody sees what they asked for, memory stays.

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
