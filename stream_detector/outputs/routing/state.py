"""What a route knows of the alerts that it has sent: which are open, and what is due. Pure.

An alert joins a route at the first event that the route takes; from then on all that matters of it
is sent, its close above all. What has joined is stored beside each committed offset, as the offsets
of the events with which alerts joined. After a restart or a rebalance these events are read once
more, and so an alert that was sent is closed for whoever was told of it, whatever matchers,
silences and calendars say by then::

    offset        7       8       9      10      11      12
    event      open A  open B  update A open C  close B  ...
                 joined  silenced          joined          committed: 12, joined at 7 and 10

    read from 7: A joins at 7, B does not, A is brought up to date at 9, C joins at 10; live from 12
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from stream_detector.core.alerting.alert import Alert, alert_id
from stream_detector.core.records import RecordMetadata, TopicPartition
from stream_detector.outputs.routing.matching import Match

STALE_MS = 8 * 86_400_000
"""An open alert of which nothing was heard for so long is given up. A detector updates or closes
each within a week of event time; one whose detector was taken away stays open for ever."""

JOINED_BYTES_MAX = 3_900
"""Longest text of joined offsets: Kafka keeps 4,096 bytes beside an offset."""

_VERSION = "r1"
_REST = "+"
_BASE = 36

Outcome = Literal["due", "noted", "not_matched", "silenced", "duplicate"]
"""What became of an event: it is to be sent; it changed what is known of an alert that was sent; it
is none of this route's; a silence or a calendar holds it back; or it was known already."""


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """One event of an alert, as it was read, or its repeat.

    Parameters
    ----------
    alert
        The event.
    text
        The same as JSON, with all fields that it has.
    metadata, value
        The record that it came with.
    repeat
        Which repeat of the event this is; 0 is the event itself.
    """

    alert: Alert
    text: bytes
    metadata: RecordMetadata
    value: bytes
    repeat: int = 0

    @property
    def event_id(self) -> str:
        """Return what is the same each time that this is sent."""
        name = f"{self.alert.alert_id}-{self.alert.event_number}"
        return f"{name}.{self.repeat}" if self.repeat else name

    @property
    def partition(self) -> TopicPartition:
        """Return the partition of its record."""
        return TopicPartition(self.metadata.topic, self.metadata.partition)


@dataclass(frozen=True, slots=True)
class Rules:
    """By which events are taken.

    Parameters
    ----------
    match
        Which alerts.
    updates
        Whether updates are sent whose severity is as before.
    repeat_ms
        An open alert is sent again so often; None never.
    follows
        Whether an alert that continues another is that one to whoever is told: neither the close of
        the one nor the open of the other is sent, as if it were an update.
    """

    match: Match = field(default_factory=Match)
    updates: bool = False
    repeat_ms: int | None = None
    follows: bool = False


@dataclass(slots=True)
class Joined:
    """An alert that has joined the route.

    Parameters
    ----------
    offsets
        Of the event with which it joined, and of those with which others continued it.
    since_ms
        When the first was detected; repeats come at whole intervals from then on.
    newest
        Its newest event.
    due
        The last event that was to be sent, or a later one that is as severe.
    sent
        The same of what has arrived at the sink; None before the first.
    n_repeats
        How many intervals have passed whose repeat was made, or is not to be made any more.
    is_closed
        Whether it has closed; it is kept until that was sent.
    """

    offsets: list[int]
    since_ms: int
    newest: RoutedEvent
    due: RoutedEvent
    sent: RoutedEvent | None = None
    n_repeats: int = 0
    is_closed: bool = False


class Position(NamedTuple):
    """What is stored beside a committed offset.

    Parameters
    ----------
    joined
        Offsets before it of the events with which alerts joined, ascending.
    repeated_ms
        Until when every repeat that was due has been sent.
    is_rest
        Whether these were too many to be stored, some thousand: then `joined` is the first of them,
        and from there on whatever the route takes has joined.
    """

    joined: tuple[int, ...] = ()
    repeated_ms: int = 0
    is_rest: bool = False

    def encode(self, next_offset: int) -> str:
        """Return this as text, which always fits.

        Examples
        --------
        >>> Position((7, 10), 1_000).encode(12)
        'r1 1000 5,2'
        """
        back = [_digits(next_offset - each) for each in self.joined]
        text = ",".join(back) or "-"
        if len(text) > JOINED_BYTES_MAX:
            text = f"{back[0]}{_REST}"
        return f"{_VERSION} {self.repeated_ms} {text}"

    @classmethod
    def decode(cls, text: str, next_offset: int) -> "Position":
        """Read what `encode` wrote; any other text has no joined alerts.

        Examples
        --------
        >>> Position.decode("r1 1000 5,2", 12)
        Position(joined=(7, 10), repeated_ms=1000, is_rest=False)
        >>> Position.decode("of another program", 12)
        Position(joined=(), repeated_ms=0, is_rest=False)
        """
        words = text.split(" ")
        if len(words) != 3 or words[0] != _VERSION:  # noqa: PLR2004
            return cls()
        try:
            text = words[2].removesuffix(_REST)
            back = [int(each, _BASE) for each in text.split(",") if each != "-"]
            joined = tuple(sorted(next_offset - each for each in back if each <= next_offset))
            return cls(joined, int(words[1]), words[2].endswith(_REST))
        except ValueError:
            return cls()


class RouteState:
    """The alerts that have joined a route, of all partitions that it reads.

    Parameters
    ----------
    rules
        Which events are taken.
    why_held
        Says which silence or calendar holds an event back; None where none does.
    """

    def __init__(self, rules: Rules, why_held: Callable[[Alert], str | None]) -> None:
        self._rules = rules
        self._why_held = why_held
        self._joined: dict[str, Joined] = {}

    def complete(self, event: RoutedEvent) -> RoutedEvent:
        """Return an event with the incident that its alert had before, where it names none.

        Late events of an alert may have lost it, and what an alert is called must not change.
        """
        joined = self._joined.get(event.alert.alert_id)
        incident_id = None if joined is None else joined.newest.alert.incident_id
        if incident_id is None or event.alert.incident_id is not None:
            return event
        return replace(event, alert=replace(event.alert, incident_id=incident_id))

    def add(self, event: RoutedEvent, now_ms: int) -> Outcome:
        """Take in the next event of a partition, and return what is to become of it.

        Parameters
        ----------
        event
            The event.
        now_ms
            The time of this machine; repeats of an alert that joins are those after it.
        """
        former = self._former(event)
        if former is not None:
            return self._next(former, event)
        joined = self._joined.get(event.alert.alert_id)
        if joined is None:
            return self._first(event, now_ms)
        if joined.is_closed or event.alert.event_number <= joined.newest.alert.event_number:
            return "duplicate"
        return self._next(joined, event)

    def replay(self, event: RoutedEvent, position: Position) -> None:
        """Take in an event from before the committed offset: what was sent is known, not sent."""
        alert = event.alert
        former = self._former(event)
        joined = former or self._joined.get(alert.alert_id)
        if joined is None:
            if event.metadata.offset in position.joined or (
                position.is_rest and self._refusal(alert) is None
            ):
                self._join(event, position.repeated_ms)
                self.on_sent([event])
        elif former is not None or alert.event_number > joined.newest.alert.event_number:
            joined.newest = event
            is_held = _has_risen(joined, alert) and self._why_held(alert) is not None
            if not (is_held or self._is_followed(alert)):
                joined.due = event
                self.on_sent([event])

    def repeats(self, now_ms: int) -> list[RoutedEvent]:
        """Return what is due once more because it is still open; counts as made from now on."""
        found = []
        for joined in self._joined.values():
            n_intervals = self._n_intervals(joined, now_ms)
            if joined.is_closed or n_intervals <= joined.n_repeats:
                continue
            joined.n_repeats = n_intervals
            if joined.sent is not None and self._why_held(joined.newest.alert) is None:
                found.append(replace(joined.newest, repeat=n_intervals))
        return found

    def on_sent(self, events: Iterable[RoutedEvent]) -> None:
        """Note that events have arrived at the sink; one whose close has is known no more."""
        for event in events:
            joined = self._joined.get(event.alert.alert_id) or self._awaiting(event)
            if joined is None:
                continue
            if event.alert.event == "close":
                del self._joined[event.alert.alert_id]
            elif not event.repeat:
                joined.sent = event

    def drop_stale(self, now_ms: int) -> int:
        """Give up open alerts of which nothing was heard for too long; return how many."""
        stale = [
            name
            for name, each in self._joined.items()
            if now_ms - each.newest.alert.detected_at_ms > STALE_MS
        ]
        for name in stale:
            del self._joined[name]
        return len(stale)

    def drop_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the alerts of partitions that are read by another now."""
        gone = set(partitions)
        self._joined = {
            name: each for name, each in self._joined.items() if each.newest.partition not in gone
        }

    @property
    def open(self) -> Sequence[RoutedEvent]:
        """The last event that the sink was sent of each alert of whose close it was not yet."""
        return [each.sent for each in self._joined.values() if each.sent is not None]

    def positions(
        self, next_offsets: Mapping[TopicPartition, int], now_ms: int
    ) -> dict[TopicPartition, Position]:
        """Return what is to be stored beside the next offsets of partitions."""
        found: dict[TopicPartition, list[int]] = {each: [] for each in next_offsets}
        for each in self._joined.values():
            partition = each.newest.partition
            if partition in found:
                place = bisect_left(each.offsets, next_offsets[partition])
                found[partition] += each.offsets[max(0, place - 1) : place]
                del each.offsets[: max(0, place - 1)]
        return {
            partition: Position(tuple(sorted(offsets)), now_ms)
            for partition, offsets in found.items()
        }

    def _first(self, event: RoutedEvent, now_ms: int) -> Outcome:
        """Take in an event of an alert that has not joined."""
        refusal = self._refusal(event.alert)
        if refusal is None:
            self._join(event, now_ms)
        return refusal or "due"

    def _refusal(self, alert: Alert) -> Outcome | None:
        """Return why an alert that has not joined does not join with an event; None if it does."""
        if alert.event == "close" or not self._rules.match.takes(alert):
            return "not_matched"
        return None if self._why_held(alert) is None else "silenced"

    def _next(self, joined: Joined, event: RoutedEvent) -> Outcome:
        """Take in the next event of an alert that has joined."""
        alert, joined.newest = event.alert, event
        if self._is_followed(alert):
            return "noted"
        has_risen = _has_risen(joined, alert)
        if alert.event == "close":
            joined.is_closed = True
            return "due"
        if (has_risen or self._rules.updates) and self._why_held(alert) is None:
            joined.due = event
            return "due"
        if joined.sent is joined.due and alert.severity == joined.due.alert.severity:
            joined.due = joined.sent = event
        return "noted"

    def _former(self, event: RoutedEvent) -> Joined | None:
        """Return what has joined and is continued by an event; it bears the name of that now."""
        name = event.alert.continues_alert_id or ""
        if not self._rules.follows or event.alert.event != "open" or name not in self._joined:
            return None
        former = self._joined[event.alert.alert_id] = self._joined.pop(name)
        former.offsets.append(event.metadata.offset)
        return former

    def _is_followed(self, alert: Alert) -> bool:
        """Return whether an alert closes because another continues it, which is not told."""
        return self._rules.follows and (alert.event, alert.reason) == ("close", "continued")

    def _awaiting(self, event: RoutedEvent) -> Joined | None:
        """Return what has been continued since an event of it was to be sent."""
        return next((each for each in self._joined.values() if each.due is event), None)

    def _join(self, event: RoutedEvent, repeated_ms: int) -> None:
        """Note that an alert was sent, unless it can neither be updated nor closed."""
        alert = event.alert
        if not is_whole_window(alert):
            joined = Joined([event.metadata.offset], alert.detected_at_ms, event, event)
            joined.n_repeats = self._n_intervals(joined, repeated_ms)
            self._joined[alert.alert_id] = joined

    def _n_intervals(self, joined: Joined, now_ms: int) -> int:
        """Return how many intervals between repeats have passed since an alert joined."""
        if self._rules.repeat_ms is None:
            return 0
        return max(0, (now_ms - joined.since_ms) // self._rules.repeat_ms)


def _has_risen(joined: Joined, alert: Alert) -> bool:
    """Return whether an event is severer than what was to be sent.

    An alert that continues another begins with its own first window, which may be less severe.
    """
    due = joined.due.alert
    return alert.severity != due.severity and (alert.anomaly_score or 0) > (due.anomaly_score or 0)


def is_whole_window(alert: Alert) -> bool:
    """Return whether an alert is about a record that is a whole window: nothing follows on it.

    The id of such an alert is made from the place of its record alone.
    """
    source = alert.source
    place = RecordMetadata(source.topic, source.partition, source.offset, 0, None, ())
    return alert.event == "open" and alert.alert_id == alert_id(place, alert.bundle.version)


def _digits(number: int) -> str:
    """Return a number at least 0 in base 36."""
    digits = ""
    while number or not digits:
        number, rest = divmod(number, _BASE)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits
