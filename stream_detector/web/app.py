"""What the page may ask: its files, a picture a second, lanes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream_detector.core.records import RecordBatch
from stream_detector.errors import RecordDecodeError
from stream_detector.outputs.alerts import parse_alert
from stream_detector.ports import Clock
from stream_detector.web.alert_board import AlertBoard
from stream_detector.web.events import EventStreams
from stream_detector.web.guards import Guard
from stream_detector.web.input_watch import InputWatch
from stream_detector.web.reading import TopicReader

SEARCH_CHARACTERS_MAX = 256

_PAGE = {
    "/": ("console.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
}
"""The files of the page by path; no other file can be asked for."""


@dataclass(slots=True)
class LivePage:
    """What the page shows.

    Parameters
    ----------
    title
        Name of the bundle.
    board
        The alerts.
    watch
        What comes on the input topic.
    readers
        What fills both.
    clock
        The time of the machine.
    """

    title: str
    board: AlertBoard
    watch: InputWatch
    readers: Sequence[TopicReader]
    clock: Clock

    def picture(self) -> dict[str, Any]:
        """Return what the page shows now, as values that JSON has."""
        now_ms = self.clock.now_ms()
        return {
            "title": self.title,
            "now_ms": now_ms,
            "topics": [
                {
                    "topic": each.topic,
                    "problem": each.problem,
                    "is_connected": each.is_connected,
                    "n_records": each.n_records,
                    "lag_records": each.lag_records,
                }
                for each in self.readers
            ],
            "alerts": self.board.picture(now_ms),
            "input": self.watch.picture(),
        }


def take_alerts(board: AlertBoard, batch: RecordBatch) -> None:
    """Add the alerts of a batch to a board; a record that holds none is counted."""
    for value in batch.values:
        if value is None:
            continue
        try:
            board.add(parse_alert(value))
        except RecordDecodeError:
            board.add_foreign()


def make_app(console: LivePage, password: str | None) -> ASGIApp:
    """Return the page as an ASGI application.

    Parameters
    ----------
    console
        What it shows.
    password
        See `Guard`.
    """
    events = EventStreams(lambda: orjson.dumps(console.picture()))
    routes = [
        *(Route(path, _file(*names)) for path, names in _PAGE.items()),
        Route("/lanes", partial(_lanes, console)),
        Route("/events", events),
    ]
    return Guard(Starlette(routes=routes), password)


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    """Return an endpoint that answers with a file of the page."""
    content = files("stream_detector.web").joinpath("page", name).read_bytes()

    def endpoint(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


async def _lanes(console: LivePage, request: Request) -> Response:
    """Answer with the lanes of the keys that were searched for."""
    search = request.query_params.get("search", "")[:SEARCH_CHARACTERS_MAX]
    now_ms = console.clock.now_ms()
    return JSONResponse(await run_in_threadpool(console.watch.lanes.picture, search, now_ms))
