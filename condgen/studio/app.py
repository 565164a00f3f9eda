"""The live page of a run: choose class, method, sampler and seed; see samples and their cost.

Routes: the page and its static files; `/offer.json`, the choices; `/draw`, which answers with lines of JSON: its place
in the queue, its progress, the samples. Nothing is written to disk.

Every page in a browser of the machine reaches the loopback interface and, by a name that resolves to 127.0.0.1 (DNS
rebinding), may read answers. So the Host header must be of the loopback interface, and a browser must say that the
request comes from this page.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import cast

import torch
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
from condgen.report.page import open_template
from condgen.runs.models import Load, load_anew
from condgen.score import ScoreModel
from condgen.studio.draw import EVALUATIONS, Ask, draw_ask, most_samples, parse_ask
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


@dataclass(eq=False)
class _Job:
    progress: dict[str, int | None] | None = None  # evaluations done and expected; None before the first
    is_stopped: bool = False

    def tell(self, done: int, expected: int | None) -> None:
        if self.is_stopped:
            raise CancelledError  # the client has gone
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
        for job in self.queue:
            job.is_stopped = True
        self._pool.shutdown(cancel_futures=True)

    async def draw(self, request: Request, ask: Ask) -> AsyncGenerator[bytes, None]:
        """Lines of JSON, the last with `drawn` or `error`; none after the client has gone."""
        job = _Job()
        self.queue.append(job)
        drawing = asyncio.wrap_future(self._pool.submit(self._context.run, self._answer, ask, job))
        last: object = None
        try:
            while not drawing.done():
                ahead = self.queue.index(job)
                message = {"waiting": ahead} if ahead else job.progress
                if message is not None and message != last:
                    yield _line(message)
                last = message
                if await request.is_disconnected():
                    return
                await asyncio.wait([drawing], timeout=_POLL)
            yield _line(drawing.result())
        finally:
            job.is_stopped = True
            drawing.cancel()
            self.queue.remove(job)

    def _answer(self, ask: Ask, job: _Job) -> dict[str, object]:
        """What is drawn, or the error; none is left to asyncio, which never passes on a StopIteration of a network."""
        try:
            return {"drawn": draw_ask(ask, self.offer, self.load, self.device, job.tell)}
        except UserError as error:
            return {"error": str(error)}
        except BaseException as error:
            if not job.is_stopped:
                _log.error("a drawing failed", exc_info=error)
            return {"error": f"unexpected {type(error).__name__}: {error}"}


def _line(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def build_app(studio: Studio) -> ASGIApp:
    async def draw(request: Request) -> Response:
        ask = parse_ask(await request.body(), studio.offer)
        return StreamingResponse(studio.draw(request, ask), media_type="application/x-ndjson")

    page = open_template("condgen.studio", "page.html.j2").render(name=studio.offer.name, version=__version__)
    palette = files("condgen.report").joinpath("palette.css").read_text(encoding="utf-8")
    routes = [
        Route("/", lambda _: Response(page, media_type="text/html")),
        Route("/palette.css", lambda _: Response(palette, media_type="text/css")),
        Mount("/static", StaticFiles(packages=[("condgen.studio", "static")])),
        Route("/offer.json", lambda _: JSONResponse(studio.about)),
        Route("/draw", draw, methods=["POST"]),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)
    problems = {UserError: lambda _, error: JSONResponse({"error": str(error)}, status_code=422)}
    return _guarded(Starlette(routes=routes, middleware=[hosts], exception_handlers=problems))


def _guarded(app: ASGIApp) -> ASGIApp:
    """Refuses requests of other pages, and adds the security headers to every answer."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        is_foreign = scope["type"] == "http" and _is_of_another_page(Request(scope))
        refusal = JSONResponse({"error": "this request comes from another page"}, status_code=403)
        await (refusal if is_foreign else app)(scope, receive, send_with_headers)

    return guarded


def _is_of_another_page(request: Request) -> bool:
    origin = request.headers.get("origin")
    # Only a link to the page itself may come from elsewhere.
    is_link = request.url.path == "/" and request.headers.get("sec-fetch-dest") == "document"
    same_site = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none") or is_link
    return not same_site or (origin is not None and origin.partition("://")[2] != request.headers.get("host", ""))
