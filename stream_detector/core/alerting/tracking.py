"""One alert while it is open: the rules that govern it, and how its next event is made.

Pure. When events are due is decided in `stream_detector.core.alerting.lifecycle`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

from stream_detector.core.alerting.alert import (
    ALERT_SCHEMA_VERSION,
    Alert,
    AlertEvent,
    AlertReason,
    Source,
    alert_id,
    severity_of,
    text_of,
)
from stream_detector.core.alerting.put_back import PutBackScores
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.scorer import Finding

OPEN_WITHIN_MAX = 64
"""Most windows that `AlertRules.open_within` looks back on."""


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When an alert opens, is updated and closes.

    Parameters
    ----------
    open_after, open_within
        It opens at an anomalous window once so many of the key's last so many windows are
        anomalous, that one included; 1 <= open_after <= open_within <= `OPEN_WITHIN_MAX`.
    update_interval_ms
        While it is open, at least an event each so many milliseconds.
    close_after_ms
        It closes so long after its last anomalous window; above zero.
    cooldown_ms
        Least time from a close to the key's next open; 0 for none.
    open_ms_max
        It closes when it has been open for so long; where the key is still anomalous, another one
        continues it.
    flood_alerts_max, flood_window_ms
        Most alerts that open for a key within so many milliseconds; the next is a summary.
    severities
        (name, anomaly score from which it holds), ascending, the first from 1.
    incident_within_ms
        How far from the opening of an incident's first alert those of other keys may open; None
        for no incidents.
    """

    open_after: int
    open_within: int
    update_interval_ms: int
    close_after_ms: int
    cooldown_ms: int
    open_ms_max: int
    flood_alerts_max: int
    flood_window_ms: int
    severities: Sequence[tuple[str, float]]
    incident_within_ms: int | None = None

    @property
    def epoch_ms(self) -> int:
        """Length of the periods of event time after which an active key's alerts are reset."""
        return max(self.open_ms_max, self.flood_window_ms)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """A window of one key with its score.

    Parameters
    ----------
    metadata
        Gives the record that completed it; called where an event is published only.
    start_ms, end_ms
        Times of the first and the last sample; `end_ms` ascends within a key.
    score, threshold
        Score, and what it must exceed to be anomalous; same unit. The score is NaN where there is
        no verdict, because too many values of the window were missing.
    score_kind
        What the score is, for the alert.
    explain
        Says where the score comes from, with the names of the features; called where the window is
        an open alert's worst so far only.
    sample_interval_ms
        Time between two of its samples; above zero.
    """

    metadata: Callable[[], RecordMetadata]
    start_ms: int
    end_ms: int
    score: float
    threshold: float
    score_kind: str
    explain: Callable[[], Finding]
    sample_interval_ms: float = 1.0

    @property
    def is_anomalous(self) -> bool:
        """Whether the score exceeds the threshold; equal is normal."""
        return self.score > self.threshold

    @property
    def is_scored(self) -> bool:
        """Whether there is a verdict."""
        return not isnan(self.score)

    @property
    def anomaly_score(self) -> float:
        """Score / threshold; above 1 is anomalous."""
        return self.score / self.threshold


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is open, and what came after its last event.

    Parameters
    ----------
    alert
        Its last event, but with the worst window so far.
    n_windows, n_anomalous, n_alerts, last_anomalous_ms
        As in `Alert`, up to now.
    scores
        Those of its windows up to now, by time.
    """

    alert: Alert
    n_windows: int
    n_anomalous: int
    n_alerts: int
    last_anomalous_ms: int
    scores: PutBackScores


def open_alert(
    window: ScoredWindow, severities: Sequence[tuple[str, float]], bundle: BundleReference
) -> Alert:
    """Make the one alert of an anomalous record that is a whole window.

    Parameters
    ----------
    window
        Anomalous.
    severities
        As in `AlertRules`.
    bundle
        What scored.

    Returns
    -------
    An alert with `detected_at_ms` 0: whoever has a clock fills it in.
    """
    metadata = window.metadata()
    return Alert(
        schema_version=ALERT_SCHEMA_VERSION,
        alert_id=alert_id(metadata, bundle.version),
        event="open",
        event_number=1,
        key=text_of(metadata.key),
        source=Source.of(metadata),
        bundle=bundle,
        event_time_ms=window.end_ms,
        opened_ms=window.end_ms,
        last_anomalous_ms=window.end_ms,
        n_windows=1,
        n_anomalous=1,
        reason="anomalous",
        continues_alert_id=None,
        is_summary=False,
        n_alerts=1,
        detected_at_ms=0,
        **_fields_of(window, severities),
    )


def open_from_samples(
    window: ScoredWindow, severities: Sequence[tuple[str, float]], bundle: BundleReference
) -> OpenAlert:
    """Open an alert at an anomalous window cut from samples.

    Parameters
    ----------
    window
        Anomalous; the alert's first and worst so far.
    severities
        As in `AlertRules`.
    bundle
        What scored.
    """
    # A record of samples can complete several windows, so the record alone does not name one.
    name = alert_id(window.metadata(), bundle.version, window.start_ms)
    alert = replace(open_alert(window, severities, bundle), alert_id=name)
    scores = PutBackScores.empty(window.start_ms, window.end_ms, window.sample_interval_ms)
    return OpenAlert(alert, 1, 1, 1, window.end_ms, _put_back(scores, window))


def add_window(
    opened: OpenAlert, window: ScoredWindow, severities: Sequence[tuple[str, float]]
) -> OpenAlert:
    """Count one more window, and remember it where it is the worst so far."""
    alert, is_anomalous = opened.alert, window.is_anomalous
    if is_anomalous and window.anomaly_score > (alert.anomaly_score or 0.0):
        alert = replace(alert, **_fields_of(window, severities))
    return OpenAlert(
        alert,
        opened.n_windows + window.is_scored,
        opened.n_anomalous + is_anomalous,
        opened.n_alerts,
        window.end_ms if is_anomalous else opened.last_anomalous_ms,
        _put_back(opened.scores, window),
    )


def next_event(
    opened: OpenAlert, event: AlertEvent, reason: AlertReason, at_ms: int, metadata: RecordMetadata
) -> OpenAlert:
    """Return an open alert with its next event, of now.

    Parameters
    ----------
    opened
        Up to now.
    event, reason
        Which, and why.
    at_ms
        Event time.
    metadata
        The record that caused it; gives the source only.
    """
    explained = opened.alert.explanation
    assert explained is not None  # noqa: S101  (a window's alert has one)
    span_ms = opened.scores.span_ms((explained.worst_start_ms, explained.worst_end_ms))
    alert = replace(
        opened.alert,
        span_start_ms=span_ms[0],
        span_end_ms=span_ms[1],
        event=event,
        event_number=opened.alert.event_number + 1,
        source=Source.of(metadata),
        event_time_ms=at_ms,
        last_anomalous_ms=opened.last_anomalous_ms,
        n_windows=opened.n_windows,
        n_anomalous=opened.n_anomalous,
        reason=reason,
        n_alerts=opened.n_alerts,
    )
    return replace(opened, alert=alert)


def _put_back(scores: PutBackScores, window: ScoredWindow) -> PutBackScores:
    """Return the scores of an alert with those of one more window, if it has one."""
    if not window.is_scored:
        return scores
    return scores.add(window.start_ms, window.end_ms, window.anomaly_score)


def _fields_of(window: ScoredWindow, severities: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Return the fields of an alert that are of its worst window."""
    finding = window.explain()
    return {
        "window_start_ms": window.start_ms,
        "window_end_ms": window.end_ms,
        "span_start_ms": finding.explanation.worst_start_ms,
        "span_end_ms": finding.explanation.worst_end_ms,
        "reconstruction_error": finding.reconstruction_error,
        "score": window.score,
        "score_kind": window.score_kind,
        "check": finding.check,
        "threshold": window.threshold,
        "anomaly_score": window.anomaly_score,
        "false_alarms_per_day": finding.false_alarms_per_day,
        "p_value": finding.p_value,
        "severity": severity_of(window.anomaly_score, severities),
        "sentence": finding.explanation.sentence,
        "explanation": finding.explanation,
    }
