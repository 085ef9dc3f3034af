"""Alerts about data that does not come: a key that is silent, a feature without a value.

Pure. Each silence of a key (`stream_detector.core.windowing.silences`), and each time that one
feature of it is missing (`stream_detector.core.windowing.missing_features`), is one alert: it opens
and closes, and has no score. There is one alert for each feature, so that each closes when its
feature is back. Nothing is kept from the opening to the close: the alert's id, and all else about
it, follow from the time of the last data.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor
from typing import NamedTuple

from stream_detector.core.alerting.alert import (
    ALERT_SCHEMA_VERSION,
    Alert,
    AlertReason,
    RaisedAlert,
    Source,
    text_of,
)
from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference, RecordBatch, RecordMetadata
from stream_detector.core.scoring.sentences import no_data_sentence
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.missing_features import Change, MissingFeatures
from stream_detector.core.windowing.silences import NOT_HERE, Silences
from stream_detector.core.windowing.window_batch import WindowBatch

_REASONS: Mapping[Change, AlertReason] = {
    "begins": "feature_missing",
    "value": "data_again",
    "given_up": "max_duration",
    "expired": "key_expired",
    "clock_set": "clock_set",
}

_DATA_CAME: frozenset[AlertReason] = frozenset(("data_again", "clock_set"))
"""Closes at data that came; at the others the data are still missing."""


@dataclass(frozen=True, slots=True)
class NoDataPolicy:
    """By what these alerts are made.

    Parameters
    ----------
    bundle
        What would score.
    severity
        Of all of them.
    no_data_after_ms
        After how long without data they open.
    features
        Their names.
    """

    bundle: BundleReference
    severity: str
    no_data_after_ms: float
    features: Features


class _Event(NamedTuple):
    """One event of an alert about one key; they are published in this order."""

    record: int
    key: bytes
    at_ms: int
    feature: int  # -1 where it is about the key
    since_ms: float
    reason: AlertReason
    is_close: bool


def no_data_alerts(
    policy: NoDataPolicy, batch: RecordBatch, completed: WindowBatch, indices: Indices
) -> list[RaisedAlert]:
    """Return the events of a batch, in the order of its records.

    Parameters
    ----------
    policy
        By what they are made.
    batch
        The records of the batch.
    completed
        What became of them.
    indices
        Which record of the batch each of the records in `completed` is, shape (n_records,).
    """
    events: list[_Event] = []
    if completed.silences is not None:
        events += _of_silences(completed.silences, completed, policy)
    if completed.missing_features is not None:
        events += _of_features(completed.missing_features, completed)
    raised = []
    for event in sorted(events, key=lambda each: (each[:4], each.since_ms, each.is_close)):
        index = int(indices[event.record])
        alert = _alert(event, policy, batch.metadata(index))
        raised.append(RaisedAlert(index, alert, event.key))
    return raised


def _of_silences(
    silences: Silences, completed: WindowBatch, policy: NoDataPolicy
) -> Iterator[_Event]:
    """Yield the events of silent keys."""
    keys = completed.state.keys_of(silences.slots)
    columns = (silences.since_ms, silences.begins, silences.ends, silences.end_ms)
    rows = zip(keys, *(each.tolist() for each in columns), silences.is_expired, strict=True)
    for key, since_ms, begin, end, end_ms, is_expired in rows:
        if begin != NOT_HERE:
            at_ms = _whole_ms(since_ms + policy.no_data_after_ms)
            yield _Event(begin, key, at_ms, -1, since_ms, "no_data", is_close=False)
        if end != NOT_HERE:
            reason: AlertReason = "key_expired" if is_expired else "data_again"
            yield _Event(end, key, _whole_ms(end_ms), -1, since_ms, reason, is_close=True)


def _of_features(missing: MissingFeatures, completed: WindowBatch) -> Iterator[_Event]:
    """Yield the events of missing features."""
    keys = completed.state.keys_of(missing.slots)
    columns = (
        missing.records,
        missing.at_ms,
        missing.features,
        missing.since_ms,
        missing.what,
    )
    rows = zip(keys, *(each.tolist() for each in columns), strict=True)
    for key, record, at_ms, feature, since_ms, what in rows:
        reason, is_close = _REASONS[what], what != "begins"
        yield _Event(record, key, _whole_ms(at_ms), feature, since_ms, reason, is_close)


def _alert(event: _Event, policy: NoDataPolicy, metadata: RecordMetadata) -> Alert:
    """Return an event as it is published."""
    opened_ms = _whole_ms(event.since_ms + policy.no_data_after_ms)
    feature = None if event.feature < 0 else policy.features.names[event.feature]
    return Alert(
        schema_version=ALERT_SCHEMA_VERSION,
        alert_id=_alert_id(event, policy, metadata),
        event="close" if event.is_close else "open",
        event_number=2 if event.is_close else 1,
        key=text_of(event.key),
        window_start_ms=_whole_ms(event.since_ms),
        window_end_ms=event.at_ms,
        source=Source.of(metadata),
        reconstruction_error=None,
        threshold=None,
        anomaly_score=None,
        severity=policy.severity,
        bundle=policy.bundle,
        sentence=no_data_sentence(
            feature, event.at_ms - event.since_ms, is_over=event.reason in _DATA_CAME
        ),
        explanation=None,
        event_time_ms=event.at_ms,
        opened_ms=opened_ms,
        last_anomalous_ms=None,
        n_windows=0,
        n_anomalous=0,
        reason=event.reason,
        continues_alert_id=None,
        is_summary=False,
        n_alerts=1,
        detected_at_ms=0,
        feature=feature,
    )


def _alert_id(event: _Event, policy: NoDataPolicy, metadata: RecordMetadata) -> str:
    """Return 32 hexadecimal digits that name what has no data, and since when."""
    place = f"{metadata.topic}\n{metadata.partition}\n{policy.bundle.version}"
    what = f"no data\n{event.feature}\n{event.since_ms!r}\n"
    return hashlib.sha256(f"{place}\n{what}".encode() + event.key).hexdigest()[:32]


def _whole_ms(time_ms: float) -> int:
    """Return a time in whole milliseconds; halves are rounded up."""
    return floor(time_ms + 0.5)
