"""Carry the alerts of one route: read, decide, deliver, and commit what was delivered.

Each route is a consumer group of its own with a client of its own, so one whose sink is down holds
up no other. One turn polls, delivers what is due and commits. While a sink does not answer, events
wait in memory up to a limit, partitions are paused at that, and polls go on, so the group knows
that the route is alive. Whatever was not delivered when the process dies is read again.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import (
    OffsetAndMetadata,
    RecordBatch,
    RecordMetadata,
    TopicPartition,
)
from stream_detector.errors import DataError, StreamDetectorError
from stream_detector.outputs.alerts import parse_alert
from stream_detector.outputs.routing.delivery import Deliverer, RouteContext
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.routing.state import Position, RoutedEvent, RouteState
from stream_detector.telemetry import log_event

POLL_RECORDS_MAX = 1_000
POLL_MS = 200

TURN_S_MAX = 2.0
"""After so long a turn delivers no more, so that the group hears of the route."""

_RESET_S_MIN = 0.1
_RESET_S_MAX = 2.0
"""Waits between attempts to reach Kafka."""


@dataclass(slots=True)
class _Partitions:
    """What is known of the partitions that are assigned.

    Parameters
    ----------
    assigned
        All of them.
    live_from
        Committed offset of each partition that is being read once more from before it.
    positions
        What was stored beside it.
    committed
        What was committed last.
    """

    assigned: frozenset[TopicPartition] = frozenset()
    live_from: dict[TopicPartition, int] = field(default_factory=dict)
    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    committed: dict[TopicPartition, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are read by another now."""
        for each in partitions:
            for known in (self.live_from, self.positions, self.committed):
                known.pop(each, None)


class RouteRunner:
    """One route.

    Parameters
    ----------
    context
        What it works with.
    state
        Which alerts have joined: none yet.
    outbox
        What waits: nothing yet.
    why_held
        Says which silence or calendar holds an alert back, for the log.

    Attributes
    ----------
    turned_s
        When the last turn began, in seconds of the clock.
    deliverer
        Hands events to the sink.
    is_assigned
        Whether the group has assigned partitions.
    """

    def __init__(
        self,
        context: RouteContext,
        state: RouteState,
        outbox: Outbox,
        why_held: Callable[[Alert], str | None],
    ) -> None:
        self.context = context
        self.turned_s = context.clock.monotonic_s()
        self.deliverer = Deliverer(context)
        self.is_assigned = False
        self._busy_s = self.turned_s
        self._state = state
        self._outbox = outbox
        self._why_held = why_held
        self._partitions = _Partitions()
        self._refresh_at_s = self.turned_s + (context.sink.refresh_s or 0.0)
        self._repeated_ms = 0
        self._is_paused = self._has_repeated = False

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Carry alerts until asked to stop.

        Raises
        ------
        StreamDetectorError
            If Kafka was away for too long, or refuses.
        """
        clock, failing_since_s, wait_s = self.context.clock, None, _RESET_S_MIN
        try:
            while not is_stopping():
                try:
                    self.turn()
                except StreamDetectorError as error:
                    now_s = clock.monotonic_s()
                    failing_since_s = now_s if failing_since_s is None else failing_since_s
                    if not error.retriable or self._is_over(now_s - failing_since_s):
                        raise
                    self._start_over(error)
                    clock.sleep(wait_s)
                    wait_s = min(2 * wait_s, _RESET_S_MAX)
                else:
                    failing_since_s, wait_s = None, _RESET_S_MIN
        finally:
            self.context.client.close()

    @property
    def name(self) -> str:
        """Name of the route."""
        return self.context.name

    @property
    def idle_s(self) -> float:
        """For how many seconds there has been nothing to read or send."""
        return self.context.clock.monotonic_s() - self._busy_s

    def turn(self) -> bool:
        """Poll, deliver what is due, and commit; return whether there was anything to do.

        Raises
        ------
        StreamDetectorError
            If Kafka or a Schema Registry fails; `run` then starts over from what was committed.
        """
        self.turned_s = now_s = self.context.clock.monotonic_s()
        is_due = now_s >= self.deliverer.again_s and bool(self._outbox.next_delivery(now_s))
        self._pace()
        batch = self.context.client.poll(POLL_RECORDS_MAX, 0 if is_due else POLL_MS)
        again = self._take_assignment()
        if self.context.silences is not None:  # one that was made before an alert holds it
            self.context.silences.catch_up(is_quick=not len(batch))
        n_read = self._take_in(batch, again)
        self._end_restores()
        n_sent = 0
        if not self._partitions.live_from:
            self._repeat()
            n_sent = self._deliver()
            self._commit()
        self._show()
        is_busy = bool(n_read or n_sent or len(self._outbox) or self._partitions.live_from)
        if is_busy or not self.context.client.has_fetched():
            self._busy_s = self.context.clock.monotonic_s()
        return is_busy

    def _pace(self) -> None:
        """Read no more while too much waits."""
        client = self.context.client
        if self._outbox.is_full:
            client.pause(client.assignment())
            self._is_paused = True
        elif self._is_paused:
            client.resume(client.assignment())
            self._is_paused = False

    def _take_assignment(self) -> frozenset[TopicPartition]:
        """Forget partitions that were lost, and prepare those that are new.

        Returns
        -------
        Partitions that are read once more from before their committed offset, so that what was
        polled of them comes again.
        """
        client, known = self.context.client, self._partitions
        new, mine = client.newly_assigned(), client.assignment()
        gone = (known.assigned - mine) | new
        if gone:
            known.forget(gone)
            self._state.drop_partitions(gone)
            self._outbox.drop_partitions(gone)
        known.assigned = mine
        self.is_assigned = bool(mine)
        if not new:
            return frozenset()
        ends, again = client.end_offsets(new), set()
        for partition, saved in client.committed(new).items():
            if saved is None or saved.next_offset > ends[partition]:  # new, or made anew
                continue
            position = Position.decode(saved.metadata, saved.next_offset)
            known.committed[partition] = (saved.next_offset, position.joined)
            self._repeated_ms = max(self._repeated_ms, position.repeated_ms)
            if position.joined:
                client.seek(partition, position.joined[0])
                known.live_from[partition] = saved.next_offset
                known.positions[partition] = position
                again.add(partition)
                self._refresh_at_s = 0.0  # whoever had it before may have been away for long
        return frozenset(again)

    def _take_in(self, batch: RecordBatch, again: frozenset[TopicPartition]) -> int:
        """Take in the alerts of a batch; return how many records it held."""
        known, now_s, now_ms = self._partitions, *self._now()
        for index, value in enumerate(batch.values):
            metadata = batch.metadata(index)
            partition = TopicPartition(metadata.topic, metadata.partition)
            event = None if partition in again else self._read(metadata, value)
            if event is None:
                continue
            event = self._state.complete(event)
            if metadata.offset < known.live_from.get(partition, 0):
                self._state.replay(event, known.positions[partition])
                continue
            outcome = self._state.add(event, now_ms)
            self.context.metrics.events.labels(self.context.name, outcome).inc()
            if outcome == "due":
                self._outbox.put([event], now_s)
            elif outcome == "silenced":
                self._log_held(event)
        return len(batch)

    def _read(self, metadata: RecordMetadata, value: bytes | None) -> RoutedEvent | None:
        """Return the alert of a record; None where it holds none."""
        if value is None:
            return None
        try:
            text = self.context.schemas.read_alert(value)
            return RoutedEvent(parse_alert(text), text, metadata, value)
        except DataError as problem:
            topic = metadata.topic
            log_event(logging.WARNING, "not-an-alert", topic=topic, reason=str(problem))
            self.context.metrics.events.labels(self.context.name, "not_an_alert").inc()
            return None

    def _end_restores(self) -> None:
        """Let partitions be live whose records before the committed offset were read again."""
        known = self._partitions
        if known.live_from:
            reached = self.context.client.positions(known.live_from)
            for partition, offset in list(known.live_from.items()):
                if reached.get(partition, 0) >= offset:
                    del known.live_from[partition], known.positions[partition]

    def _repeat(self) -> None:
        """Let what is still open wait to be sent once more, where that is due."""
        now_s, now_ms = self._now()
        if not self._outbox.has_repeats:
            self._repeated_ms = now_ms
            self._outbox.put(self._state.repeats(now_ms), now_s)
        n_stale = self._state.drop_stale(now_ms)
        if n_stale:
            log_event(logging.WARNING, "alerts-given-up", route=self.context.name, n_alerts=n_stale)

    def _deliver(self) -> int:
        """Send what is due, for a while; return how many events were."""
        sink, clock, n_sent = self.context.sink, self.context.clock, 0
        until_s = clock.monotonic_s() + TURN_S_MAX
        while (now_s := clock.monotonic_s()) < until_s and now_s >= self.deliverer.again_s:
            is_open = self._state.open
            is_refresh = sink.refresh_s is not None and is_open and now_s >= self._refresh_at_s
            events = () if is_refresh else self._outbox.next_delivery(now_s)
            if not events and not is_refresh:
                break
            if not self.deliverer.attempt(events, is_open):
                continue
            if is_refresh:
                self._refresh_at_s = now_s + (sink.refresh_s or 0.0)
            elif events:
                self._outbox.take(events, now_s)
                self._state.on_sent(events)
                self._has_repeated |= any(each.repeat for each in events)
                n_sent += len(events)
        return n_sent

    def _commit(self) -> None:
        """Commit what was delivered, with what a restart needs, where that has changed."""
        client, known, waiting = self.context.client, self._partitions, self._outbox.first_offsets()
        next_offsets = {
            each: min(offset, waiting.get(each, offset))
            for each, offset in client.positions(known.assigned).items()
        }
        found = self._state.positions(next_offsets, self._repeated_ms)
        changed = {
            each: OffsetAndMetadata(offset, found[each].encode(offset))
            for each, offset in next_offsets.items()
            if self._has_repeated or known.committed.get(each) != (offset, found[each].joined)
        }
        if changed:
            client.commit(changed)
            known.committed |= {each: (next_offsets[each], found[each].joined) for each in changed}
            self._has_repeated = False

    def _start_over(self, error: StreamDetectorError) -> None:
        """Forget all that was not committed, and connect again."""
        context, known = self.context, self._partitions
        log_event(logging.WARNING, "route-retrying", route=context.name, reason=error)
        self._state.drop_partitions(known.assigned)
        self._outbox.drop_partitions(known.assigned)
        self._partitions = _Partitions()
        self._is_paused = False
        context.client.reset()

    def _log_held(self, event: RoutedEvent) -> None:
        """Say that a silence or a calendar holds an alert back, but for periodic updates."""
        alert = event.alert
        if alert.reason != "periodic":
            log_event(
                logging.INFO,
                "alert-silenced",
                route=self.context.name,
                key=alert.key,
                alert_id=alert.alert_id,
                number=alert.event_number,
                why=self._why_held(alert) or "",
            )

    def _show(self) -> None:
        """Show in metrics what is open and what waits."""
        metrics, name = self.context.metrics, self.context.name
        metrics.open_alerts.labels(name).set(len(self._state.open))
        metrics.waiting.labels(name).set(len(self._outbox))
        metrics.failing.labels(name).set(self.deliverer.failing_since_s is not None)

    def _is_over(self, failing_s: float) -> bool:
        """Return whether Kafka was away for too long."""
        return failing_s >= self.context.broker_timeout_s

    def _now(self) -> tuple[float, int]:
        """Return the time, in seconds that never go backwards and in milliseconds of the day."""
        return self.context.clock.monotonic_s(), self.context.clock.now_ms()
