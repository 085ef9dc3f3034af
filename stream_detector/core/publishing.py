"""Alerts and rejected records as the bytes that go to Kafka.

Pure. What is written depends on the input alone, but for the time of detection.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from stream_detector.core.codec import TIMESTAMP_MS_MAX
from stream_detector.core.records import Alert, Headers, Origin, OutputRecord, Rejected

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONNECT = "__connect.errors."

LEFT_OUT_HEADER = "stream-detector.left-out"
"""What a dead letter lacks because its topic would not take it: names of parts, and their bytes."""


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


def encode_dead_letter(
    rejected: Rejected, value: bytes | None, origin: Origin, topic: str, bytes_max: int
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
    bytes_max
        Largest dead letter: key, value, and names and values of headers. A larger one goes
        without its value; if that is not enough, without its key, and then without the headers it
        came with. `LEFT_OUT_HEADER` says what was left out and how many bytes it had; the record
        itself is still where the reason's headers say.

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
    why: Headers = [(_CONNECT + name, str(reason).encode()) for name, reason in reasons.items()]
    sizes = {
        "value": len(value or b""),
        "key": len(origin.key or b""),
        "headers": _n_bytes(origin.headers),
    }
    kept = {name: size for name, size in sizes.items() if size}
    added, left_out = why, []
    while kept and sum(kept.values()) + _n_bytes(added) > bytes_max:
        name = next(iter(kept))
        left_out.append(f"{name} {kept.pop(name)}")
        added = [*why, (LEFT_OUT_HEADER, ", ".join(left_out).encode())]
    return OutputRecord(
        topic,
        origin.key if "key" in kept or not sizes["key"] else None,
        value if "value" in kept or not sizes["value"] else None,
        [*(origin.headers if "headers" in kept else ()), *added],
        origin.timestamp_ms if origin.timestamp_ms >= 0 else None,
    )


def is_left_out(dead_letter: OutputRecord) -> bool:
    """Return whether a part of a dead letter was left out because it was too large."""
    return dead_letter.headers[-1][0] == LEFT_OUT_HEADER


def _n_bytes(headers: Headers) -> int:
    """Return the bytes of names and values."""
    return sum(len(name.encode(errors="replace")) + len(value or b"") for name, value in headers)
