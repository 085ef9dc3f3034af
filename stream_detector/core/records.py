"""What goes in and comes out of the detector: record batches, scores, alerts.

Pure values. A batch is a set of columns, not one object per record: what the
hot path does not read is fetched only for the few records that need it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.errors import DataError

FloatArray = NDArray[np.float32]
"""Windows, reconstructions and everything computed from them step by step."""

Headers = Sequence[tuple[str, bytes | None]]
"""A record's headers, in order, names repeated where the producer repeated them."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    """Where a consumer group goes on in a partition, with a note to whoever goes on.

    Parameters
    ----------
    next_offset
        Last offset done + 1.
    metadata
        One line of text, at most 4,095 bytes of UTF-8; a broker refuses more.
    """

    next_offset: int
    metadata: str = ""


class RecordMetadata(NamedTuple):
    """Everything about one input record but its value.

    Parameters
    ----------
    topic, partition, offset
        Where the record lies.
    timestamp_ms
        The record's time, milliseconds since 1970-01-01 UTC; -1 where it has none.
    key
        The series key as bytes, None where the record has none.
    headers
        All headers, empty where it has none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Headers


class SeriesColumns(NamedTuple):
    """What says which series the records of a batch belong to, and when.

    Parameters
    ----------
    keys
        Series key of each record, None where it has none. Length n_records.
    partitions
        Partition of each record, int64, shape (n_records,).
    timestamps_ms
        Time of each record, milliseconds since 1970-01-01 UTC, -1 where it has none; int64,
        shape (n_records,).
    """

    keys: Sequence[bytes | None]
    partitions: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]


def series_columns(record_metadata: Sequence[RecordMetadata]) -> SeriesColumns:
    """Return the columns of records whose origins are at hand."""
    return SeriesColumns(
        keys=[metadata.key for metadata in record_metadata],
        partitions=np.array([metadata.partition for metadata in record_metadata], dtype=np.int64),
        timestamps_ms=np.array(
            [metadata.timestamp_ms for metadata in record_metadata], dtype=np.int64
        ),
    )


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The records of one poll, as columns.

    Parameters
    ----------
    values
        Record values, one each, None for a tombstone. Length n_records.
    headers
        Headers of each record (None or empty where it has none), or None where no record
        of the batch has any, which is the fast case.
    next_offsets
        For each partition in the batch: last offset read + 1. What to commit once the
        batch is done.
    metadata
        Gives the rest of record `i`. Called for alerts and dead letters only.
    series
        Gives keys, partitions and times of all records. Called only where records are samples
        of a series; a record that is a whole window needs none of it.
    offsets
        Gives the offset of each record, int64, shape (n_records,). Rises within a partition, with
        holes where an offset holds no record.
    """

    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] | None
    next_offsets: Mapping[TopicPartition, int]
    metadata: Callable[[int], RecordMetadata]
    series: Callable[[], SeriesColumns]
    offsets: Callable[[], NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.values)

    def select(
        self, rows: NDArray[np.intp], next_offsets: Mapping[TopicPartition, int]
    ) -> "RecordBatch":
        """Return some of the records.

        Parameters
        ----------
        rows
            Which, ascending, shape (n_selected,).
        next_offsets
            What to commit once they are done.
        """
        numbers = rows.tolist()
        headers = None if self.headers is None else [self.headers[row] for row in numbers]

        def series() -> SeriesColumns:
            whole = self.series()
            keys = [whole.keys[row] for row in numbers]
            return SeriesColumns(keys, whole.partitions[rows], whole.timestamps_ms[rows])

        return RecordBatch(
            values=[self.values[row] for row in numbers],
            headers=headers,
            next_offsets=next_offsets,
            metadata=lambda index: self.metadata(numbers[index]),
            series=series,
            offsets=lambda: self.offsets()[rows],
        )


class OutputRecord(NamedTuple):
    """One record to produce.

    Parameters
    ----------
    topic
        Where to.
    key, value
        Bytes, or None.
    headers
        In order.
    timestamp_ms
        Record time; None lets the client take the time of sending.
    partition
        None lets the key decide.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record put aside, with its reason.

    Parameters
    ----------
    index
        Which record of the batch, 0 .. n_records - 1.
    error
        Why; its class and message become the dead letter's headers.
    stage
        Where in the flow: "decode", "check" for values that cannot be scored, or "order" for
        samples that came too late.
    """

    index: int
    error: DataError
    stage: str = "decode"


@dataclass(frozen=True, slots=True)
class BundleReference:
    """The bundle that scored: its name, and its version (a digest of its content)."""

    name: str
    version: str
