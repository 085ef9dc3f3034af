"""What the tests of `route` share: alerts, a clock, sinks that record, and a route on memory."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from stream_detector.clients.memory import MemoryBroker, MemoryClient
from stream_detector.core.alerting.alert import Alert, AlertEvent, AlertReason, encode_alert
from stream_detector.core.records import RecordMetadata, TopicPartition
from stream_detector.outputs.alerts import parse_alert
from stream_detector.outputs.routing.delivery import RouteContext
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.routing.runner import RouteRunner
from stream_detector.outputs.routing.silences import SilenceTopic
from stream_detector.outputs.routing.state import RoutedEvent, RouteState, Rules
from stream_detector.outputs.sinks import Sink, SinkError
from stream_detector.ports import NoSchemas
from stream_detector.telemetry import RouteMetrics

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = parse_alert((ROOT / "docs" / "alert.example.json").read_bytes())
START_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC, a Thursday."""

REASONS: dict[AlertEvent, AlertReason] = {
    "open": "anomalous",
    "update": "severity",
    "close": "recovered",
}


def make_event_alert(
    name: str,
    event: AlertEvent = "open",
    number: int = 1,
    *,
    at_ms: int = START_MS,
    **changes: Any,
) -> Alert:
    """Return an event of an alert of samples; all of its times are the same unless given."""
    given: dict[str, Any] = {
        "alert_id": name,
        "event": event,
        "event_number": number,
        "key": name,
        "severity": "warning",
        "reason": REASONS[event],
        "event_time_ms": at_ms,
        "opened_ms": at_ms,
        "detected_at_ms": at_ms,
    }
    return replace(EXAMPLE, **(given | changes))


def life_of(name: str, at_ms: int = START_MS) -> list[Alert]:
    """Return an open, a rise and a close, 10 s after each other."""
    more = {"opened_ms": at_ms, "severity": "critical", "anomaly_score": 9.0}
    return [
        make_event_alert(name, at_ms=at_ms),
        make_event_alert(name, "update", 2, at_ms=at_ms + 10_000, **more),
        make_event_alert(name, "close", 3, at_ms=at_ms + 20_000, **more),
    ]


def chain_of(names: str) -> list[Alert]:
    """Return alerts each of which continues the one before; only the last recovers."""
    events = []
    for former, name in zip(["", *names], names, strict=False):
        opened, risen, closed = life_of(name)
        if former:
            opened = replace(opened, reason="continued", continues_alert_id=former)
        if name != names[-1]:
            closed = replace(closed, reason="continued")
        events += [opened, risen, closed]
    return events


def routed(alert: Alert, offset: int = 0, partition: int = 0) -> RoutedEvent:
    """Return an event as it was read."""
    value = orjson.dumps(alert)
    metadata = RecordMetadata("alerts", partition, offset, 0, alert.key.encode(), ())
    return RoutedEvent(alert, value, metadata, value)


def publish(broker: MemoryBroker, alerts: Iterable[Alert], partition: int = 0) -> None:
    """Write alerts to the topic `alerts`."""
    records = [
        encode_alert(each, "alerts", each.key.encode(), each.detected_at_ms) for each in alerts
    ]
    broker.feed("alerts", records, partition)


class SettableClock:
    """A time that goes on only when it is told to; both kinds of it go together."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.start_ms = self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return 1_000 + (self.at_ms - self.start_ms) / 1_000

    def sleep(self, seconds: float) -> None:
        self.at_ms += round(1_000 * seconds)


@dataclass
class RecordingSink:
    """Keeps the ids of what it is sent, a list for each delivery.

    Attributes
    ----------
    problem
        Raised instead, while it is set.
    """

    refresh_s: float | None = None
    problem: SinkError | None = None
    n_attempts: int = 0
    sent: list[list[str]] = field(default_factory=list)
    open: list[list[str]] = field(default_factory=list)

    def deliver(self, events: Sequence[RoutedEvent], is_open: Sequence[RoutedEvent]) -> None:
        self.n_attempts += 1
        if self.problem is not None:
            raise self.problem
        self.sent.append([each.event_id for each in events])
        self.open.append([each.event_id for each in is_open])

    @property
    def ids(self) -> list[str]:
        """All ids in their order."""
        return [each for events in self.sent for each in events]


@dataclass
class RouteWorld:
    """A route on a memory broker, which can die and be started again.

    Attributes
    ----------
    why_held
        May be changed at any time.
    has_silences
        Whether silences are read from the topic `silences`.
    """

    sink: Sink
    rules: Rules = field(default_factory=Rules)
    make_outbox: Callable[[], Outbox] = Outbox
    attempts_max: int | None = 20
    n_partitions: int = 1
    clock: SettableClock = field(default_factory=SettableClock)
    broker: MemoryBroker = field(init=False)
    metrics: RouteMetrics = field(default_factory=RouteMetrics)
    why_held: Callable[[Alert], str | None] = lambda _: None
    has_silences: bool = False
    runner: RouteRunner = field(init=False)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock.now_ms)
        self.broker.create_topic("alerts", self.n_partitions)
        self.broker.create_topic("dead-letters")
        self.start()

    def start(self, **options: Any) -> RouteRunner:
        """Start the route; one that ran before is to be killed first."""
        self.client = self.connect(**options)
        silences = SilenceTopic(
            "silences", lambda: self.broker.connect(topics=["silences"]), self.clock
        )
        context = RouteContext(
            "pager",
            self.client,
            NoSchemas(),
            self.sink,
            self.clock,
            self.metrics,
            self.attempts_max,
            silences=silences if self.has_silences else None,
        )

        def why_held(alert: Alert) -> str | None:
            return silences.book.why_held(alert) or self.why_held(alert)

        state = RouteState(self.rules, why_held)
        self.runner = RouteRunner(context, state, self.make_outbox(), why_held)
        return self.runner

    def connect(self, **options: Any) -> MemoryClient:
        """Return a member of the group of the route."""
        return self.broker.connect(topics=["alerts"], group="pager", **options)

    def kill(self) -> None:
        """End the process with nothing finished."""
        self.client.reset()

    def publish(self, *alerts: Alert, partition: int = 0) -> None:
        """Write alerts."""
        publish(self.broker, alerts, partition)

    def settle(self, n_turns: int = 3) -> None:
        """Let the route do what it has to."""
        for _ in range(n_turns):
            self.runner.turn()

    @property
    def committed(self) -> int:
        """The committed offset of partition 0."""
        return self.broker.committed["pager"][TopicPartition("alerts", 0)].next_offset


@dataclass
class HttpReceiver:
    """Takes what is posted to it over real HTTP.

    Attributes
    ----------
    url
        Its address.
    posts
        Path, headers in lower case, and body of each request that was taken.
    status
        Which status it answers with; what is not taken is only counted.
    """

    url: str = ""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    location: str = ""
    n_refused: int = 0

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the requests as JSON."""
        return [orjson.loads(body) for _, _, body in self.posts]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of all requests to an Alertmanager."""
        return [each for body in self.bodies for each in body]


@contextmanager
def receiving() -> Iterator[HttpReceiver]:
    """Serve while the block lasts."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if 200 <= receiver.status < 300:
                headers = {name.lower(): each for name, each in self.headers.items()}
                receiver.posts.append((self.path, headers, body))
            else:
                receiver.n_refused += 1
            self.send_response(receiver.status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.end_headers()
            self.wfile.write(b"said \x1b[31m so")

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
