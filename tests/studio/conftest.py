import pytest
import torch

from condgen.settings import parse


@pytest.fixture(scope="session")
def offer(digits_of_few_steps):
    from condgen.studio.offer import read_offer

    return read_offer(digits_of_few_steps)


@pytest.fixture
def drawn(offer):
    """A function that draws what is asked for, by the name of a method or its settings."""
    from condgen.runs.models import load_anew
    from condgen.studio.draw import Ask, draw_ask

    def call(method="ce", label=None, n=2, seed=7, tell=lambda *_: None):
        method = offer.methods[method] if isinstance(method, str) else method
        ask = parse(Ask, {"label": label, "per_class": n, "seed": seed, "method": method}, "request")
        return draw_ask(ask, offer, load_anew, torch.device("cpu"), tell)

    return call


@pytest.fixture
def make_client(offer):
    """A function that starts a studio, of this offer or another, and gives a client of it."""
    reason = "the studio is missing: pip install 'condgen[studio]'; its test client needs httpx2"
    testclient = pytest.importorskip("starlette.testclient", reason=reason, exc_type=(ImportError, RuntimeError))
    from condgen.studio.app import Studio, build_app

    started = []

    def call(offered=offer):
        studio = Studio(offered, torch.device("cpu"))
        started.append(studio)
        client = testclient.TestClient(build_app(studio), base_url="http://127.0.0.1:7860")
        client.studio = studio
        return client

    yield call
    for studio in started:
        studio.close()


@pytest.fixture
def client(make_client):
    return make_client()
