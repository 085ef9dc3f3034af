"""Server-sent events: a picture a second to each open page, and sooner where alerts came."""

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

EVERY_S = 1.0
"""Time between two pictures where nothing is new."""

SOON_S = 0.5
"""Least time between two pictures that are sent because something is new. So a single alert is on
the page at once, and any number of them cost two pictures a second."""

CHECK_S = 0.05
"""How often it is looked whether something is new."""

STREAMS_MAX = 64
"""Most pages that are kept up to date at a time."""

_HEADERS = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class EventStreams:
    """Sends pictures to any number of pages, each made once.

    Parameters
    ----------
    picture
        Returns what to send, as one line of JSON.
    version
        Returns a number that is another one where something is new.
    """

    def __init__(self, picture: Callable[[], bytes], version: Callable[[], int]) -> None:
        self._picture = picture
        self._version = version
        self._made_at_s = self._hurried_at_s = float("-inf")
        self._made_version = version()
        self._newest = b""
        self.n_streams = 0

    def newest(self, old_after_s: float) -> bytes:
        """Return the newest picture as an event; it is made where the last one is too old.

        Parameters
        ----------
        old_after_s
            From which age on; where something is new, it may be younger.
        """
        now_s, version = time.monotonic(), self._version()
        is_new = version != self._made_version and now_s - self._hurried_at_s >= SOON_S
        if is_new or now_s - self._made_at_s >= old_after_s:
            self._newest = b"data: " + self._picture() + b"\n\n"
            self._made_at_s, self._made_version = now_s, version
            if is_new:
                self._hurried_at_s = now_s
        return self._newest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the page goes; a connection that does not read them ends."""
        if self.n_streams >= STREAMS_MAX:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b"too many pages are open\n"})
            return
        self.n_streams += 1
        request = Request(scope, receive)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            while not await request.is_disconnected():
                event = self.newest(EVERY_S / 2)
                body = {"type": "http.response.body", "body": event, "more_body": True}
                await send(body)  # waits for a slow page, which is then sent what is newest
                until_s = time.monotonic() + EVERY_S
                while self.newest(EVERY_S) is event and time.monotonic() < until_s:
                    await asyncio.sleep(CHECK_S)
        finally:
            self.n_streams -= 1
