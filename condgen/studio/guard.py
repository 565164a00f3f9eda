"""Who may ask, and what an answer carries: around the whole application, before anything is read.

A service on the loopback interface is open to every program of the machine, browsers with pages of others among them.
Such a page can send requests, and by a name of its own that it lets point to 127.0.0.1 (DNS rebinding) even read the
answers. So a request must name this machine as its host, by a name or an address that no stranger can own, and a
browser must say that it comes from this very page.

A service that others reach asks for a token as well, which only who has read the terminal knows. It stands in the
address that is printed; the page's first answer turns it into a cookie, and takes it out of the address. A program
sends it as `Authorization: Bearer TOKEN`.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "new_token", "own_names"]

_COOKIE_SECONDS = 30 * 24 * 3600
_MOST_HEADERS = 100

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ADDED = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def own_names() -> set[str]:
    """The names by which others on the network know this machine."""
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


def new_token() -> str:
    """A token that nobody guesses, of 32 random bytes."""
    return secrets.token_urlsafe(32)


class Guard:
    """Refuses strangers, and adds to every answer what keeps a page to itself.

    Args:
        app: what is guarded.
        names: under which the machine may be addressed, beside localhost and plain addresses.
        token: that a request must know; None where every program of this machine may ask.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), token: str | None = None) -> None:
        self._app = app
        self._names = {"localhost", *names}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ADDED.items():
                    headers[name] = value
            await send(message)

        if len(scope["headers"]) > _MOST_HEADERS:
            too_many = JSONResponse({"error": f"a request has at most {_MOST_HEADERS} headers"}, status_code=431)
            await too_many(scope, receive, send_with_headers)
            return
        problem = self._problem(Headers(scope=scope), scope["path"])
        if problem is not None:
            await JSONResponse({"error": problem}, status_code=403)(scope, receive, send_with_headers)
            return
        answer = self._introduced(scope) if self._token is not None else None
        await (answer or self._app)(scope, receive, send_with_headers)

    def _introduced(self, scope: Scope) -> Response | None:
        """What is answered to one who is not known yet; None for one who is."""
        headers, cookie = Headers(scope=scope), f"condgen-studio-{(scope.get('server') or ('', 0))[1]}"
        kind, _, given = headers.get("authorization", "").partition(" ")
        if self._is_token(cookie_parser(headers.get("cookie", "")).get(cookie, "")):
            return None
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["path"] == "/" and any(self._is_token(value) for name, value in query if name == "token"):
            others = urlencode([(name, value) for name, value in query if name != "token"])
            answer = RedirectResponse(f"/?{others}" if others else "/", status_code=303)
            answer.set_cookie(cookie, self._token or "", max_age=_COOKIE_SECONDS, httponly=True, samesite="lax")
            return answer
        return JSONResponse(
            {"error": "this studio asks for its token: open the whole address that the command printed"},
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _is_token(self, given: str) -> bool:
        """Compares in a time that does not tell how much of it is right."""
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    def _problem(self, headers: Headers, path: str) -> str | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return f"this studio does not answer to the host {host[:80]!r}: open the address that the command printed"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "this request comes from another page"
        followed = path == "/" and headers.get("sec-fetch-dest") == "document"  # a link, which anybody may give
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            return "this request comes from another page"
        return None

    def _is_own(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # an address is nobody's name
