"""The live page of a run: choose class, method, sampler and seed, and see samples, their way and their cost at once.

Routes: the page and its files; `/offer.json`, what there is to choose; `/draw`, which answers a request line by
line (where it stands in line, how far it is, what was drawn); `/samples.zip`, the same samples with their manifest.
Nothing is written to disk, and no answer carries a number by which another could be asked for: what was drawn last is
kept by its settings, which are the same samples for everybody.

Why not Gradio (6.31, looked at in its package): it installs 52 packages, itself 80 MB, where Starlette and uvicorn are
7; it holds back Pillow by a major version; by default it sends telemetry, and asks its makers for the latest version
when it starts; and its widgets know neither a request that is given up when the next one comes, nor a trajectory. The
page here is a few files that need no build.
"""

import asyncio
import contextlib
import functools
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from importlib.resources import files
from typing import Any, Final

import torch
from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from condgen import __version__
from condgen.checkpoint import MODEL_FILE
from condgen.errors import UserError
from condgen.recipes import content_key
from condgen.runs.layout import calibration_file
from condgen.studio.ask import Ask, Limits, parse_ask, stage_of
from condgen.studio.catalogue import describe_offer
from condgen.studio.draw import Drawn, Tell, draw_ask
from condgen.studio.guard import Guard
from condgen.studio.models import ModelCache, Offer, file_stamp
from condgen.studio.worker import Done, Drawing, Event, Failed, Full, Ticket, Waiting, Worker

__all__ = ["Studio", "build_app"]

_KEPT_BYTES = 32 * 2**20  # of what was drawn last
_LOOK_AFTER = 0.25  # seconds after which a request is looked after: is anybody still there?
_BODY_SECONDS = 10.0
_STYLES: Final = (("condgen.report", "palette.css"), ("condgen.studio", "studio.css"))
_SCRIPTS: Final = ("main.js", "settings.js", "result.js", "pictures.js", "points.js", "elements.js", "values.js")

_log = logging.getLogger(__name__)


class Studio:
    """What the routes share: what there is, what was drawn, and the thread that draws.

    Args:
        offer: of a run folder.
        limits: of a request.
        device: where to draw.
    """

    def __init__(self, offer: Offer, limits: Limits, device: torch.device) -> None:
        self.offer, self.limits, self.device = offer, limits, device
        self._models = ModelCache()
        self._about = describe_offer(offer, limits, self._models, device)
        self._drawn: OrderedDict[str, Drawn] = OrderedDict()
        self._bytes = 0
        self.worker = Worker(limits.waiting, limits.seconds)

    @property
    def about(self) -> dict[str, Any]:
        """What a page is told once."""
        return self._about

    def remembered(self, ask: Ask) -> Drawn | None:
        """What was drawn for the same settings a while ago, if its models have not changed since."""
        key = self._key(ask)
        if key in self._drawn:
            self._drawn.move_to_end(key)
        return self._drawn.get(key)

    def _remember(self, key: str, drawn: Drawn) -> None:
        """Keeps what was drawn, and forgets what is oldest."""
        before = self._drawn.pop(key, None)
        self._bytes += drawn.size - (before.size if before is not None else 0)
        self._drawn[key] = drawn
        while self._bytes > _KEPT_BYTES:
            self._bytes -= self._drawn.popitem(last=False)[1].size

    def forget(self) -> None:
        """Lets go of everything that was drawn."""
        self._drawn.clear()
        self._bytes = 0

    def _key(self, ask: Ask) -> str:
        models = self.offer.models(ask.method)
        files = [folder / MODEL_FILE for folder in models if folder is not None]
        if models.classifier is not None:
            files.append(calibration_file(models.classifier))
        return content_key(ask, *(str(file_stamp(file)) for file in files))

    async def draw(self, request: Request, ask: Ask) -> AsyncGenerator[Event, None]:
        """What happens to a request, up to its end; nothing more once nobody waits for it."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        key = self._key(ask)  # before it is drawn: a model that changes meanwhile may be the old or the new one

        def notify(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the studio has ended
                loop.call_soon_threadsafe(events.put_nowait, event)

        def work(tell: Tell) -> Drawn:
            return draw_ask(ask, self.offer, self.limits, self._models, self.device, tell)

        ticket = Ticket(work, notify)
        self.worker.join(ticket)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(events.get(), _LOOK_AFTER)
                except TimeoutError:
                    if await request.is_disconnected():
                        return
                    continue
                if isinstance(event, Done):
                    self._remember(key, event.drawn)
                if isinstance(event, Failed) and event.unexpected is not None:
                    _log.error("a drawing failed", exc_info=event.unexpected)
                yield event
                if isinstance(event, Done | Failed):
                    return
        finally:
            self.worker.leave(ticket)


def build_app(studio: Studio, names: set[str] | None = None, token: str | None = None) -> ASGIApp:
    """The application, guarded.

    Args:
        studio: what it serves.
        names: of this machine, beside localhost and plain addresses.
        token: that a request must know; None asks for none.
    """
    routes = [
        Route("/", functools.partial(_page, _render(studio))),
        Route("/studio.css", functools.partial(_fixed, _styles(), "text/css")),
        Route("/favicon.svg", functools.partial(_fixed, _read("condgen.studio", "favicon.svg"), "image/svg+xml")),
        Route("/offer.json", functools.partial(_offer, studio)),
        Route("/draw", functools.partial(_draw, studio), methods=["POST"]),
        Route("/samples.zip", functools.partial(_download, studio)),
    ]
    for script in _SCRIPTS:
        content = _read("condgen.studio", script)
        routes.append(Route(f"/{script}", functools.partial(_fixed, content, "text/javascript")))
    handlers: dict[Any, Callable[..., Any]] = {404: _no_such, 405: _no_such, UserError: _refused, Full: _full}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(app, names or (), token)


async def _page(page: str, _: Request) -> Response:
    return Response(page, media_type="text/html")


async def _fixed(content: str, kind: str, _: Request) -> Response:
    return Response(content, media_type=kind)


async def _offer(studio: Studio, _: Request) -> Response:
    return JSONResponse(studio.about)


async def _draw(studio: Studio, request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return _problem(415, "the request is not JSON: send it as application/json")
    too_large = _problem(413, f"the request is larger than {studio.limits.body:,} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > studio.limits.body:  # before any of it is read
        return too_large
    try:
        body = await asyncio.wait_for(_body(request, studio.limits.body), _BODY_SECONDS)
    except TimeoutError:
        return _problem(408, "the request took too long to arrive")
    except ClientDisconnect:
        return Response(status_code=499)
    if body is None:
        return too_large
    ask = parse_ask(body)
    stage_of(ask, studio.offer, studio.limits)  # raises
    drawn = studio.remembered(ask)
    if drawn is not None:
        return _lines(_once(_line({"drawn": drawn.to_plain(), "kept": True})))
    events = studio.draw(request, ask)
    first = await anext(events, None)  # raises Full, while the status can still say so
    return _lines(_told(first, events))


async def _told(first: Event | None, events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(events):
        if first is not None:
            yield _as_line(first)
        async for event in events:
            yield _as_line(event)


def _as_line(event: Event) -> bytes:
    if isinstance(event, Waiting):
        return _line({"waiting": event.ahead})
    if isinstance(event, Drawing):
        return _line({"done": event.done, "expected": event.expected})
    if isinstance(event, Failed):
        return _line({"error": event.problem})
    return _line({"drawn": event.drawn.to_plain()})


async def _download(studio: Studio, request: Request) -> Response:
    text = request.query_params.get("ask", "")
    if len(text) > studio.limits.body:
        return _problem(413, f"the request is larger than {studio.limits.body:,} bytes")
    ask = parse_ask(text)
    stage_of(ask, studio.offer, studio.limits)  # raises
    drawn = studio.remembered(ask)
    if drawn is None:
        async for event in studio.draw(request, ask):
            if isinstance(event, Failed):
                raise UserError(event.problem)
            if isinstance(event, Done):
                drawn = event.drawn
    if drawn is None:
        return Response(status_code=499)  # nobody is there to read it
    headers = {"Content-Disposition": f'attachment; filename="{_file_name(ask)}"'}
    return Response(await asyncio.to_thread(drawn.to_zip), media_type="application/zip", headers=headers)


def _file_name(ask: Ask) -> str:
    """Of digits and plain words alone, whatever the classes and models are called."""
    which = "all" if ask.label is None else str(ask.label)
    how = "one-step" if ask.method.generator is not None else ask.method.sampler.replace("+", "p")
    return f"samples-class-{which}-seed-{ask.seed}-{how}.zip"


async def _body(request: Request, most: int) -> bytes | None:
    """The body of a request, or None where it is too large; no more than that is read."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    return body


async def _once(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _lines(lines: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _problem(status: int, problem: str, **headers: str) -> Response:
    return JSONResponse({"error": " ".join(problem.split())}, status_code=status, headers=headers)


async def _refused(_: Request, error: Exception) -> Response:
    return _problem(422, str(error))


async def _no_such(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _problem(status, "there is no such page here" if status == 404 else f"{request.method} is not for this")


async def _full(request: Request, _: Exception) -> Response:
    return _problem(503, "too many requests are waiting: try again in a few seconds", **{"Retry-After": "3"})


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _styles() -> str:
    return "\n".join(_read(package, name) for package, name in _STYLES)


def _render(studio: Studio) -> str:
    environment = Environment(
        loader=FunctionLoader(functools.partial(_read, "condgen.studio")), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(name=studio.offer.name, version=__version__)
