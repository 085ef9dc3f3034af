"""Hand events to the sink of a route: try again, ever more slowly, and in the end give them up."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.records import Rejected
from stream_detector.errors import AlertUndeliveredError
from stream_detector.outputs.routing.silences import SilenceTopic
from stream_detector.outputs.routing.state import RoutedEvent
from stream_detector.outputs.sinks import Sink, SinkError
from stream_detector.ports import Client, Clock, SchemaSource
from stream_detector.telemetry import RouteMetrics, log_event

BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 60.0
"""Waits between attempts: twice as long each time, and of that between a half and all."""

LOG_EVERY_S = 5.0
"""Shortest time between two log lines about a sink that does not take what it is sent."""

DEAD_LETTER_BYTES_MAX = 1_048_000
FLUSH_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class RouteContext:
    """What a route works with; it does not change while the route runs.

    Parameters
    ----------
    name
        Name of the route.
    client
        Reads the alerts topic in the group of the route, and writes its dead letters.
    schemas
        Reads alerts in Avro.
    sink
        Takes the events.
    clock
        The time.
    metrics
        Of all routes of the process.
    attempts_max
        After so many attempts events become dead letters; None tries for ever.
    dead_letter_topic
        The topic of those.
    broker_timeout_s
        How long Kafka may be away.
    silences
        What silences alerts; None where nothing does.
    """

    name: str
    client: Client
    schemas: SchemaSource
    sink: Sink
    clock: Clock
    metrics: RouteMetrics
    attempts_max: int | None = None
    dead_letter_topic: str = "dead-letters"
    broker_timeout_s: float = 60.0
    silences: SilenceTopic | None = None


class Deliverer:
    """Hands events to a sink.

    Parameters
    ----------
    context
        Of the route.

    Attributes
    ----------
    again_s
        Before this time of the clock no attempt is to be made.
    failing_since_s
        Since when the sink has taken nothing; None where it takes what it is sent.
    """

    def __init__(self, context: RouteContext) -> None:
        self.again_s = 0.0
        self.failing_since_s: float | None = None
        self._context = context
        self._n_failed = 0
        self._logged_s = -LOG_EVERY_S
        self._random = random.Random()  # noqa: S311  (spreads retries, hides nothing)

    def attempt(self, events: Sequence[RoutedEvent], is_open: Sequence[RoutedEvent]) -> bool:
        """Try once to deliver; return whether that is done: delivered, or given up.

        Parameters
        ----------
        events, is_open
            As in `Sink.deliver`.

        Raises
        ------
        BrokerError
            If dead letters were to be written, and Kafka did not take them.
        """
        context = self._context
        try:
            context.sink.deliver(events, is_open)
        except SinkError as error:
            context.metrics.deliveries.labels(context.name, "failed").inc()
            return self._fail(error, events)
        if self.failing_since_s is not None:
            after_s = f"{context.clock.monotonic_s() - self.failing_since_s:.0f}"
            log_event(logging.INFO, "sink-answers", route=context.name, after_s=after_s)
        self.failing_since_s, self._n_failed, self.again_s = None, 0, 0.0
        context.metrics.deliveries.labels(context.name, "delivered").inc()
        return True

    def _fail(self, error: SinkError, events: Sequence[RoutedEvent]) -> bool:
        """Wait before the next attempt, or give the events up; return whether they were."""
        now_s, n_max = self._context.clock.monotonic_s(), self._context.attempts_max
        if self.failing_since_s is None:
            self.failing_since_s = now_s
        wait_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(self._n_failed, 20))
        self.again_s = now_s + wait_s * (0.5 + self._random.random() / 2)
        self._n_failed += 1
        if n_max is not None and events and (error.is_final or self._n_failed >= n_max):
            self._write_dead_letters(error, events)
            self._n_failed, self.again_s = 0, 0.0
            return True
        if now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            log_event(
                logging.WARNING,
                "sink-failed",
                route=self._context.name,
                reason=error,
                again_in_s=f"{self.again_s - now_s:.1f}",
            )
        return False

    def _write_dead_letters(self, error: SinkError, events: Sequence[RoutedEvent]) -> None:
        """Write events to the dead-letter topic; repeats are dropped."""
        context = self._context
        rejected = Rejected(0, AlertUndeliveredError(f"route {context.name}: {error}"), "deliver")
        topic = context.dead_letter_topic
        letters = [
            encode_dead_letter(rejected, each.value, each.metadata, topic, DEAD_LETTER_BYTES_MAX)
            for each in events
            if not each.repeat
        ]
        context.client.produce(letters)
        context.client.flush(FLUSH_TIMEOUT_MS)
        context.metrics.deliveries.labels(context.name, "dead_letter").inc()
        log_event(
            logging.ERROR,
            "alerts-not-delivered",
            route=context.name,
            n_alerts=len(letters),
            first=events[0].metadata.place,
            reason=error,
        )
