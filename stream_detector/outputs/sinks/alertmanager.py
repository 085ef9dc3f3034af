"""Prometheus Alertmanager: open alerts fire there, and are resolved when they close.

Alertmanager takes an alert for resolved once its `endsAt` has passed. So an open one is sent again
every minute with an end that is an hour away, and it stays firing while a route is down for less
than that. A closed one is sent once more with an end that has passed.

An alert there is what its labels say. Several of ours may have the same labels, as where one is
continued by another, or records are whole windows: these labels fire while any of ours is open. A
severity that rises has other labels: those fire first, and the former are resolved after that.

Source: prometheus/alertmanager, api/v2/openapi.yaml (`postableAlerts`) and types/types.go
(`Alert.Merge`: of two overlapping alerts the later end wins unless the newer one is resolved).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from stream_detector.core.alerting.alert import Alert
from stream_detector.outputs.routing.state import RoutedEvent, is_whole_window
from stream_detector.outputs.sinks.http import HttpPost

PATH = "/api/v2/alerts"

REFRESH_S_MAX = 60.0
"""Open alerts are sent again at least so often; Alertmanager itself keeps none over a restart."""

HOLD_MS = 3_600_000
"""How long Alertmanager keeps an alert firing of which it hears nothing more. A route that is down
for less than this lets none be shown as resolved that is open."""

SKEW_MS = 60_000
"""By how much the clock of Alertmanager may be behind: an end that has not passed there would not
resolve anything."""

POST_ALERTS_MAX = 1_000
"""Most alerts in one request."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_MS_MAX = 253_402_300_799_000

Labels = tuple[tuple[str, str], ...]


class AlertmanagerSink:
    """Keeps what Alertmanager shows equal to the alerts that are open.

    Parameters
    ----------
    post
        Posts to its address.
    now_ms
        The time of this machine, milliseconds since 1970-01-01 UTC.
    refresh_s
        How often open alerts are sent again.
    resolve_after_s
        How long an alert about a whole window fires, which nothing closes.
    labels
        Further labels of each alert.
    """

    def __init__(
        self,
        post: HttpPost,
        now_ms: Callable[[], int],
        refresh_s: float = REFRESH_S_MAX,
        resolve_after_s: float = 600.0,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.refresh_s: float | None = min(refresh_s, REFRESH_S_MAX)
        self._post = post
        self._now_ms = now_ms
        self._resolve_after_ms = round(resolve_after_s * 1_000)
        self._labels = dict(labels or {})

    def deliver(self, events: Sequence[RoutedEvent], is_open: Sequence[RoutedEvent]) -> None:
        """Let open alerts fire, and then resolve what has closed or has other labels now."""
        now_ms = self._now_ms()
        shown = {each.alert.alert_id: self._labels_of(each.alert) for each in is_open}
        firing: dict[Labels, dict[str, Any]] = {}
        ended: dict[Labels, dict[str, Any]] = {}
        for event in events or is_open:
            alert, labels = event.alert, self._labels_of(event.alert)
            former = shown.pop(alert.alert_id, None)
            if alert.event != "close" or former is None:  # what closed meanwhile is seen once, too
                firing[labels] = self._postable(alert, labels, now_ms + self._hold_ms(event))
            if former is not None and former != labels:
                ended[former] = self._ended(alert, former, now_ms)
            if alert.event == "close":
                ended[labels] = self._ended(alert, labels, now_ms)
            else:
                shown[alert.alert_id] = labels
        still = set(shown.values())
        self._send(firing.values())
        self._send(each for labels, each in ended.items() if labels not in still)

    def _send(self, alerts: Iterable[dict[str, Any]]) -> None:
        """Post alerts, some at a time."""
        waiting = list(alerts)
        for start in range(0, len(waiting), POST_ALERTS_MAX):
            body = orjson.dumps(waiting[start : start + POST_ALERTS_MAX])
            self._post.send(body, "application/json")

    def _hold_ms(self, event: RoutedEvent) -> int:
        """Return for how long an alert fires if nothing more is heard of it."""
        return self._resolve_after_ms if is_whole_window(event.alert) else HOLD_MS

    def _labels_of(self, alert: Alert) -> Labels:
        """Return what an alert is called there; nothing in it changes but the severity."""
        labels = {
            **self._labels,
            "alertname": _name_of(alert),
            "key": alert.key,
            "feature": alert.feature or "",
            "severity": alert.severity,
            "bundle": alert.bundle.name,
            "topic": alert.source.topic,
            "incident_id": alert.incident_id or "",
        }
        return tuple(sorted((name, text) for name, text in labels.items() if text))

    def _postable(self, alert: Alert, labels: Labels, end_ms: int) -> dict[str, Any]:
        """Return an alert as Alertmanager takes it."""
        start_ms = min(alert.opened_ms, self._now_ms())
        score = alert.anomaly_score
        return {
            "labels": dict(labels),
            "annotations": {
                "summary": alert.sentence or f"{_name_of(alert)} of {alert.key}",
                "alert_id": alert.alert_id,
                "event_id": f"{alert.alert_id}-{alert.event_number}",
                "reason": alert.reason,
                "check": alert.check or "",
                "anomaly_score": "" if score is None else f"{score:.4g}",
            },
            "startsAt": _time(start_ms),
            "endsAt": _time(max(start_ms, end_ms)),
        }

    def _ended(self, alert: Alert, labels: Labels, now_ms: int) -> dict[str, Any]:
        """Return an alert as one that has been resolved."""
        return self._postable(alert, labels, min(alert.event_time_ms, now_ms - SKEW_MS))


def _name_of(alert: Alert) -> str:
    """Return the name of the kind of an alert."""
    if alert.explanation is not None:
        return "StreamDetectorAnomaly"
    return "StreamDetectorFeatureMissing" if alert.feature else "StreamDetectorNoData"


def _time(time_ms: int) -> str:
    """Return a time as RFC 3339 has it; one before 1970 or after 9999 as the nearest it can say."""
    time = _EPOCH + timedelta(milliseconds=min(max(time_ms, 0), _TIME_MS_MAX))
    return time.isoformat(timespec="milliseconds")
