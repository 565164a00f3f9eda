"""Who may send requests, and the security headers of every answer.

Every program of the machine reaches a service on the loopback interface, a browser with another site's page among them.
Such a page can send requests and, by a name of its own that resolves to 127.0.0.1 (DNS rebinding), read the answers. So
the Host header must be of the loopback interface, and a browser must say that the request comes from this page.

A service on another interface asks for a token instead of that Host. It is part of the printed address; the first
answer turns it into a cookie. Programs send `Authorization: Bearer TOKEN`.
"""

import hmac

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses foreign hosts, origins and missing tokens.

    Args:
        app: the application.
        token: which a request must carry; None asks for none, but for a Host of the loopback interface.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app, self._token = app, token

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
        # Only a link to the page itself may come from elsewhere.
        is_link = request.url.path == "/" and request.headers.get("sec-fetch-dest") == "document"
        same_site = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none") or is_link
        if not same_site or (origin is not None and origin.partition("://")[2] != host):
            return JSONResponse({"error": "this request comes from another page"}, status_code=403)
        if self._token is not None:
            return self._ask_for_token(request, self._token)
        if host.removesuffix(f":{request.url.port}").strip("[]").lower() not in LOOPBACK:
            problem = f"this studio does not answer to the host {host[:80]!r}: open the address that was printed"
            return JSONResponse({"error": problem}, status_code=403)
        return None

    def _ask_for_token(self, request: Request, token: str) -> Response | None:
        cookie = f"condgen-studio-{request.url.port}"
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if any(_equal(given, token) for given in (request.cookies.get(cookie, ""), bearer)):
            return None
        if request.url.path == "/" and _equal(request.query_params.get("token", ""), token):
            answer = RedirectResponse(f"/?{request.url.remove_query_params('token').query}", status_code=303)
            answer.set_cookie(cookie, token, httponly=True, samesite="lax")
            return answer
        problem = "this studio asks for its token: open the whole address that was printed"
        return JSONResponse({"error": problem}, status_code=401, headers={"WWW-Authenticate": "Bearer"})


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
