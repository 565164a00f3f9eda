"""The live page of a run: choose class, method, sampler and seed; see samples, their trajectories and their cost.

Routes: the page and its static files; `/offer.json`, the choices; `/draw`, which answers a request with lines of JSON
(its place in the queue, its progress, the samples); `/samples.zip`, the same samples with their manifest. Nothing is
written to disk.

Gradio (6.31) would install 52 packages where Starlette and uvicorn are 7, caps Pillow's version, sends telemetry by
default, and has no widget for trajectories or for requests that are superseded.
"""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from condgen import __version__
from condgen.errors import UserError
from condgen.recipes import content_key
from condgen.studio.ask import Ask, Limits, parse_ask, stage_of
from condgen.studio.catalogue import describe_offer
from condgen.studio.draw import Drawn, draw_ask
from condgen.studio.guard import Guard
from condgen.studio.models import ModelCache, Offer, file_stamp

__all__ = ["Studio", "build_app"]

_REMEMBERED = 16  # drawings
_POLL = 0.1  # seconds between two looks at a drawing's progress

_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The client has gone."""


class _Job:
    """A request in the queue, or being drawn.

    Attributes:
        progress: evaluations done and expected; None before the first.
        stopped: set once the client has gone.
    """

    def __init__(self, seconds: float) -> None:
        self.progress: dict[str, int | None] | None = None
        self.stopped = threading.Event()
        self._seconds, self._started = seconds, 0.0

    def tell(self, done: int, expected: int | None) -> None:
        """Notes the progress; raises where the drawing has to end."""
        now = time.monotonic()
        self._started = self._started or now
        if self.stopped.is_set():
            raise _StoppedError
        if now - self._started > self._seconds:
            of = f" of {expected:,}" if expected else ""
            raise UserError(
                f"stopped after {self._seconds:g} seconds, at evaluation {done:,}{of}: ask for fewer samples or "
                "evaluations, or start the studio with more --seconds"
            )
        self.progress = {"done": done, "expected": expected}


class Studio:
    """The state that the routes share. One thread draws, since torch uses all cores for one drawing.

    Args:
        offer: of a run folder.
        limits: of a request.
        device: where to draw.
    """

    def __init__(self, offer: Offer, limits: Limits, device: torch.device) -> None:
        self.offer, self.limits, self.device = offer, limits, device
        self._models = ModelCache()
        self.about = describe_offer(offer, limits, self._models, device)
        self._drawn: OrderedDict[str, Drawn] = OrderedDict()
        self.queue: list[_Job] = []
        threads = torch.get_num_threads()  # a setting of each thread
        self._pool = ThreadPoolExecutor(1, "studio", initializer=torch.set_num_threads, initargs=(threads,))

    def close(self) -> None:
        """Stops the drawing under way and everything in the queue."""
        for job in self.queue:
            job.stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def forget(self) -> None:
        """Drops the remembered drawings."""
        self._drawn.clear()

    def check(self, ask: Ask) -> None:
        """Raises UserError where a request cannot be drawn, HTTPException where the queue is full."""
        stage_of(ask, self.offer, self.limits)
        if len(self.queue) > self.limits.waiting:
            problem = "too many requests are waiting: try again in a few seconds"
            raise HTTPException(503, problem, headers={"Retry-After": "3"})

    async def draw(self, request: Request, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        """Messages on a request, the last with `drawn` or `error`; none after the client has gone."""
        key = self._key(ask)  # before it is drawn: a model that changes meanwhile may be the old or the new one
        if key in self._drawn:
            self._drawn.move_to_end(key)
            yield {"drawn": self._drawn[key], "kept": True}
            return
        job = _Job(self.limits.seconds)
        self.queue.append(job)
        work = partial(draw_ask, ask, self.offer, self.limits, self._models, self.device, job.tell)
        drawing = asyncio.wrap_future(self._pool.submit(work))
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
            yield self._result(key, drawing)
        finally:
            job.stopped.set()
            drawing.cancel()
            self.queue.remove(job)

    def _result(self, key: str, drawing: asyncio.Future[Drawn]) -> dict[str, Any]:
        try:
            drawn = drawing.result()
        except UserError as error:
            return {"error": str(error)}
        except Exception as error:
            _log.error("a drawing failed", exc_info=error)
            return {"error": f"unexpected {type(error).__name__}: {error}"}
        self._drawn[key] = drawn
        if len(self._drawn) > _REMEMBERED:
            self._drawn.popitem(last=False)
        return {"drawn": drawn}

    def _key(self, ask: Ask) -> str:
        return content_key(ask, *(str(file_stamp(file)) for file in self.offer.folders.files(ask.method)))


def build_app(studio: Studio, names: set[str] | None = None, token: str | None = None) -> ASGIApp:
    """The guarded application.

    Args:
        studio: what it serves.
        names: host names of this machine besides localhost.
        token: which a request must carry; None asks for none.
    """
    templates = Environment(loader=PackageLoader("condgen.studio", "."), autoescape=True, undefined=StrictUndefined)
    page = templates.get_template("page.html.j2").render(name=studio.offer.name, version=__version__)
    palette = files("condgen.report").joinpath("palette.css").read_text(encoding="utf-8")
    routes = [
        Route("/", lambda _: Response(page, media_type="text/html")),
        Route("/palette.css", lambda _: Response(palette, media_type="text/css")),
        Mount("/static", StaticFiles(packages=[("condgen.studio", "static")])),
        Route("/offer.json", lambda _: JSONResponse(studio.about)),
        Route("/draw", partial(_draw, studio), methods=["POST"]),
        Route("/samples.zip", partial(_download, studio)),
    ]
    return Guard(
        Starlette(routes=routes, exception_handlers={HTTPException: _problem, UserError: _problem}), names or (), token
    )


async def _problem(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=422)


async def _draw(studio: Studio, request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the request is not JSON: send it as application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > studio.limits.body:
            raise HTTPException(413, f"the request is larger than {studio.limits.body:,} bytes")
    ask = parse_ask(body)
    studio.check(ask)
    return StreamingResponse(_lines(studio.draw(request, ask)), media_type="application/x-ndjson")


async def _lines(messages: AsyncGenerator[dict[str, Any], None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(messages):
        async for message in messages:
            if "drawn" in message:
                message |= {"drawn": message["drawn"].to_plain()}
            yield json.dumps(message, separators=(",", ":")).encode() + b"\n"


async def _download(studio: Studio, request: Request) -> Response:
    text = request.query_params.get("ask", "")
    if len(text) > studio.limits.body:
        raise HTTPException(413, f"the request is larger than {studio.limits.body:,} bytes")
    ask = parse_ask(text)
    studio.check(ask)
    message: dict[str, Any] = {}
    async for message in studio.draw(request, ask):  # noqa: B007 - the last one counts
        pass
    if "error" in message:
        raise UserError(message["error"])
    if "drawn" not in message:
        return Response(status_code=499)  # the client has gone
    headers = {"Content-Disposition": f'attachment; filename="{_file_name(ask)}"'}
    return Response(await asyncio.to_thread(message["drawn"].to_zip), media_type="application/zip", headers=headers)


def _file_name(ask: Ask) -> str:
    """Of digits and plain words alone, whatever the names of classes and models."""
    which = "all" if ask.label is None else str(ask.label)
    how = "one-step" if ask.method.generator is not None else ask.method.sampler.replace("+", "p")
    return f"samples-class-{which}-seed-{ask.seed}-{how}.zip"
