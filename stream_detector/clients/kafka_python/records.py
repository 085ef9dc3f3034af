"""Records of kafka-python as the columns of a `RecordBatch`."""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import RecordBatch, RecordMetadata, SeriesColumns, TopicPartition

_values = attrgetter("value")
_headers = attrgetter("headers")
_keys = attrgetter("key")
_offsets = attrgetter("offset")
_partitions = attrgetter("partition")
_timestamps = attrgetter("timestamp")


def to_batch(polled: Mapping[Any, list[Any]]) -> RecordBatch:
    """Turn the result of a poll into columns, without Python code for each record."""
    records: Sequence[Any] = list(chain.from_iterable(polled.values()))
    has_headers = any(map(_headers, records))
    return RecordBatch(
        values=list(map(_values, records)),
        headers=list(map(_headers, records)) if has_headers else None,
        next_offsets={
            TopicPartition(*partition): of_partition[-1].offset + 1
            for partition, of_partition in polled.items()
        },
        metadata=lambda index: _metadata(records[index]),
        series=lambda: _series(records),
        offsets=lambda: np.fromiter(map(_offsets, records), np.int64, len(records)),
        keys_alone=lambda: list(map(_keys, records)),
    )


def _series(records: Sequence[Any]) -> SeriesColumns:
    """Return keys, partitions and times of all records."""
    return SeriesColumns(
        keys=list(map(_keys, records)),
        partitions=np.fromiter(map(_partitions, records), np.int64, len(records)),
        timestamps_ms=_times(records),
    )


def _times(records: Sequence[Any]) -> NDArray[np.int64]:
    """Return the time of each record."""
    try:
        return np.fromiter(map(_timestamps, records), np.int64, len(records))
    except OverflowError:
        return np.array([as_int64(record.timestamp) for record in records], np.int64)


def as_int64(number: int) -> int:
    """Return a number as 64 bits hold it.

    The library adds a record's time to that of its batch without a bound; a broker and other
    clients wrap the sum around.
    """
    return (number + 2**63) % 2**64 - 2**63


def _metadata(record: Any) -> RecordMetadata:
    """Return everything about a record except its value."""
    return RecordMetadata(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=as_int64(record.timestamp),
        key=record.key,
        headers=record.headers,
    )
