"""Alerts and rejected records as the bytes that go to Kafka, and dead letters read back.

Pure. What is written depends on the input alone, but for the time of detection.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

from stream_detector.core.codec import TIMESTAMP_MS_MAX
from stream_detector.core.records import Alert, Headers, Origin, OutputRecord, Rejected, Source

REPLAYED_FROM = "stream-detector.replayed-from"
"""Header of a replayed record: the dead letter it was, as topic[partition]@offset."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REASONS = tuple(
    f"__connect.errors.{name}"
    for name in (
        "topic", "partition", "offset", "stage", "exception.class.name", "exception.message"
    )
)  # fmt: skip
_NUMBER = re.compile(rb"[0-9]{1,19}")


class Reason(NamedTuple):
    """What a dead letter says of itself.

    Parameters
    ----------
    source
        Where the record lay.
    stage
        Where in the flow it was put aside.
    error, message
        Class and text of what was wrong with it.
    """

    source: Source
    stage: str
    error: str
    message: str


class DeadLetter(NamedTuple):
    """A record of the dead-letter topic.

    Parameters
    ----------
    origin
        Where the dead letter lies, with every header.
    value
        The value of the record that was put aside.
    headers
        The headers that record had, without those that say why.
    reason
        Why; None where the record was not written by `encode_dead_letter`.
    """

    origin: Origin
    value: bytes | None
    headers: Headers
    reason: Reason | None

    @property
    def replayed_from(self) -> str | None:
        """The dead letter that was replayed and became this one; None where there is none."""
        marks = [value for name, value in self.headers if name == REPLAYED_FROM]
        return _text(marks[-1]) if marks else None


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
    reasons = (
        origin.topic,
        origin.partition,
        origin.offset,
        rejected.stage,
        type(rejected.error).__name__,
        rejected.error,
    )
    headers = list(origin.headers)
    headers += [(name, str(each).encode()) for name, each in zip(_REASONS, reasons, strict=True)]
    return OutputRecord(topic, origin.key, value, headers, _known_ms(origin))


def decode_dead_letter(origin: Origin, value: bytes | None) -> DeadLetter:
    """Read a record of the dead-letter topic: the inverse of `encode_dead_letter`.

    Only the last six headers say why, in the order they are written in. A record that had headers
    of the same names, from another dead letter queue, keeps them.

    Parameters
    ----------
    origin
        Where the dead letter lies, its key and all its headers.
    value
        Its value.

    Returns
    -------
    Any record is taken: one whose last headers are not those six has no reason. Bytes of stage,
    class and message that are not UTF-8 appear as backslash escapes.

    Examples
    --------
    >>> decode_dead_letter(Origin("dead-letters", 0, 5, 0, b"k", ()), b"v").reason is None
    True
    """
    headers = [(name, content) for name, content in origin.headers]
    reason = _decode_reason(headers[-len(_REASONS) :])
    own = headers if reason is None else headers[: -len(_REASONS)]
    return DeadLetter(origin, value, own, reason)


def encode_replay(letter: DeadLetter, topic: str | None) -> OutputRecord:
    """Write the record that a dead letter was, to be tried again.

    Key, value, time and headers are those it came with. `REPLAYED_FROM` is added, in place of the
    one of an earlier replay, so that a record that goes round can be seen and does not grow.

    Parameters
    ----------
    letter
        What to send.
    topic
        Where to; the key chooses the partition. None sends it where it came from, partition
        included: other records of its key lie there, whatever partitioner their producer has.

    Raises
    ------
    ValueError
        If `topic` is None and the dead letter does not say where it came from: a caller's mistake.
    """
    origin, partition = letter.origin, None
    if topic is None:
        if letter.reason is None:
            message = f"{origin.topic}[{origin.partition}]@{origin.offset} has no original topic"
            raise ValueError(message)
        topic, partition = letter.reason.source.topic, letter.reason.source.partition
    mark = f"{origin.topic}[{origin.partition}]@{origin.offset}".encode()
    headers = [header for header in letter.headers if header[0] != REPLAYED_FROM]
    headers.append((REPLAYED_FROM, mark))
    return OutputRecord(topic, origin.key, letter.value, headers, _known_ms(origin), partition)


def _decode_reason(headers: Headers) -> Reason | None:
    """Return what the six headers of a dead letter say; None where they are others."""
    if tuple(name for name, _ in headers) != _REASONS:
        return None
    topic, partition, offset, stage, error, message = (value or b"" for _, value in headers)
    if not (_NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
        return None
    source = Source(_text(topic), int(partition), int(offset))
    return Reason(source, _text(stage), _text(error), _text(message))


def _known_ms(origin: Origin) -> int | None:
    """Return the time of a record; None where it has none."""
    return origin.timestamp_ms if origin.timestamp_ms >= 0 else None


def _text(value: bytes | None) -> str:
    """Return text; bytes that are not UTF-8 appear as backslash escapes."""
    return (value or b"").decode(errors="backslashreplace")
