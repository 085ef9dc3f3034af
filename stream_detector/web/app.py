"""What the page may ask: its files, a picture a second, lanes, and one key over some time."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream_detector.core.records import RecordBatch
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.errors import DataError, StreamDetectorError
from stream_detector.outputs.alerts import parse_alert
from stream_detector.outputs.dead_letters import Snapshot
from stream_detector.ports import Clock, SchemaSource
from stream_detector.web import charts
from stream_detector.web.alert_board import AlertBoard, name_of, overlap, shown_alert
from stream_detector.web.events import EventStreams
from stream_detector.web.guards import Guard
from stream_detector.web.history import History, Stretch
from stream_detector.web.images import as_values
from stream_detector.web.input_watch import InputWatch
from stream_detector.web.key_view import ALERTS_MAX, KeyView
from stream_detector.web.letters import read_letters
from stream_detector.web.reading import TopicReader
from stream_detector.web.what_if import Settings, WhatIf

SEARCH_CHARACTERS_MAX = 256
SPAN_WINDOWS = 10
"""How many windows are shown of a key at first."""

WINDOWS_SPAN_MS = 20_000.0
"""How long a time is shown at least where records are whole windows, with pauses between them."""

SPAN_MS_MAX = 7 * 86_400_000
HOURS_MAX = 24.0
LOOKS_MAX = 2
"""Most keys that are looked at at a time; others wait."""

WAITING_MAX = 16
"""Most questions of a kind that wait for their turn; one more is refused."""

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
    history
        Reads the input topic once more.
    key_view
        Looks at single keys.
    what_if
        Tries settings on the past.
    take_snapshot
        Returns what the dead-letter topic holds now.
    """

    title: str
    board: AlertBoard
    watch: InputWatch
    readers: Sequence[TopicReader]
    clock: Clock
    history: History
    key_view: KeyView
    what_if: WhatIf
    take_snapshot: Callable[[], Snapshot]

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

    def look(self, question: "Question") -> dict[str, Any]:
        """Return what a key looked like over some time, as values that JSON has."""
        partition, newest_ms = self.watch.lanes.place_of(question.key)
        window_ms = self.key_view.lead_ms / 2
        usual_ms = SPAN_WINDOWS * window_ms
        if not self.board.closes:
            usual_ms = max(usual_ms, WINDOWS_SPAN_MS)
            newest_ms += bool(newest_ms) * round(window_ms)  # it is known when the newest began
        span_ms = question.span_ms or usual_ms
        end_ms = (newest_ms or self.clock.now_ms()) if question.end_ms is None else question.end_ms
        stretch = Stretch(end_ms - span_ms, end_ms)
        wide = Stretch(stretch.start_ms - self.key_view.lead_ms, end_ms)
        batches = self.history.read(wide, partition)
        lines = self.key_view.look(question.key, batches, stretch)
        found = self.board.of_key(question.key, map(shown_alert, lines.alerts))
        alerts, spans = self._within(found, stretch)
        is_image = self.key_view.served.bundle.image is not None
        chosen = (
            [] if is_image else charts.chosen_features(lines)
        )  # a column of pixels says nothing
        columns = charts.columns_of(lines, chosen, spans)
        features = self.key_view.served.bundle.features
        names = charts.feature_names(features, chosen)
        return {
            "name": name_of(question.key),
            "start_ms": stretch.start_ms,
            "end_ms": stretch.end_ms,
            "newest_ms": newest_ms,
            "n_samples": len(lines.times_ms),
            "n_scores": len(lines.scores_ms),
            "n_features_left_out": 0 if is_image else len(features) - len(chosen),
            "alerts": alerts[::-1],
            "images": as_values(lines.images),
            "names": names,
            "columns": columns,
            "item": charts.draw(columns, names, stretch, is_dark=question.is_dark)
            if question.has_figure
            else None,
        }

    def _within(
        self, alerts: Sequence[dict[str, Any]], stretch: Stretch
    ) -> tuple[list[dict[str, Any]], list[Stretch]]:
        """Return the newest alerts in a stretch, and from the fault's start to when each closed."""
        inside = [each for each in alerts if overlap(self.board.extent(each), stretch)][
            -ALERTS_MAX:
        ]
        spans = []
        for each in inside:
            start_ms, end_ms = self.board.extent(each)
            if each["event"] == "close":
                end_ms = max(end_ms, each["event_time_ms"])
            spans.append(Stretch(start_ms, min(end_ms, max(each["span_ms"][1], stretch.end_ms))))
        return inside, spans


class Question(NamedTuple):
    """What of which key is to be shown.

    Parameters
    ----------
    key
        The key, as text.
    end_ms
        Where the stretch of time ends; None takes the newest sample.
    span_ms
        How long it is; None takes some windows.
    is_dark
        Whether the page is dark.
    has_figure
        Whether the figure is wanted, and not only its columns.
    """

    key: str
    end_ms: float | None
    span_ms: float | None
    is_dark: bool
    has_figure: bool


def take_alerts(board: AlertBoard, schemas: SchemaSource, batch: RecordBatch) -> None:
    """Add the alerts of a batch to a board; a record that holds none is counted.

    Raises
    ------
    SchemaRegistryError
        If an alert names a schema, and the registry does not answer or refuses.
    """
    for value in batch.values:
        if value is None:
            continue
        try:
            board.add(parse_alert(schemas.read_alert(value)))
        except DataError:
            board.add_foreign()


class Turns:
    """Lets a few questions of a kind be worked on at a time, and so many wait.

    Parameters
    ----------
    n_at_a_time
        How many are worked on.
    """

    def __init__(self, n_at_a_time: int) -> None:
        self._turns = asyncio.Semaphore(n_at_a_time)
        self._n_left = n_at_a_time + WAITING_MAX

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self._n_left == 0

    async def run(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what some work gives, once it is its turn; not where it is full."""
        self._n_left -= 1
        try:
            async with self._turns:
                return await run_in_threadpool(work)
        finally:
            self._n_left += 1


def make_app(page: LivePage, password: str | None) -> ASGIApp:
    """Return the page as an ASGI application.

    Parameters
    ----------
    page
        What it shows.
    password
        See `Guard`.
    """
    events = EventStreams(lambda: orjson.dumps(page.picture()), lambda: page.board.n_events)
    routes = [
        *(Route(path, _file(*names)) for path, names in _PAGE.items()),
        Route("/lanes", partial(_lanes, page)),
        Route("/key", partial(_look, page, Turns(LOOKS_MAX))),
        Route("/what-if", partial(_try_out, page, Turns(1))),
        Route("/dead-letters", partial(_letters, page, Turns(1))),
        Route("/bokeh.js", _script()),
        Route("/events", events),
    ]
    return Guard(Starlette(routes=routes), password)


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    """Return an endpoint that answers with a file of the page."""
    content = files("stream_detector.web").joinpath("page", name).read_bytes()

    def endpoint(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


def _script() -> Callable[[Request], Response]:
    """Return an endpoint that answers with the JavaScript of the charts, from their package."""

    def endpoint(_: Request) -> Response:
        kept = {"cache-control": "private, max-age=3600"}
        return FileResponse(charts.script_path(), media_type="text/javascript", headers=kept)

    return endpoint


async def _look(page: LivePage, looks: Turns, request: Request) -> Response:
    """Answer with what a key looked like, or with why it cannot be said."""
    asked = request.query_params
    end_ms, span_ms = _number(asked.get("end_ms")), _number(asked.get("span_ms"))
    if span_ms is not None:
        span_ms = min(max(span_ms, page.key_view.interval_ms), SPAN_MS_MAX)
    key, is_dark = asked.get("key", ""), asked.get("dark") == "1"
    question = Question(key, end_ms, span_ms, is_dark, asked.get("figure") == "1")
    return await _answer(looks, partial(page.look, question))


async def _try_out(page: LivePage, turns: Turns, request: Request) -> Response:
    """Answer with which alerts other settings would have given."""
    asked = request.query_params
    own = page.what_if.own

    def given(name: str, default: float) -> float:
        number = _number(asked.get(name))
        return default if number is None else number

    wanted = Settings(
        given("factor", own.factor),
        int(given("open_after", own.open_after)),
        int(given("open_within", own.open_within)),
        int(given("close_after_ms", own.close_after_ms)),
    )
    hours = min(given("hours", 1.0), HOURS_MAX)
    newest_ms = page.watch.lanes.newest_ms or page.clock.now_ms()
    return await _answer(turns, partial(page.what_if.try_out, wanted, hours, newest_ms))


async def _letters(page: LivePage, turns: Turns, _: Request) -> Response:
    """Answer with dead letters by reason."""
    return await _answer(turns, partial(read_letters, page.take_snapshot))


async def _answer(turns: Turns, work: Callable[[], dict[str, Any]]) -> Response:
    """Answer with what some work gives, or with why it cannot be said."""
    if turns.is_full:
        problem = f"{WAITING_MAX} such questions wait for their turn; ask again in a while"
        return JSONResponse({"problem": problem}, 503)
    try:
        answer = await turns.run(work)
    except StreamDetectorError as error:
        return JSONResponse({"problem": str(error)}, 503)
    return Response(orjson.dumps(answer), media_type="application/json")


def _number(text: str | None) -> float | None:
    """Return a time in milliseconds that a request gives; None where it gives none."""
    try:
        number = float(text or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= TIMESTAMP_MS_MAX else None


async def _lanes(page: LivePage, request: Request) -> Response:
    """Answer with the lanes of the keys that were searched for."""
    search = request.query_params.get("search", "")[:SEARCH_CHARACTERS_MAX]
    now_ms = page.clock.now_ms()
    return JSONResponse(await run_in_threadpool(page.watch.lanes.picture, search, now_ms))
