"""Who may send requests, and the security headers of every answer.

Every program of the machine reaches a service on the loopback interface, a browser with another site's page among them.
Such a page can send requests and, by a name of its own that resolves to 127.0.0.1 (DNS rebinding), read the answers. So
the Host header must name this machine, and a browser must say that the request comes from this page.

A service on another interface asks for a token too. It is part of the printed address; the first answer turns it into a
cookie. Programs send `Authorization: Bearer TOKEN`.
"""

import hmac
import ipaddress
from collections.abc import Iterable

from starlette.datastructures import URL, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_COOKIE_SECONDS = 30 * 24 * 3600
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses foreign hosts, origins and missing tokens.

    Args:
        app: the application.
        names: host names of this machine besides localhost; numeric addresses always pass.
        token: which a request must carry; None asks for none.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), token: str | None = None) -> None:
        self._app, self._names, self._token = app, {"localhost", *names}, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not self._is_own(host):
            problem = (
                f"this studio does not answer to the host {host[:80]!r}: open the address that the command printed"
            )
            return JSONResponse({"error": problem}, status_code=403)
        # Only a link to the page itself may come from elsewhere.
        is_link = request.url.path == "/" and request.headers.get("sec-fetch-dest") == "document"
        same_site = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none") or is_link
        if not same_site or (origin is not None and origin.partition("://")[2] != host):
            return JSONResponse({"error": "this request comes from another page"}, status_code=403)
        return self._ask_for_token(request, self._token) if self._token is not None else None

    def _ask_for_token(self, request: Request, token: str) -> Response | None:
        cookie = f"condgen-studio-{request.url.port}"
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [request.cookies.get(cookie, ""), bearer.strip() if kind.lower() == "bearer" else ""]
        if any(hmac.compare_digest(one.encode(), token.encode()) for one in given):
            return None
        if request.url.path == "/" and hmac.compare_digest(
            request.query_params.get("token", "").encode(), token.encode()
        ):
            url: URL = request.url.remove_query_params("token")
            answer = RedirectResponse(f"/?{url.query}" if url.query else "/", status_code=303)
            answer.set_cookie(cookie, token, max_age=_COOKIE_SECONDS, httponly=True, samesite="lax")
            return answer
        problem = "this studio asks for its token: open the whole address that the command printed"
        return JSONResponse({"error": problem}, status_code=401, headers={"WWW-Authenticate": "Bearer"})

    def _is_own(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True  # DNS cannot point an address elsewhere
