"""Alerts as the bytes that go to Kafka.

Pure. What is written depends on the input alone, but for the time of detection.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from stream_detector.core.codec.windows import TIMESTAMP_MS_MAX
from stream_detector.core.records import Alert, OutputRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    `ce_time` is the event's own time, not that of its detection, so that a replay writes the same
    headers; it is left out where the record has no usable time.
    """
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{alert.alert_id}-{alert.event_number}".encode()),
        ("ce_type", f"stream-detector.alert.{alert.event}".encode()),
        ("ce_source", f"/stream-detector/{alert.bundle.name}/{alert.bundle.version}".encode()),
        ("ce_subject", alert.key.encode()),
        ("content-type", b"application/json"),
    ]
    if 0 <= alert.event_time_ms <= TIMESTAMP_MS_MAX:
        time = _EPOCH + timedelta(milliseconds=alert.event_time_ms)
        headers.append(("ce_time", time.isoformat(timespec="milliseconds").encode()))
    value = orjson.dumps(replace(alert, detected_at_ms=detected_at_ms))
    return OutputRecord(topic, key, value, headers)
