"""Who may ask, and what an answer carries: around the whole application, before anything is read.

A service on the loopback interface is open to every program of the machine, browsers with pages of others among them.
Such a page can send requests, and by a name of its own that it lets point to 127.0.0.1 (DNS rebinding) even read the
answers. So a request must name this machine as its host, by a name or an address that no stranger can own, and a
browser must say that it comes from this very page.
"""

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "own_names"]

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


class Guard:
    """Refuses strangers, and adds to every answer what keeps a page to itself.

    Args:
        app: what is guarded.
        names: under which the machine may be addressed, beside localhost and plain addresses.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *names}

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

        problem = self._problem(Headers(scope=scope), scope["path"])
        if problem is not None:
            await JSONResponse({"error": problem}, status_code=403)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

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
