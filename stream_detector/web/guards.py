"""Who may ask the page for anything, and how long a connection may say or read nothing.

Every request goes through `Guard`: the host that it names, the password, the method. Every answer
leaves with headers that forbid scripts, frames and requests to anywhere else.
"""

import base64
import binascii
import hmac
import socket
import struct
from typing import TYPE_CHECKING, Any

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

CONNECTIONS_MAX = 256
"""Most connections at a time."""

SILENCE_S_MAX = 10.0
"""How long a connection may be without a request that is being answered."""

READ_S_MAX = 10.0
"""How long a connection may leave its buffers full; after that it ends."""

FULL = b"too many connections are open\n"

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
    """A connection that ends where it says nothing, or does not read what it is sent.

    Where there are too many, the oldest of those that ask for nothing makes room; if all are being
    answered, the new one is told so.
    """

    _watch: "asyncio.TimerHandle | None" = None
    _stall: "asyncio.TimerHandle | None" = None
    _made_at_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered or self.transport.is_closing()  # one that closes may wait for its reader

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        self._made_at_s = self.loop.time()
        if len(self.connections) > CONNECTIONS_MAX and not self._make_room():
            self._refuse()
            return
        self._watch = self.loop.call_later(SILENCE_S_MAX, self._end_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        for timer in (self._watch, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a reader that has let all buffers fill up some time to go on."""
        super().pause_writing()
        self._stall = self.loop.call_later(READ_S_MAX, self._end_unread)

    def resume_writing(self) -> None:
        """Go on once the reader does."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def _make_room(self) -> bool:
        """End the oldest other connection that asks for nothing; say whether there was one."""
        others = [each for each in self.connections if each is not self and _is_idle(each)]
        if not others:
            return False
        oldest = min(others, key=lambda each: getattr(each, "_made_at_s", 0.0))
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _refuse(self) -> None:
        """Say that there are too many, and close."""
        self.connections.discard(self)
        own = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(FULL))}
        headers = [*(HEADERS | own | {"connection": "close"}).items()]
        for event in (
            h11.Response(status_code=503, reason=b"Service Unavailable", headers=headers),
            h11.Data(data=FULL),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _end_unread(self) -> None:
        """End the connection; the system, too, forgets what was not read."""
        own = self.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _end_if_silent(self) -> None:
        """Close the connection unless a request is being answered; then look again later."""
        if self.is_idle:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(SILENCE_S_MAX, self._end_if_silent)


def _is_idle(protocol: Any) -> bool:
    """Return whether a connection of the server is one of ours that asks for nothing."""
    return isinstance(protocol, GuardedProtocol) and protocol.is_idle
