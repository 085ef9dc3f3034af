"""What is waiting to be sent by a route, and when: one by one, together, or not so fast. Pure."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import TopicPartition
from stream_detector.outputs.routing.state import RoutedEvent

EVENTS_MAX = 10_000
"""Most events that wait; then no more are read until some were sent."""

DELIVERY_EVENTS_MAX = 100
"""Most events in one delivery."""

_MINUTE_S = 60.0


@dataclass(slots=True)
class _Group:
    """Events that are to be sent together.

    Parameters
    ----------
    since_s
        Since when the first of them waits.
    opened_ms
        When the first alert of its first incident opened; None where it is of no incident.
    incidents
        The incidents that it is about.
    """

    since_s: float
    opened_ms: int | None
    incidents: set[str] = field(default_factory=set)
    events: deque[RoutedEvent] = field(default_factory=deque)


class Outbox:
    """Events that wait to be sent.

    Parameters
    ----------
    window_s
        Events that come within so long after the first are sent together: those of no incident, and
        those of each incident. Incidents of different partitions that opened within so long in
        event time are one here, since a detector groups the alerts of one partition only.
    rate_per_minute
        Most deliveries in any 60 s; None has no limit.
    is_together
        Whether all that waits is sent together, also without a window; else each by itself.
    """

    def __init__(
        self,
        window_s: float = 0.0,
        rate_per_minute: int | None = None,
        *,
        is_together: bool = False,
    ) -> None:
        self._window_s = window_s
        self._rate = rate_per_minute
        self._is_together = is_together or window_s > 0 or rate_per_minute is not None
        self._groups: list[_Group] = []
        self._sent_at_s: deque[float] = deque(maxlen=rate_per_minute)

    def __len__(self) -> int:
        return sum(len(each.events) for each in self._groups)

    @property
    def is_full(self) -> bool:
        """Whether no more events are to be read."""
        return len(self) >= EVENTS_MAX

    @property
    def has_repeats(self) -> bool:
        """Whether any of what waits is a repeat."""
        return any(each.repeat for group in self._groups for each in group.events)

    def put(self, events: Iterable[RoutedEvent], now_s: float) -> None:
        """Let events wait."""
        for event in events:
            self._group_for(event.alert, now_s).events.append(event)

    def next_delivery(self, now_s: float) -> Sequence[RoutedEvent]:
        """Return the events that are to be sent now, which go on waiting; none where it is early.

        Parameters
        ----------
        now_s
            Seconds that never go backwards.
        """
        is_limited = self._rate is not None and len(self._sent_at_s) == self._rate
        if is_limited and now_s - self._sent_at_s[0] < _MINUTE_S:
            return ()
        for group in self._groups:
            if now_s - group.since_s >= self._window_s:
                n_events = DELIVERY_EVENTS_MAX if self._is_together else 1
                return list(islice(group.events, n_events))
        return ()

    def take(self, events: Sequence[RoutedEvent], now_s: float) -> None:
        """Remove a delivery that was sent, or given up."""
        group = next(each for each in self._groups if each.events[0] is events[0])
        for _ in events:
            group.events.popleft()
        if not group.events:
            self._groups.remove(group)
        self._sent_at_s.append(now_s)

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return the lowest offset of each partition whose event waits; repeats do not count."""
        found: dict[TopicPartition, int] = {}
        for group in self._groups:
            for each in group.events:
                if not each.repeat:
                    offset = each.metadata.offset
                    found[each.partition] = min(offset, found.get(each.partition, offset))
        return found

    def drop_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop what waits of partitions that are read by another now."""
        gone = set(partitions)
        for group in self._groups:
            group.events = deque(each for each in group.events if each.partition not in gone)
        self._groups = [each for each in self._groups if each.events]

    def _group_for(self, alert: Alert, now_s: float) -> _Group:
        """Return the group in which an event of an alert waits."""
        incident = alert.incident_id if self._window_s else None
        for group in self._groups:
            if incident is None or group.opened_ms is None:
                is_mine = incident is None and group.opened_ms is None
            else:
                apart_ms = abs(alert.opened_ms - group.opened_ms)
                is_mine = incident in group.incidents or apart_ms <= 1_000 * self._window_s
            if is_mine:
                break
        else:
            group = _Group(now_s, None if incident is None else alert.opened_ms)
            self._groups.append(group)
        if incident is not None:
            group.incidents.add(incident)
        return group
