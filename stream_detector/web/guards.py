"""Who may ask the page for anything, and how long a connection may say nothing.

Every request goes through `Guard`: the host that it names, the password, the method. Every answer
leaves with headers that forbid scripts, frames and requests to anywhere else.
"""

import base64
import binascii
import hmac
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

CONNECTIONS_MAX = 256
"""Most connections at a time; one more is closed at once."""

SILENCE_S_MAX = 10.0
"""How long a connection may be without a request that is being answered."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "style-src-elem 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may load and run. Bokeh writes the style of its charts into elements, which is all
that `unsafe-inline` allows here; attributes with styles and scripts within the page are refused."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Refuses what nobody may ask, and adds the headers to every answer.

    Parameters
    ----------
    app
        Answers the other requests.
    password
        What a browser must give, with any user name; None asks for none, and then only requests are
        answered that name this machine as their host. A page of a stranger whose name was made to
        point here names its own.
    """

    def __init__(self, app: ASGIApp, password: str | None) -> None:
        self._app = app
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or refuse it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket: the page has none
            await send({"type": "websocket.close"})
            return
        answer: ASGIApp = self._refusal(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused; None where it is not."""
        headers = Headers(scope=scope)
        if self._password is None and _host_name(headers.get("host", "")) not in LOOPBACK_NAMES:
            return PlainTextResponse("unknown host; open the page as localhost\n", 421)
        if self._password is not None and not _has_password(headers, self._password):
            ask = {"www-authenticate": 'Basic realm="stream-detector", charset="UTF-8"'}
            return PlainTextResponse("a password is needed\n", 401, headers=ask)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the page only reads\n", 405, headers={"allow": "GET, HEAD"})
        return None


def _add_headers(headers: MutableHeaders) -> None:
    """Add the headers that every answer has; only how long to keep it may be said otherwise."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _has_password(headers: Headers, password: str) -> bool:
    """Return whether a request has the password; how long it takes does not say how wrong it is."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        decoded = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(decoded.partition(b":")[2], password.encode())


class GuardedProtocol(H11Protocol):
    """A connection that is closed where there are too many, and where it says nothing."""

    def connection_made(self, transport: Any) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        self._watch = self.loop.call_later(SILENCE_S_MAX, self._end_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        watch: asyncio.TimerHandle | None = getattr(self, "_watch", None)
        if watch is not None:
            watch.cancel()
        super().connection_lost(exc)

    def _end_if_silent(self) -> None:
        """Close the connection unless a request is being answered; then look again later."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle or self.transport.is_closing():  # one that closes may wait for its reader
            self.transport.abort()
            return
        self._watch = self.loop.call_later(SILENCE_S_MAX, self._end_if_silent)
