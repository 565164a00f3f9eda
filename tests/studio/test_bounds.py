"""Who is let in where others reach the studio, how much a request may ask for, and how long a connection may last."""

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

pytest.importorskip("starlette", reason="the studio is missing: pip install 'condgen[studio]'")
pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")

import uvicorn
from starlette.testclient import TestClient

from condgen.errors import UserError
from condgen.studio import connection
from condgen.studio.app import Studio, build_app
from condgen.studio.ask import Ask, Limits, stage_of
from condgen.studio.guard import new_token

ONE_STEP = {"label": 3, "per_class": 2, "method": {"generator": "sid"}}


# ----------------------------------------------------------------------------------------------------
# The token


@pytest.fixture
def guarded(offer):
    studio = Studio(offer, Limits(), torch.device("cpu"))
    yield TestClient(build_app(studio, token="the-token"), base_url="http://127.0.0.1:7860", follow_redirects=False)
    studio.worker.close()


@pytest.mark.parametrize("path", ["/", "/offer.json", "/main.js", "/samples.zip?ask={}", "/?token=", "/?token=other"])
def test_without_the_token_nothing_is_answered(guarded, path):
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert "open the whole address that the command printed" in answer.json()["error"]
    assert "set-cookie" not in answer.headers
    assert guarded.post("/draw", json=ONE_STEP).status_code == 401


def test_the_printed_address_lets_a_page_in_and_takes_the_token_out_of_the_address(guarded):
    first = guarded.get("/?class=3&token=the-token&n=4")
    assert (first.status_code, first.headers["location"]) == (303, "/?class=3&n=4")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert guarded.get("/").status_code == 200
    answer = guarded.post("/draw", json=ONE_STEP)
    assert '"drawn"' in answer.text
    assert guarded.post("/draw", json=ONE_STEP, headers={"origin": "http://attacker.example"}).status_code == 403


def test_a_program_sends_the_token_as_a_header(guarded):
    for value, status in (("Bearer the-token", 200), ("bearer the-token", 200), ("Bearer the-toke", 401), ("x", 401)):
        assert guarded.get("/offer.json", headers={"authorization": value}).status_code == status
    assert guarded.get("/offer.json?token=the-token").status_code == 401  # addresses are kept by many


def test_tokens_differ_and_are_compared_in_constant_time(guarded, monkeypatch):
    assert len({new_token() for _ in range(100)}) == 100
    assert min(len(new_token()) for _ in range(100)) >= 40
    seen = []
    monkeypatch.setattr("condgen.studio.guard.hmac.compare_digest", lambda one, other: seen.append(one) or False)
    guarded.get("/", headers={"authorization": "Bearer ünï".encode()})
    assert seen


def test_the_command_prints_an_address_with_a_token_that_works(digits_of_few_steps):
    command = [sys.executable, "-m", "condgen", "studio", str(digits_of_few_steps), "--no-open"]
    command += ["--allow-remote", "--host", "127.0.0.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes, env=os.environ | {"COLUMNS": "200"}) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{40,})", line):
                    break
            port = int(found[1])
            assert exchange(port, request("GET /offer.json")).startswith(b"HTTP/1.1 401")
            assert exchange(port, request(f"GET /?token={found[2]}")).startswith(b"HTTP/1.1 303")
            authorised = request("GET /offer.json", f"Authorization: Bearer {found[2]}")
            assert exchange(port, authorised).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


# ----------------------------------------------------------------------------------------------------
# How much


def test_large_pictures_are_fewer(offer):
    large = dataclasses.replace(offer, shape=(3, 512, 512))
    ask = Ask.model_validate({"label": 3, "per_class": 22, "method": {"classifier": "ce"}})
    with pytest.raises(UserError, match="22 samples are too many at once: at most 21"):
        stage_of(ask, large, Limits())
    assert len(stage_of(ask.model_copy(update={"per_class": 21}), large, Limits())[0].labels) == 21
    assert Limits().most((1, 8, 8)) == 250


@pytest.mark.parametrize("method", [{}, {"generator": "sid"}, {"classifier": "ce"}])
def test_a_billion_samples_are_refused_before_a_list_of_them_is_made(client, method):
    started = time.monotonic()
    answer = client.post("/draw", json={"per_class": 10**9, "method": method})
    assert answer.status_code == 422
    assert "too many at once" in answer.json()["error"]
    assert time.monotonic() - started < 2


def test_headers_are_counted(client):
    assert client.get("/", headers={f"x-{number}": "1" for number in range(80)}).status_code == 200
    assert client.get("/", headers={f"x-{number}": "1" for number in range(200)}).status_code == 431


def test_a_drawing_is_stopped_within_one_long_evaluation(offer, cache, monkeypatch):
    from condgen.networks.mlp import MLPDenoiser
    from condgen.studio.draw import draw_ask

    layers = next(part for part in cache_model(cache, offer).modules() if isinstance(part, MLPDenoiser))
    slow = [part for part in layers.modules() if isinstance(part, torch.nn.Linear)]
    handles = [part.register_forward_hook(lambda *_: time.sleep(0.15)) for part in slow]
    calls = []

    def tell(done, expected):
        calls.append(done)
        if len(calls) > 2:
            raise InterruptedError

    ask = Ask.model_validate({"label": None, "per_class": 1, "method": {"sampler": "heun", "nfe": 9}})
    try:
        with pytest.raises(InterruptedError):
            draw_ask(ask, offer, Limits(), cache, torch.device("cpu"), tell)
        assert calls == [0, 0, 0]  # all within the first evaluation
    finally:
        for handle in handles:
            handle.remove()
    draw_ask(ask, offer, Limits(), cache, torch.device("cpu"))


def cache_model(cache, offer):
    from condgen.score import ScoreModel

    return cache(ScoreModel, offer.score, torch.device("cpu"))


# ----------------------------------------------------------------------------------------------------
# How long


def request(line, *headers):
    return "\r\n".join([f"{line} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def exchange(port, sent, *, more=b"", pause=0.05, patience=10.0):
    """What is answered, while more is sent; empty where the connection is closed without an answer."""
    answer, until = b"", time.monotonic() + patience
    with socket.create_connection(("127.0.0.1", port), patience) as client:
        client.sendall(sent)
        client.settimeout(pause if more else patience)
        while time.monotonic() < until:
            try:
                part = client.recv(65536)
                answer += part
                if not part or b"\r\n\r\n" in answer:
                    return answer
            except TimeoutError:
                client.sendall(more)
            except OSError:
                return answer
    raise AssertionError("no answer in time")


@pytest.fixture
def served(offer, monkeypatch):
    """A studio on a port, whose patience is short."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.6)
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.3)
    monkeypatch.setattr("condgen.studio.app._BODY_SECONDS", 0.6)
    studio = Studio(offer, Limits(), torch.device("cpu"))
    app = build_app(studio)
    config = uvicorn.Config(
        app, log_level="critical", http=connection.Connection, ws="none", lifespan="off", timeout_keep_alive=5
    )
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    thread = threading.Thread(target=functools.partial(server.run, sockets=[listener]), daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(5)
    listener.close()
    studio.worker.close()


POST = ("POST /draw", "Content-Type: application/json")


@pytest.mark.parametrize(
    ("sent", "more", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"x", b"408"),
        (request(*POST, "Content-Length: 100"), b" ", b"408"),
        (request(*POST, "Content-Length: 10000000000"), b"", b"413"),
        (request(*POST, "Transfer-Encoding: chunked"), b"1000\r\n" + b" " * 0x1000 + b"\r\n", b"413"),
        (request("POST /main.js", "Transfer-Encoding: chunked"), b"1000\r\n" + b" " * 0x1000 + b"\r\n", b"405"),
    ],
    ids=["slow head", "slow body", "huge body", "endless body", "endless body that nobody reads"],
)
def test_who_is_slow_or_never_ends_is_answered_and_let_go(served, sent, more, status):
    started = time.monotonic()
    assert exchange(served, sent, more=more).split()[1] == status
    assert time.monotonic() - started < 3
    with socket.create_connection(("127.0.0.1", served)) as client:  # and the connection does end
        client.sendall(sent)
        client.settimeout(3)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass


def test_a_silent_connection_ends_and_one_that_is_used_does_not(served):
    used = http.client.HTTPConnection("127.0.0.1", served, timeout=3)
    with socket.create_connection(("127.0.0.1", served)) as silent, contextlib.closing(used):
        used.connect()
        first = used.sock
        for _ in range(6):
            used.request("GET", "/favicon.svg")
            assert used.getresponse().read()
            time.sleep(0.2)
        assert used.sock is first  # it was never closed and opened again
        silent.settimeout(3)
        assert silent.recv(1) == b""


def test_beyond_the_most_connections_the_longest_silent_one_makes_place(served, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 30.0)
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 5)
    silent = [socket.create_connection(("127.0.0.1", served)) for _ in range(12)]
    try:
        body = json.dumps(ONE_STEP)
        sent = request(*POST, f"Content-Length: {len(body)}") + body.encode()
        assert exchange(served, sent).startswith(b"HTTP/1.1 200")
        silent[0].settimeout(3)
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
    finally:
        for one in silent:
            one.close()
