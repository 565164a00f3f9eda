import pytest
import torch

from condgen.recipes import Method


@pytest.fixture(scope="session")
def offer(digits_of_few_steps):
    from condgen.studio.models import read_offer

    return read_offer(digits_of_few_steps)


@pytest.fixture(scope="session")
def cache():
    from condgen.studio.models import ModelCache

    return ModelCache()


@pytest.fixture
def drawn(offer, cache):
    """A function that draws what is asked for, by the name of a method or its settings."""
    from condgen.studio.ask import Ask, Limits
    from condgen.studio.draw import draw_ask

    def call(method="ce", label=None, n=2, seed=7, limits=None, tell=lambda *_: None):
        method = offer.methods[method] if isinstance(method, str) else Method.model_validate(method)
        ask = Ask.model_validate({"label": label, "per_class": n, "seed": seed, "method": method})
        return draw_ask(ask, offer, limits or Limits(), cache, torch.device("cpu"), tell)

    return call


@pytest.fixture
def make_client(offer):
    """A function that starts a studio and gives a client of it: same limits or others, same classes or others."""
    reason = "the studio is missing: pip install 'condgen[studio]'; its test client needs httpx2"
    testclient = pytest.importorskip("starlette.testclient", reason=reason, exc_type=(ImportError, RuntimeError))
    from condgen.studio.app import Studio, build_app
    from condgen.studio.ask import Limits

    started = []

    def call(offered=offer, names=frozenset(), **limits):
        studio = Studio(offered, Limits(**limits), torch.device("cpu"))
        started.append(studio)
        client = testclient.TestClient(build_app(studio, names), base_url="http://127.0.0.1:7860")
        client.studio = studio
        return client

    yield call
    for studio in started:
        studio.close()


@pytest.fixture
def client(make_client):
    return make_client()
