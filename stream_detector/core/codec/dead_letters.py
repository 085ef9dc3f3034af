"""Dead letters: rejected records written for the dead-letter topic, read back, and sent again.

Pure. A dead letter is the record byte for byte, with the reason in headers after its own::

    key, value                                   those of the record
    its headers                                  as they were, in order
    __connect.errors.topic, partition, offset    where the record is
    __connect.errors.stage                       "decode", "check", "order", "publish", "deliver"
    __connect.errors.exception.class.name        as RecordShapeError
    __connect.errors.exception.message           what is wrong, and what to do
    stream-detector.left-out                     only where parts were too large or unreadable
    stream-detector.changed                      only where the topic did not take its time or key
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stream_detector.core.record_sizes import n_header_bytes
from stream_detector.core.records import (
    Headers,
    OutputRecord,
    RecordMetadata,
    Rejected,
    Unreadable,
)

LEFT_OUT_HEADER = "stream-detector.left-out"
"""Header that names the parts of a record that its dead letter lacks, with their bytes."""

CHANGED_HEADER = "stream-detector.changed"
"""Header of an alert or a dead letter that its topic refused as it was: "timestamp" with the time
that it should have, "key none" where it has its record's place as a key because it had none."""

REDRIVEN_FROM = "stream-detector.redriven-from"
"""Header of a redriven record: its dead letter, as topic[partition]@offset."""

HEADER_OVERHEAD_MAX = 256
"""Bytes that Kafka may add to names and values of a record's headers before they count as part of
its size. Together with what a batch and the reason add, a dead letter of the size that
`dead_letter_bytes_max` says by default fits into a topic with Kafka's default limit."""

_REASONS = tuple(
    f"__connect.errors.{name}"
    for name in (
        "topic", "partition", "offset", "stage", "exception.class.name", "exception.message"
    )
)  # fmt: skip
HEADERS_MAX = 99_000
"""Most headers of a record that its dead letter keeps. librdkafka, which many clients are made
with, hands over none of more than 100,000, so the reason would be lost with them."""

_NO_KEY = "key none"
_CHANGED = re.compile(r"timestamp ([0-9]{1,19})|key none|timestamp ([0-9]{1,19}), key none")
_NUMBER = re.compile(rb"[0-9]{1,19}")
_LEFT_OUT = re.compile(rb"(value|key|headers) ([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record is in Kafka."""

    topic: str
    partition: int
    offset: int


class Reason(NamedTuple):
    """Why a record was rejected, as its dead letter says.

    Parameters
    ----------
    source
        Where the record is.
    stage
        Where it was rejected: "decode", "check", "keys", "order", "publish" or "deliver".
    error, message
        Class and text of the error.
    """

    source: RecordPlace
    stage: str
    error: str
    message: str


class DeadLetter(NamedTuple):
    """A record of the dead-letter topic.

    Parameters
    ----------
    metadata
        Where the dead letter is, with its key and every header.
    value
        Value of the rejected record.
    headers
        Headers of the rejected record, without those that were added.
    reason
        Why it was rejected; None where `encode_dead_letter` did not write this record.
    left_out
        Bytes of each part that was left out: "value", "key", "headers". Only the input topic
        still has that part. Empty where nothing was left out.
    """

    metadata: RecordMetadata
    value: bytes | None
    headers: Headers
    reason: Reason | None
    left_out: Mapping[str, int]

    @property
    def changed(self) -> str:
        """What was changed because the topic refused it, as `CHANGED_HEADER` says it; or empty."""
        _, parts = _split_changed(self.metadata.headers)
        return ", ".join(parts) if self.reason is not None else ""

    @property
    def key(self) -> bytes | None:
        """Key of the rejected record; None where it had none, whatever the dead letter has."""
        has_none = self.changed.endswith(_NO_KEY)
        return None if has_none else self.metadata.key

    @property
    def timestamp_ms(self) -> int:
        """Time of the rejected record, milliseconds since 1970-01-01 UTC; -1 where it had none."""
        own = _CHANGED.fullmatch(self.changed)
        given = own and (own[1] or own[2])
        return int(given) if given else self.metadata.timestamp_ms

    @property
    def redriven_from(self) -> str | None:
        """The earlier dead letter from which this record was redriven; None where there is none."""
        marks = [value for name, value in self.headers if name == REDRIVEN_FROM]
        return _text(marks[-1]) if marks else None


def encode_dead_letter(
    rejected: Rejected, value: bytes | None, metadata: RecordMetadata, topic: str, bytes_max: int
) -> OutputRecord:
    """Write a rejected record as a dead letter: byte for byte, with the reason in headers.

    Parameters
    ----------
    rejected
        Why it was rejected.
    value
        Value of the record.
    metadata
        The rest of the record.
    topic
        The dead-letter topic.
    bytes_max
        Largest dead letter: key, value, and names and values of headers. A larger one is written
        without its value; if that is not enough, without its key, and then without the record's
        own headers. More headers than `HEADERS_MAX` are left out, too. `LEFT_OUT_HEADER` says what
        was left out and how many bytes it had, also of a record that was `Unreadable`; the record
        itself is still where the reason's headers say.

    Notes
    -----
    Source: Apache Kafka, KIP-298 "Error Handling in Connect", headers of the dead letter queue.
    """
    reasons = (
        metadata.topic,
        metadata.partition,
        metadata.offset,
        rejected.stage,
        type(rejected.error).__name__,
        rejected.error,
    )
    why = [(name, str(each).encode()) for name, each in zip(_REASONS, reasons, strict=True)]
    sizes = {
        "value": len(value or b""),
        "key": len(metadata.key or b""),
        "headers": _n_bytes(metadata.headers),
    }
    # Many small headers take more room in Kafka than their names and values.
    n_more = max(0, n_header_bytes(metadata.headers) - sizes["headers"] - HEADER_OVERHEAD_MAX)
    kept = {name: size for name, size in sizes.items() if size or (name == "headers" and n_more)}
    dropped: set[str] = set()
    left_out: dict[str, int] = {}
    if isinstance(metadata.headers, Unreadable):
        left_out |= metadata.headers.left_out
    if len(metadata.headers) > HEADERS_MAX:
        dropped.add("headers")
        left_out["headers"] = left_out.get("headers", 0) + kept.pop("headers")
        n_more = 0
    added = [*why, *_left_out_header(left_out)]
    while kept and sum(kept.values()) + n_more + _n_bytes(added) > bytes_max:
        name = next(iter(kept))
        dropped.add(name)
        left_out[name] = left_out.get(name, 0) + kept.pop(name)
        added = [*why, *_left_out_header(left_out)]
    return OutputRecord(
        topic,
        None if "key" in dropped else metadata.key,
        None if "value" in dropped else value,
        [*(() if "headers" in dropped else metadata.headers), *added],
        _known_ms(metadata),
    )


def is_left_out(dead_letter: OutputRecord) -> bool:
    """Return whether a part of a dead letter was too large or unreadable, and left out."""
    own, _ = _split_changed(dead_letter.headers)
    return _ends_with_left_out(own)


def without_time(output: OutputRecord) -> OutputRecord:
    """Return an alert or dead letter with the time of sending; `CHANGED_HEADER` has its own.

    Examples
    --------
    >>> without_time(OutputRecord("dead-letters", None, b"v", timestamp_ms=9)).headers
    [('stream-detector.changed', b'timestamp 9')]
    """
    own, changed = _split_changed(output.headers)
    parts = [f"timestamp {output.timestamp_ms}", *changed]
    return output._replace(headers=[*own, _changed_header(parts)], timestamp_ms=None)


def with_place_as_key(output: OutputRecord, source: RecordMetadata) -> OutputRecord:
    """Return an alert or dead letter without key with the place of its record as one.

    Examples
    --------
    >>> source = RecordMetadata("telemetry", 2, 17, 0, None, ())
    >>> with_place_as_key(OutputRecord("dead-letters", None, b"v"), source).key
    b'telemetry[2]@17'
    """
    own, changed = _split_changed(output.headers)
    headers = [*own, _changed_header([*changed, _NO_KEY])]
    return output._replace(headers=headers, key=source.place.encode())


def decode_dead_letter(metadata: RecordMetadata, value: bytes | None) -> DeadLetter:
    """Read a record of the dead-letter topic: the inverse of `encode_dead_letter`.

    Only the last headers count: the six reasons in the order in which they are written, and after
    them `LEFT_OUT_HEADER` and `CHANGED_HEADER` where they are present. A record that had headers of
    the same names before, from another dead letter queue, keeps them.

    Parameters
    ----------
    metadata
        Where the dead letter is, its key and all its headers.
    value
        Value of the dead letter.

    Returns
    -------
    A dead letter for any record: one whose last headers are others has no reason. Bytes of stage,
    class and message that are not UTF-8 appear as backslash escapes.

    Examples
    --------
    >>> decode_dead_letter(RecordMetadata("dead-letters", 0, 5, 0, b"k", ()), b"v").reason is None
    True
    """
    every = [(name, content) for name, content in metadata.headers]
    headers, _ = _split_changed(every)
    is_incomplete = _ends_with_left_out(headers)
    end = len(headers) - is_incomplete
    start = max(0, end - len(_REASONS))
    reason = _decode_reason(headers[start:end])
    left_out = _decode_left_out(headers[-1][1] or b"") if is_incomplete else {}
    if isinstance(metadata.headers, Unreadable):
        left_out = {**(left_out or {}), **metadata.headers.left_out}
    if reason is None or left_out is None:
        return DeadLetter(metadata, value, every, None, {})
    return DeadLetter(metadata, value, headers[:start], reason, left_out)


def encode_redrive(letter: DeadLetter, topic: str | None) -> OutputRecord:
    """Write the record of a dead letter once more, to be processed again.

    Key, value, time and headers are those of the record. `REDRIVEN_FROM` is added, in place of the
    one of an earlier redrive, so that a record that is rejected again and again is recognised and
    does not grow.

    Parameters
    ----------
    letter
        Dead letter to redrive.
    topic
        Topic to send to, where the key chooses the partition. None sends it to the partition that
        it came from, which has the other records of its key whatever partitioner their producer
        uses.

    Raises
    ------
    ValueError
        If a part of the dead letter was left out, or `topic` is None and the dead letter does not
        say where it came from: a caller's mistake.
    """
    metadata, partition = letter.metadata, None
    where = metadata.place
    if letter.left_out:
        message = f"{where} lacks its {', '.join(letter.left_out)}, so it is not the record it was"
        raise ValueError(message)
    if topic is None:
        if letter.reason is None:
            message = f"{where} has no original topic"
            raise ValueError(message)
        topic, partition = letter.reason.source.topic, letter.reason.source.partition
    headers = [header for header in letter.headers if header[0] != REDRIVEN_FROM]
    headers.append((REDRIVEN_FROM, where.encode()))
    time_ms = letter.timestamp_ms if letter.timestamp_ms >= 0 else None
    return OutputRecord(topic, letter.key, letter.value, headers, time_ms, partition)


def _split_changed(headers: Headers) -> tuple[list[tuple[str, bytes | None]], list[str]]:
    """Return the headers before `CHANGED_HEADER`, if that is the last, and the parts in it."""
    own = list(headers)
    if own and own[-1][0] == CHANGED_HEADER:
        text = _text(own[-1][1])
        if _CHANGED.fullmatch(text):
            return own[:-1], text.split(", ")
    return own, []


def _changed_header(parts: list[str]) -> tuple[str, bytes]:
    """Return the header that says what was changed."""
    return CHANGED_HEADER, ", ".join(parts).encode()


def _ends_with_left_out(headers: Headers) -> bool:
    """Return whether the last header says that parts were left out."""
    return len(headers) > 0 and headers[-1][0] == LEFT_OUT_HEADER


def _decode_reason(headers: Headers) -> Reason | None:
    """Return the reason in the last six headers; None where these are other headers."""
    if tuple(name for name, _ in headers) != _REASONS:
        return None
    topic, partition, offset, stage, error, message = (value or b"" for _, value in headers)
    if not (_NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
        return None
    source = RecordPlace(_text(topic), int(partition), int(offset))
    return Reason(source, _text(stage), _text(error), _text(message))


def _decode_left_out(value: bytes) -> dict[str, int] | None:
    """Return the bytes of each part that was left out; None where the value is malformed."""
    parts = [_LEFT_OUT.fullmatch(part) for part in value.split(b", ")]
    found = {part[1].decode(): int(part[2]) for part in parts if part}
    return found if len(found) == len(parts) else None


def _left_out_header(left_out: Mapping[str, int]) -> Headers:
    """Return the header that says what is missing, none where nothing is."""
    text = ", ".join(f"{part} {size}" for part, size in left_out.items())
    return [(LEFT_OUT_HEADER, text.encode())] if left_out else []


def _n_bytes(headers: Headers) -> int:
    """Return the size of names and values in bytes."""
    return sum(len(name.encode(errors="replace")) + len(value or b"") for name, value in headers)


def _known_ms(metadata: RecordMetadata) -> int | None:
    """Return the time of a record in milliseconds; None where it has none."""
    return metadata.timestamp_ms if metadata.timestamp_ms >= 0 else None


def _text(value: bytes | None) -> str:
    """Return text; bytes that are not UTF-8 appear as backslash escapes."""
    return (value or b"").decode(errors="backslashreplace")
