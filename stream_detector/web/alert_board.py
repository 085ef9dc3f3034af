"""What the page shows of alerts: those that are open, the last ones, and how many a minute.

Memory is bounded whatever a topic holds: so many open alerts, so many events, so many minutes. Of
an alert only what the page shows is kept.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import Any

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.outputs.routing.matching import AlertFacts, feature_of
from stream_detector.outputs.routing.silences import SilenceBook
from stream_detector.text import printable, shorten
from stream_detector.web.incident_rows import rows_of, without_picture

OPEN_MAX = 10_000
"""Most open alerts that are kept. Beyond it those without an event for the longest go."""

EVENTS_MAX = 2_000
"""Most events that are kept."""

SHOWN_MAX = 100
"""Most rows of open alerts in one picture of the board."""

EVENTS_SHOWN_MAX = 30
"""Most events in one picture of the board."""

N_MINUTES = 60
WINDOW_SHOWN_MS = 600_000
"""How long an alert about a record that is a whole window counts as open: nothing closes it."""

NAME_CHARACTERS_MAX = 256
_LATENCIES_MAX = 200
_CLOSED_MAX = 10_000
"""Ended alerts whose ids are kept, so that a repeated event does not open them again, and one that
continues them is shown since they opened."""


@dataclass(slots=True)
class AlertBoard:
    """Alerts as they came.

    Parameters
    ----------
    closes
        Whether alerts are closed; those about whole windows are not.
    incident_within_ms
        How far apart incidents of several partitions may begin that are shown as one.
    silences
        Which alerts are silenced.
    """

    closes: bool
    incident_within_ms: int | None = None
    silences: SilenceBook = field(default_factory=SilenceBook)
    n_alerts: int = 0
    n_not_alerts: int = 0
    n_left_out: int = 0
    n_events: int = 0
    _open: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    _closed: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _since_ms: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _began_ms: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    _minutes: Counter[int] = field(default_factory=Counter)
    _latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_LATENCIES_MAX))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, detector: Detector) -> "AlertBoard":
        """Return the empty board of what a detector publishes."""
        within_ms = None
        if isinstance(detector, SampleDetector):
            within_ms = detector.alerting.incident_within_ms
        elif isinstance(detector, WindowDetector):
            within_ms = detector.incident_within_ms
        return cls(detector.keeps_state, within_ms)

    def add(self, alert: Alert) -> None:
        """Add one event; one that is known already changes nothing."""
        with self._lock:
            known = self._open.get(alert.alert_id)
            number = known["event_number"] if known else self._closed.get(alert.alert_id, 0)
            if alert.event_number <= number:
                return
            shown = {**shown_alert(alert), "since_ms": self._note_since(alert)}
            self._events.append(shown)
            self.n_events += 1
            if alert.event == "open" and alert.continues_alert_id is None:
                self.n_alerts += 1
                self._count_minute(alert.detected_at_ms // 60_000)
                self._latencies_ms.append(alert.detected_at_ms - alert.event_time_ms)
            self._open.pop(alert.alert_id, None)
            if alert.event == "close":
                self._closed[alert.alert_id] = alert.event_number
                if len(self._closed) > _CLOSED_MAX:
                    self._closed.popitem(last=False)
                return
            self._open[alert.alert_id] = shown
            self._note_incident(alert)
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
                self.n_left_out += 1

    def add_foreign(self) -> None:
        """Count a record that holds no alert."""
        with self._lock:
            self.n_not_alerts += 1

    def picture(self, now_ms: int) -> dict[str, Any]:
        """Return what the page shows now, as values that JSON has."""
        with self._lock:
            self._expire(now_ms)
            open_alerts, within_ms = self._open.values(), self.incident_within_ms
            rows = rows_of(open_alerts, self._began_ms, within_ms, SHOWN_MAX)
            newest = list(self._events)[: -EVENTS_SHOWN_MAX - 1 : -1]
            minute = now_ms // 60_000
            return {
                "n_open": len(self._open),
                "open": list(map(self._with_silences, rows)),
                "events": list(map(without_picture, newest)),
                "a_minute": [self._minutes[minute - N_MINUTES + 1 + at] for at in range(N_MINUTES)],
                "latency_ms_p50": median(self._latencies_ms) if self._latencies_ms else None,
                "n_alerts": self.n_alerts,
                "n_not_alerts": self.n_not_alerts,
                "n_left_out": self.n_left_out,
            }

    def of_key(self, key: str, found: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        """Return the alerts of a key, the oldest first.

        Parameters
        ----------
        key
            Which.
        found
            Alerts that the detector finds in the records of some time, as `shown_alert` gives them.
            It begins without the state of before, so one may have another id than it had: it is the
            same alert where it overlaps a kept one, and left out.

        Returns
        -------
        Of each kept alert its newest event, and the others that were found.
        """
        with self._lock:
            kept = {each["id"]: each for each in self._events if each["key"] == key}
            kept |= {each["id"]: each for each in self._open.values() if each["key"] == key}
        extents = [self.extent(each) for each in kept.values()]
        others = [
            each
            for each in found
            if not any(overlap(self.extent(each), extent) for extent in extents)
        ]
        return sorted([*kept.values(), *others], key=lambda each: int(each["opened_ms"]))

    def extent(self, shown: dict[str, Any]) -> tuple[float, float]:
        """Return from when to when an alert is; one that is open has no end."""
        start_ms, end_ms = shown["span_ms"]
        return start_ms, inf if self.closes and shown["event"] != "close" else end_ms

    def _note_since(self, alert: Alert) -> int:
        """Return since when an alert is open, with those that it continues, as far as is known."""
        since_ms = self._since_ms.pop(alert.alert_id, None)
        if since_ms is None:
            since_ms = self._since_ms.get(alert.continues_alert_id or "", alert.opened_ms)
        self._since_ms[alert.alert_id] = since_ms
        if len(self._since_ms) > _CLOSED_MAX + OPEN_MAX:
            self._since_ms.popitem(last=False)
        return since_ms

    def _note_incident(self, alert: Alert) -> None:
        """Note when the incident of an open alert began, as far as its alerts say."""
        name = alert.incident_id
        if name is None:
            return
        began_ms = self._began_ms.pop(name, alert.opened_ms)
        self._began_ms[name] = min(began_ms, alert.opened_ms)
        if len(self._began_ms) > OPEN_MAX:  # each open alert names one at most
            named = {each["incident"] for each in self._open.values()}
            for old in [each for each in self._began_ms if each not in named]:
                del self._began_ms[old]

    def _with_silences(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the silence, in words, that holds each of its alerts; or empty."""
        others = [{**each, "silenced": self._silence_of(each)} for each in row["others"]]
        return {**row, "silenced": self._silence_of(row), "others": others}

    def _silence_of(self, shown: dict[str, Any]) -> str:
        """Return which silence holds an open alert; empty where none does."""
        facts = AlertFacts(**{name: shown[name] for name in AlertFacts._fields})
        return _short(self.silences.why_held(facts) or "")

    def _count_minute(self, minute: int) -> None:
        """Count an alert; of the minutes only the newest are kept."""
        self._minutes[minute] += 1
        if len(self._minutes) > 2 * N_MINUTES:
            for each in sorted(self._minutes)[: len(self._minutes) - N_MINUTES]:
                del self._minutes[each]

    def _expire(self, now_ms: int) -> None:
        """Take alerts that nothing closes off the board once they are old."""
        if self.closes:
            return
        old = [
            name
            for name, each in self._open.items()
            if now_ms - each["detected_ms"] > WINDOW_SHOWN_MS
        ]
        for name in old:
            del self._open[name]


def shown_alert(alert: Alert) -> dict[str, Any]:
    """Return what is kept of an alert, as values that JSON has.

    Texts for people are printable and short; `key` is the key itself, to ask for it again.
    """
    explanation = alert.explanation
    image = explanation.image if explanation is not None else None
    return {
        "id": alert.alert_id,
        "event": alert.event,
        "event_number": alert.event_number,
        "key": alert.key,
        "name": name_of(alert.key),
        "incident": alert.incident_id,
        "reason": alert.reason,
        "severity": _short(alert.severity),
        "score": alert.anomaly_score,
        "check": _short(alert.check or ""),
        "sentence": _short(alert.sentence),
        "opened_ms": alert.opened_ms,
        "event_time_ms": alert.event_time_ms,
        "span_ms": _span(alert),
        "detected_ms": alert.detected_at_ms,
        "heat_map": image.heat_map if image is not None else None,
        "feature": feature_of(alert),
    }


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two spans of time have a moment in common; both ends belong to each.

    Examples
    --------
    >>> overlap((1, 2), (2, 3)), overlap((1, 2), (3, 4))
    (True, False)
    """
    return one[0] <= other[1] and other[0] <= one[1]


def name_of(key: str) -> str:
    """Return a key as people see it."""
    return _short(key) or "(no key)"


def _span(alert: Alert) -> list[int]:
    """Return from when to when something is unusual, as far as the alert says."""
    if alert.span_start_ms is not None and alert.span_end_ms is not None:
        return [alert.span_start_ms, alert.span_end_ms]
    return [alert.window_start_ms, alert.window_end_ms]


def _short(text: str) -> str:
    """Return foreign text for people."""
    return shorten(printable(text), NAME_CHARACTERS_MAX)
