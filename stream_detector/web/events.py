"""Server-sent events: one picture a second to each page that is open."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

EVERY_S = 1.0
"""Time between two pictures."""

SEND_S_MAX = 10.0
"""How long a page may take to read one; after that its connection ends."""

STREAMS_MAX = 64
"""Most pages that are kept up to date at a time."""

_HEADERS = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class EventStreams:
    """Sends pictures to any number of pages, each made once.

    Parameters
    ----------
    picture
        Returns what to send, as one line of JSON.
    every_s
        Time between two pictures.
    """

    def __init__(self, picture: Callable[[], bytes], every_s: float = EVERY_S) -> None:
        self._picture = picture
        self._every_s = every_s
        self._made_at_s = float("-inf")
        self._newest = b""
        self.n_streams = 0

    def newest(self) -> bytes:
        """Return the newest picture as an event; it is made where the last one is too old."""
        if time.monotonic() - self._made_at_s >= self._every_s / 2:
            self._newest = b"data: " + self._picture() + b"\n\n"
            self._made_at_s = time.monotonic()
        return self._newest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the page goes, or is too slow."""
        if self.n_streams >= STREAMS_MAX:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b"too many pages are open\n"})
            return
        self.n_streams += 1
        request = Request(scope, receive)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            with contextlib.suppress(TimeoutError):  # the page does not read: its connection ends
                while not await request.is_disconnected():
                    body = {"type": "http.response.body", "body": self.newest(), "more_body": True}
                    await asyncio.wait_for(send(body), SEND_S_MAX)
                    await asyncio.sleep(self._every_s)
        finally:
            self.n_streams -= 1
