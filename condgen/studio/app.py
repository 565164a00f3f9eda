"""The live page of a run: choose class, method, sampler and seed; see samples and their cost.

Routes: the page and its static files; `/offer.json`, the choices; `/draw`, which answers a request with lines of JSON
(its place in the queue, its progress, the samples). Nothing is written to disk.

Every program of the machine reaches a service on the loopback interface, a browser with another site's page among them.
Such a page can send requests and, by a name of its own that resolves to 127.0.0.1 (DNS rebinding), read the answers. So
the Host header must be of the loopback interface, and a browser must say that the request comes from this page.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any, cast

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from condgen import __version__
from condgen.errors import UserError
from condgen.runs.models import Load, load_anew
from condgen.score import ScoreModel
from condgen.studio.ask import EVALUATIONS, Ask, most_samples, parse_ask, stage_of
from condgen.studio.draw import draw_ask
from condgen.studio.offer import Offer, describe_offer

_MODELS = 8  # in memory
_POLL = 0.1  # seconds between two looks at a drawing's progress
_HOSTS = ["127.0.0.1", "localhost"]
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The client has gone."""


@dataclass(eq=False)
class _Job:
    """A request in the queue, or being drawn."""

    progress: dict[str, int | None] | None = None  # evaluations done and expected; None before the first
    is_stopped: bool = False  # whether the client has gone

    def tell(self, done: int, expected: int | None) -> None:
        """Notes the progress; raises where the drawing has to end."""
        if self.is_stopped:
            raise _StoppedError
        self.progress = {"done": done, "expected": expected}


class Studio:
    """The state that the routes share. One thread draws, since torch uses all cores for one drawing."""

    def __init__(self, offer: Offer, device: torch.device) -> None:
        self.offer, self.device = offer, device
        self.load = cast(Load, lru_cache(_MODELS)(load_anew))
        places = [offer.folders.score(name) for name in offer.labels]
        limits = {"samples": most_samples(offer.shape), "evaluations": EVALUATIONS}
        score = self.load(ScoreModel, places[0], device) if places else None
        self.about = {**describe_offer(offer, score), "limits": limits}
        self.queue: list[_Job] = []
        threads = torch.get_num_threads()  # a setting of each thread
        self._pool = ThreadPoolExecutor(1, "studio", initializer=torch.set_num_threads, initargs=(threads,))
        self._context = copy_context()  # in which imports may be trusted

    def close(self) -> None:
        """Stops the drawing under way and everything in the queue."""
        for job in self.queue:
            job.is_stopped = True
        self._pool.shutdown(cancel_futures=True)

    async def draw(self, request: Request, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        """Messages on a request, the last with `drawn` or `error`; none after the client has gone."""
        job = _Job()
        self.queue.append(job)
        work = partial(draw_ask, ask, self.offer, self.load, self.device, job.tell)
        drawing = asyncio.wrap_future(self._pool.submit(self._context.run, work))
        last: object = None
        try:
            while not drawing.done():
                ahead = self.queue.index(job)
                message = {"waiting": ahead} if ahead else job.progress
                if message is not None and message != last:
                    yield message
                last = message
                if await request.is_disconnected():
                    return
                await asyncio.wait([drawing], timeout=_POLL)
            yield {"drawn": drawing.result()}
        except UserError as error:
            yield {"error": str(error)}
        except Exception as error:
            _log.error("a drawing failed", exc_info=error)
            yield {"error": f"unexpected {type(error).__name__}: {error}"}
        finally:
            job.is_stopped = True
            drawing.cancel()
            self.queue.remove(job)


class _Guard:
    """ASGI middleware that refuses requests of other pages, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        is_foreign = scope["type"] == "http" and _is_of_another_page(Request(scope))
        refusal = JSONResponse({"error": "this request comes from another page"}, status_code=403)
        await (refusal if is_foreign else self._app)(scope, receive, send_with_headers)


def _is_of_another_page(request: Request) -> bool:
    origin = request.headers.get("origin")
    # Only a link to the page itself may come from elsewhere.
    is_link = request.url.path == "/" and request.headers.get("sec-fetch-dest") == "document"
    same_site = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none") or is_link
    return not same_site or (origin is not None and origin.partition("://")[2] != request.headers.get("host", ""))


def build_app(studio: Studio) -> Starlette:
    templates = Environment(loader=PackageLoader("condgen.studio", "."), autoescape=True, undefined=StrictUndefined)
    page = templates.get_template("page.html.j2").render(name=studio.offer.name, version=__version__)
    palette = files("condgen.report").joinpath("palette.css").read_text(encoding="utf-8")
    routes = [
        Route("/", lambda _: Response(page, media_type="text/html")),
        Route("/palette.css", lambda _: Response(palette, media_type="text/css")),
        Mount("/static", StaticFiles(packages=[("condgen.studio", "static")])),
        Route("/offer.json", lambda _: JSONResponse(studio.about)),
        Route("/draw", partial(_draw, studio), methods=["POST"]),
    ]
    guards = [Middleware(_Guard), Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)]
    return Starlette(routes=routes, middleware=guards, exception_handlers={UserError: _problem})


async def _problem(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=422)


async def _draw(studio: Studio, request: Request) -> Response:
    ask = parse_ask(await request.body())
    stage_of(ask, studio.offer)  # is refused before it is queued
    return StreamingResponse(_lines(studio.draw(request, ask)), media_type="application/x-ndjson")


async def _lines(messages: AsyncGenerator[dict[str, Any], None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield json.dumps(message, separators=(",", ":")).encode() + b"\n"
