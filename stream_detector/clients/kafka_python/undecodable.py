"""Read the records that kafka-python cannot decode although the broker's log is sound.

The library decodes batches of records in whole: one record that it cannot decode stops every poll
of its partition. A producer may write such records, and a broker accepts them:

| What a record holds | What is read |
| --- | --- |
| the name of a header that is not UTF-8 | all but that header; the record is `Unreadable` |
| attributes above 127 | the record as it is |
| more bytes behind a batch compressed with gzip | the records as they are |
| lz4 with a wrong checksum, or what else cannot be decompressed | an `Unreadable` record each |

So after such an error the batch is fetched again by a request of our own, and decoded here. A batch
with a wrong checksum is none of these: the broker or the way from it damaged it.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import kafka
import snappy
import zstandard
from kafka import errors as kafka_errors
from kafka.protocol.consumer import FetchRequest
from kafka.record import MemoryRecords
from kafka.record.util import decode_varint

from stream_detector.clients import _limits
from stream_detector.clients._unreadable import undecodable, without_bad_names
from stream_detector.core.records import Headers, TopicPartition

DECODING_ERRORS = (
    kafka_errors.CorruptRecordError,
    kafka_errors.UnsupportedCodecError,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    snappy.UncompressError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What a poll raises where it cannot decode records, of the library and of its codecs."""

_FETCH_WAIT_MS = 500
_READ_COMMITTED = 1
_FORMAT_WITH_HEADERS = 2
_GZIP = 1


class DecodedRecord(NamedTuple):
    """A record as `to_batch` takes it, with the names that the library's own records have."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class DecodedBatch(NamedTuple):
    """The records of one batch from a position on.

    Parameters
    ----------
    records
        In order; empty where the batch holds none from there on.
    next_offset
        Where the next batch begins.
    """

    records: list[DecodedRecord]
    next_offset: int


def take_failed(consumer: Any) -> TopicPartition | None:
    """Return the partition whose records the last poll could not decode; None if it was another.

    The error does not say it, but the consumer still holds what it failed at. It lets go of that
    here: where the position comes back to the same offset, it would try to read on without an end.
    """
    part = consumer._fetcher._next_partition_records  # noqa: SLF001
    if not part:
        return None
    part.drain()
    where = part.topic_partition
    return TopicPartition(*where) if where in consumer.assignment() else None


def drop_failed(consumer: Any) -> None:
    """Let go of records that failed and whose error is still to come: they may be paused now."""
    fetcher = consumer._fetcher  # noqa: SLF001
    part = fetcher._next_partition_records  # noqa: SLF001
    has_failed = fetcher._next_in_line_exception_metadata is not None  # noqa: SLF001
    if part and (has_failed or part._next_inline_exception is not None):  # noqa: SLF001
        fetcher._next_in_line_exception_metadata = None  # noqa: SLF001
        part.drain()


def read_batch(consumer: Any, where: TopicPartition, offset: int) -> DecodedBatch:
    """Fetch the batch of records that holds an offset, and decode what can be.

    Parameters
    ----------
    consumer
        Of the library; its connections are used.
    where
        An assigned partition.
    offset
        The position in it.

    Raises
    ------
    kafka.errors.CorruptRecordError
        If the batch has a wrong checksum.
    kafka.errors.KafkaError
        If the broker does not answer, or refuses.
    """
    for batch in _fetch(consumer, where, offset):
        if batch.magic < _FORMAT_WITH_HEADERS or not batch.validate_crc():
            reason = f"{_place(where, batch.base_offset)}: wrong checksum or unknown format"
            raise kafka_errors.CorruptRecordError(reason)
        if batch.last_offset >= offset:
            records = [each for each in _decode(batch, where) if each.offset >= offset]
            return DecodedBatch(records, batch.next_offset)
    return DecodedBatch([], offset)


def _fetch(consumer: Any, where: TopicPartition, offset: int) -> MemoryRecords:
    """Return the batches of a partition from an offset on, as the broker has them."""
    theirs = kafka.TopicPartition(*where)
    node = consumer._cluster.leader_for_partition(theirs)  # noqa: SLF001
    if node is None or node < 0:
        raise kafka_errors.LeaderNotAvailableError(where)
    partition = FetchRequest.FetchTopic.FetchPartition(
        partition=where.partition, fetch_offset=offset, partition_max_bytes=1
    )
    topic = FetchRequest.FetchTopic(topic=where.topic, partitions=[partition])
    request = FetchRequest(
        max_wait_ms=_FETCH_WAIT_MS,
        min_bytes=1,
        max_bytes=1,  # a broker sends the first batch in whole
        isolation_level=_READ_COMMITTED,
        topics=[topic],
        min_version=FetchRequest.min_version_for_isolation_level(_READ_COMMITTED),
        max_version=11,  # the last that names topics and asks for no epoch of what was read
    )
    manager = consumer._manager  # noqa: SLF001
    sent = manager.send(request, node_id=node)
    answer = consumer._net.run(manager.wait_for, sent, _limits.REQUEST_TIMEOUT_MS)  # noqa: SLF001
    (found,) = answer.responses[0].partitions
    code = answer.error_code or found.error_code
    if code:
        raise kafka_errors.for_code(code)(where)
    return MemoryRecords(found.records or b"")


def _decode(batch: Any, where: TopicPartition) -> Iterator[DecodedRecord]:
    """Yield every record of a batch, those that cannot be decoded as `Unreadable`."""
    try:
        data = _decompress(batch)
    except DECODING_ERRORS as error:
        for offset in range(batch.base_offset, batch.next_offset):
            yield _unreadable(where, offset, error)
        return
    at = 0
    for number in range(batch.records_count):
        try:
            n_bytes, begin = decode_varint(data, at)
            record = _decode_record(data[begin : begin + n_bytes], batch, where)
        except DECODING_ERRORS as error:
            for offset in range(batch.base_offset + number, batch.next_offset):
                yield _unreadable(where, offset, error)
            return
        yield record
        at = begin + n_bytes


def _decompress(batch: Any) -> bytes:
    """Return the records of a batch as bytes."""
    try:
        iter(batch)  # decompresses
    except (gzip.BadGzipFile, EOFError, zlib.error):
        if batch.compression_type != _GZIP:
            raise
        # What follows the first stream is nothing of the records.
        compressed = bytes(batch._buffer[batch._pos :])  # noqa: SLF001
        return zlib.decompressobj(wbits=31).decompress(compressed)
    return bytes(batch._buffer[batch._pos :])  # noqa: SLF001


def _decode_record(data: bytes, batch: Any, where: TopicPartition) -> DecodedRecord:
    """Return a record from its bytes, which follow its length.

    Notes
    -----
    Source: Apache Kafka, "Record" of message format version 2.
    """
    delta_ms, at = decode_varint(data, 1)  # the first byte holds attributes, which mean nothing
    offset_delta, at = decode_varint(data, at)
    key, at = _take(data, at)
    value, at = _take(data, at)
    n_headers, at = decode_varint(data, at)
    headers: list[tuple[str, bytes | None]] = []
    bad_names: list[bytes] = []
    n_left_out = 0
    for _ in range(n_headers):
        name, at = _take(data, at)
        content, at = _take(data, at)
        try:
            headers.append(((name or b"").decode(), content))
        except UnicodeDecodeError:
            bad_names.append(name or b"")
            n_left_out += len(name or b"") + len(content or b"")
    found: Headers = headers
    if bad_names:
        found = without_bad_names(headers, bad_names, n_left_out)
    is_broker_time = batch.timestamp_type
    return DecodedRecord(
        topic=where.topic,
        partition=where.partition,
        offset=batch.base_offset + offset_delta,
        timestamp=batch.max_timestamp if is_broker_time else batch.first_timestamp + delta_ms,
        key=key,
        value=value,
        headers=found,
    )


def _take(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return the bytes behind their length, None where that is -1, and where they end."""
    n_bytes, at = decode_varint(data, at)
    if n_bytes < 0:
        return None, at
    if at + n_bytes > len(data):
        message = f"{n_bytes} bytes from {at} on are more than the record's {len(data)}"
        raise ValueError(message)
    return data[at : at + n_bytes], at + n_bytes


def _unreadable(where: TopicPartition, offset: int, error: Exception) -> DecodedRecord:
    """Return a record of which only the place is known."""
    return DecodedRecord(*where, offset, -1, None, None, undecodable(error))


def _place(where: TopicPartition, offset: int) -> str:
    """Return how messages name an offset of a partition."""
    return f"{where.topic}[{where.partition}]@{offset}"
