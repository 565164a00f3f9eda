"""Routes: what they answer to good requests, to bad ones, to strangers, and to many at once."""

import asyncio
import concurrent.futures
import json
import threading
import time
from asyncio import CancelledError
from unittest.mock import Mock

import pytest

pytest.importorskip("starlette", reason="the studio is missing: pip install 'condgen[studio]'")

from condgen import EDM, UserError
from condgen.checkpoint import trusted_imports
from condgen.score import ScoreConfig
from condgen.studio.offer import read_offer

ONE_STEP = {"generator": "sid"}


def lines_of(response):
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def draw(client, **ask):
    """What is drawn at the end of a request's lines."""
    return lines_of(client.post("/draw", json=ask))[-1]


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    scripts = ("main", "settings", "result", "pictures", "points", "elements", "values")
    files = ("studio.css", "favicon.svg", *(f"{name}.js" for name in scripts))
    for place in ("/palette.css", *(f"/static/{file}" for file in files)):
        answer = client.get(place)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_the_offer_names_everything(client, offer):
    about = client.get("/offer.json").json()
    assert about["classes"] == list("0123456789")
    assert [method["name"] for method in about["methods"]] == list(offer.methods)
    assert {score["name"] for score in about["scores"]} == {None, "told", "snapshot-3"}
    assert about["generators"] == ["sid"]
    assert about["calibrated"] == ["ce"]
    samplers = {sampler["name"]: sampler for sampler in about["samplers"]}
    assert {"unipc", "heun", "adaptive-sde"} <= samplers.keys()
    assert (samplers["heun"]["least"], samplers["heun"]["evaluations"]) == (3, 39)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b'{"label": -1}', "label"),
        (b'{"per_class": 0}', "per_class"),
        (b'{"seed": -1}', "seed"),
        (b'{"seed": 4294967295, "per_class": 2}', "seeds end"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "JSON"),
        (b'{"method": {"sampler": "nobody"}}', "there is no sampler"),
        (b'{"method": {"generator": "../score"}}', "there is no generator"),
        (b'{"method": {"classifier": "ce", "scale": NaN}}', "scale"),
        (b'{"method": {"sampler": "annealed-langevin", "options": {"repeats": 100000000000}}}', "repeats"),
        (
            b'{"method": {"sampler": "annealed-langevin", "nfe": 100, "options": {"repeats": 1e9}}}',
            "repeats is at most",
        ),
        (b'{"method": {"sampler": "adaptive-ode", "options": {"max_evaluations": 1e9}}}', "max_evaluations is"),
        (b'{"method": {"sampler": "annealed-langevin", "options": {"repeats": Infinity}}}', "repeats"),
        (b'{"method": {"sampler": "ddim", "options": {"eta": 7}}}', "eta"),
    ],
)
def test_bad_requests_are_answered_in_a_line(client, body, words):
    answer = client.post("/draw", content=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/main.js%00.py", "/page.html.j2"]
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"host": "127.0.0.1:7860"}, True),
        ({"host": "localhost:7860"}, True),
        ({"host": "127.0.0.1.attacker.example:7860"}, False),
        ({"host": "attacker.example"}, False),
        ({"host": ""}, False),
        ({"origin": "http://127.0.0.1:7860"}, True),
        ({"origin": "http://attacker.example"}, False),
        ({"origin": "http://127.0.0.1:8000"}, False),  # another program of this machine
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_strangers_are_refused(client, headers, allowed):
    answer = client.post("/draw", json={"label": 3, "method": ONE_STEP}, headers=headers)
    assert answer.status_code == 200 if allowed else answer.status_code in (400, 403)
    assert "content-security-policy" in answer.headers


def test_a_link_from_elsewhere_opens_the_page_and_no_more(client):
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    assert [client.get(path, headers=elsewhere).status_code for path in ("/?class=3", "/offer.json")] == [200, 403]


class Blocked:
    """Replaces drawing by a wait for `released`, which can be stopped."""

    def __init__(self, monkeypatch, drawn):
        self.released, self.begun = threading.Event(), threading.Semaphore(0)

        def draw_ask(ask, offer, load, device, tell):
            self.begun.release()
            while not self.released.wait(0.02):
                tell(0, None)
            return drawn

        monkeypatch.setattr("condgen.studio.app.draw_ask", draw_ask)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_request_is_told_its_place_in_the_queue(make_client, monkeypatch, drawn):
    client = make_client()
    blocked = Blocked(monkeypatch, drawn("one-step", 3, n=1))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = pool.submit(client.post, "/draw", json={"seed": 0, "method": ONE_STEP})
        assert blocked.begun.acquire(timeout=120)
        others = [pool.submit(client.post, "/draw", json={"seed": seed, "method": ONE_STEP}) for seed in (1, 2)]
        wait_until(lambda: len(client.studio.queue) == 3)
        assert client.get("/offer.json").status_code == 200  # the loop goes on meanwhile
        blocked.released.set()
        lines = [lines_of(response.result(10)) for response in (running, *others)]
    assert all("drawn" in told[-1] for told in lines)
    assert sorted(told[0]["waiting"] for told in lines[1:]) == [1, 2]


def test_a_client_that_leaves_stops_its_drawing(make_client, monkeypatch, drawn):
    client = make_client()
    blocked = Blocked(monkeypatch, drawn("one-step", 3, n=1))

    async def leave_at_once():
        messages = [{"type": "http.request", "body": json.dumps({"method": ONE_STEP}).encode()}]
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/draw", "query_string": b"", "headers": headers}
        gone = asyncio.Event()

        async def receive():
            if messages:
                return messages.pop(0)
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        task = asyncio.create_task(client.app(scope, receive, send))
        await asyncio.to_thread(blocked.begun.acquire)
        gone.set()
        await asyncio.wait_for(task, 10)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the browser tests hold a running loop in this thread
        pool.submit(asyncio.run, leave_at_once()).result()
    assert not client.studio.queue
    client.studio.close()  # returns, since the drawing was stopped
    assert not blocked.released.is_set()


def test_code_that_a_model_names_runs_where_it_is_trusted(make_client, tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n"
        "    def __init__(self, shape, n_classes):\n        super().__init__()\n\n"
        "    def forward(self, x, noise, y=None):\n        return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    about = {"network": {"kind": "import", "target": "own_net:Net"}, "schedule": EDM(), "sigma_data": 0.5}
    ScoreConfig.model_validate(about | {"shape": (2,), "names": ("a", "b")}).build().save(tmp_path)
    with pytest.raises(UserError, match="--trust"):
        make_client(read_offer(tmp_path))
    with trusted_imports():
        client = make_client(read_offer(tmp_path))
    client.studio.load.cache_clear()
    assert len(draw(client, per_class=3, method={"nfe": 2})["drawn"]["samples"]) == 3


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, StopAsyncIteration, CancelledError, SystemExit])
def test_an_unexpected_error_is_one_line_and_the_next_request_is_drawn(make_client, monkeypatch, error):
    client = make_client()
    with monkeypatch.context() as patch:
        patch.setattr("condgen.studio.app.draw_ask", Mock(side_effect=error))
        assert error.__name__ in draw(client, method=ONE_STEP)["error"]
    assert "drawn" in draw(client, method=ONE_STEP)


def test_many_requests_at_once_are_all_answered(client, drawn):
    asks = [{"label": n % 10, "per_class": 2, "seed": n, "method": ONE_STEP} for n in range(20)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda ask: draw(client, **ask)["drawn"]["samples"], asks))
    assert found == [drawn("one-step", ask["label"], n=2, seed=ask["seed"])["samples"] for ask in asks]
    assert client.studio.queue == []
