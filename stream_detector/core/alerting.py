"""From anomalous windows to alerts, and from alerts and rejected records to bytes.

Pure. An alert's id is a hash of where its record lies and what scored it, so
the same input gives the same alert again, live or on replay.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from stream_detector.core.codec import TIMESTAMP_MS_MAX
from stream_detector.core.records import (
    Alert,
    BundleReference,
    Origin,
    OutputRecord,
    Rejected,
    Source,
)

ALERT_SCHEMA_VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONNECT = "__connect.errors."


def severity_of(anomaly_score: float, severities: Sequence[tuple[str, float]]) -> str:
    """Return the name of the highest severity that an anomaly score reaches.

    Parameters
    ----------
    anomaly_score
        Error / threshold, above 1.
    severities
        (name, anomaly score from which it holds), ascending; the first holds from 1.

    Examples
    --------
    >>> severity_of(2.5, (("warning", 1.0), ("critical", 2.0)))
    'critical'
    """
    name = severities[0][0]
    for candidate, score_min in severities:
        if anomaly_score >= score_min:
            name = candidate
    return name


def alert_id(origin: Origin, bundle_version: str) -> str:
    """Return 32 hexadecimal digits that name the alert of one record and one bundle version."""
    place = f"{origin.topic}\n{origin.partition}\n{origin.offset}\n{bundle_version}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def open_alert(
    origin: Origin,
    window_ms: tuple[int, int],
    score: tuple[float, float, str],
    bundle: BundleReference,
) -> Alert:
    """Make the one alert of an anomalous record that is a whole window.

    Parameters
    ----------
    origin
        The record.
    window_ms
        Times of the first and the last sample.
    score
        Reconstruction error, threshold and severity.
    bundle
        What scored.

    Returns
    -------
    An alert with `detected_at_ms` 0: whoever has a clock fills it in.
    """
    error, threshold, severity = score
    return Alert(
        schema_version=ALERT_SCHEMA_VERSION,
        alert_id=alert_id(origin, bundle.version),
        event="open",
        event_number=1,
        key=_text(origin.key),
        window_start_ms=window_ms[0],
        window_end_ms=window_ms[1],
        source=Source(origin.topic, origin.partition, origin.offset),
        reconstruction_error=error,
        threshold=threshold,
        anomaly_score=error / threshold,
        severity=severity,
        bundle=bundle,
        explanation=None,
        detected_at_ms=0,
    )


def encode_alert(alert: Alert, topic: str, key: bytes | None, detected_at_ms: int) -> OutputRecord:
    """Write an alert as JSON with CloudEvents 1.0 headers (Kafka binding, binary mode).

    Parameters
    ----------
    alert
        What to publish.
    topic
        Where to.
    key
        Series key of the input record, byte for byte.
    detected_at_ms
        Now.

    Notes
    -----
    Source: CloudEvents 1.0.2, "Kafka Protocol Binding", section 3.2 (binary content mode).
    `ce_time` is the time of the window's last sample, not of its detection, so that a replay
    writes the same headers; it is left out where the record has no usable time.
    """
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{alert.alert_id}-{alert.event_number}".encode()),
        ("ce_type", f"stream-detector.alert.{alert.event}".encode()),
        ("ce_source", f"/stream-detector/{alert.bundle.name}/{alert.bundle.version}".encode()),
        ("ce_subject", alert.key.encode()),
        ("content-type", b"application/json"),
    ]
    if 0 <= alert.window_end_ms <= TIMESTAMP_MS_MAX:
        time = _EPOCH + timedelta(milliseconds=alert.window_end_ms)
        headers.append(("ce_time", time.isoformat(timespec="milliseconds").encode()))
    value = orjson.dumps(replace(alert, detected_at_ms=detected_at_ms))
    return OutputRecord(topic, key, value, headers)


def encode_dead_letter(
    rejected: Rejected, value: bytes | None, origin: Origin, topic: str
) -> OutputRecord:
    """Write a record that was put aside: byte for byte as it came, with the reason in headers.

    Parameters
    ----------
    rejected
        Why.
    value
        The record's value.
    origin
        The rest of the record.
    topic
        The dead-letter topic.

    Notes
    -----
    Source: Apache Kafka, KIP-298 "Error Handling in Connect", headers of the dead letter queue.
    """
    reasons = {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "stage": rejected.stage,
        "exception.class.name": type(rejected.error).__name__,
        "exception.message": rejected.error,
    }
    headers = list(origin.headers)
    headers += [(_CONNECT + name, str(reason).encode()) for name, reason in reasons.items()]
    timestamp_ms = origin.timestamp_ms if origin.timestamp_ms >= 0 else None
    return OutputRecord(topic, origin.key, value, headers, timestamp_ms)


def _text(key: bytes | None) -> str:
    """Return a series key as text; what is not UTF-8 appears as backslash escapes."""
    return "" if key is None else key.decode("utf-8", "backslashreplace")
