"""What goes into and comes out of the detector: batches of records, samples, records to produce.

Pure values. A batch is a set of columns, not one object per record: what the hot path does not
read is fetched only for the few records that need it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.record_sizes import BATCH_OVERHEAD, n_header_bytes, n_varint_bytes
from stream_detector.errors import DataError

FloatArray = NDArray[np.float32]
"""Windows, reconstructions and everything computed from them step by step."""

Headers = Sequence[tuple[str, bytes | None]]
"""A record's headers, in order, names repeated where the producer repeated them."""


class Unreadable(tuple[tuple[str, bytes | None], ...]):
    """The headers of a record that the Kafka client could not read whole, and what is wrong.

    A producer may write what a client's library cannot decode, for example the name of a header
    that is not UTF-8. The broker's log is sound, and so are the other records. Such a record stands
    in its batch as far as it could be read, and is rejected in place of being decoded.

    Parameters
    ----------
    headers
        Those that could be read.
    error
        Why the record is rejected.
    left_out
        Bytes of each part that is missing, 0 where that is not known: "value", "key", "headers".
        Of headers that is at least so much.

    Examples
    --------
    >>> headers = Unreadable([("a", b"1")], DataError("why"), {"headers": 7})
    >>> list(headers), headers.left_out
    ([('a', b'1')], {'headers': 7})
    """

    error: DataError
    left_out: Mapping[str, int]

    def __new__(
        cls,
        headers: Iterable[tuple[str, bytes | None]],
        error: DataError,
        left_out: Mapping[str, int],
    ) -> Self:
        """Return headers with what is wrong."""
        found = super().__new__(cls, tuple(headers))
        found.error, found.left_out = error, left_out
        return found

    def __bool__(self) -> bool:
        """Return True: also without a header, a batch with such a record is no fast case."""
        return True


TOPIC_BYTES_MAX = 1_048_588
"""Largest batch of records that a topic accepts unless it is configured otherwise: Kafka's default
of `max.message.bytes`."""

_COLUMNS = ("keys", "partitions", "times", "offsets", "headers")

SchemaId = int | str
"""Number of a schema in its registry, or its GUID: hexadecimal digits with hyphens."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    """What a consumer group commits for a partition: the next offset, and a checkpoint as text.

    Parameters
    ----------
    next_offset
        Offset of the last processed record + 1.
    metadata
        One line of text, at most 4,095 bytes of UTF-8; a broker refuses more.
    """

    next_offset: int
    metadata: str = ""


class RecordMetadata(NamedTuple):
    """Everything about one input record except its value.

    Parameters
    ----------
    topic, partition, offset
        Where the record is in Kafka.
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

    @property
    def place(self) -> str:
        """Where the record is, as logs and messages name it: topic[partition]@offset."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class SeriesColumns(NamedTuple):
    """Series keys, partitions and times of the records of a batch, as columns.

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
    """Return keys, partitions and times of records whose metadata is given."""
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
        of the batch has any, which is the fast case. `Unreadable` for a record that could not be
        read whole.
    next_offsets
        For each partition in the batch: offset of the last record + 1. What to commit once the
        batch is processed.
    metadata
        Gives the rest of record `i`. Called for alerts and dead letters only.
    series
        Gives keys, partitions and times of all records. Called only where records are samples of
        a series; a record that is a whole window needs none of it. Whatever is given here is
        called once at most: the batch keeps the result, which nobody may change.
    offsets
        Gives the offset of each record, int64, shape (n_records,), and is called once at most, as
        `series` is. Offsets increase within a partition, with gaps where an offset holds no record.
    keys_alone
        Gives the keys without the other columns of `series`, where that is cheaper.
    schemas
        Those that records name, as `stream_detector.core.codec.schemas.Schema`; or, as a
        `DataError`, why there is none.
    """

    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] | None
    next_offsets: Mapping[TopicPartition, int]
    metadata: Callable[[int], RecordMetadata]
    series: Callable[[], SeriesColumns]
    offsets: Callable[[], NDArray[np.int64]]
    keys_alone: Callable[[], Sequence[bytes | None]] | None = None
    schemas: Mapping[SchemaId, Any] = field(default_factory=dict)

    @classmethod
    def from_columns(
        cls,
        topic: str,
        values: Sequence[bytes | None],
        series: SeriesColumns,
        offsets: Sequence[int] | NDArray[np.int64],
        headers: Sequence[Headers | None] | None = None,
    ) -> Self:
        """Return records of one topic whose columns are at hand.

        Parameters
        ----------
        topic
            Where they are in Kafka.
        values, headers
            As in the batch. Length n_records.
        series
            Their keys, partitions and times; whole numbers of any kind.
        offsets
            Offset of each record, ascending within a partition, shape (n_records,).

        Raises
        ------
        ValueError
            If a column has another length than `values`.

        Examples
        --------
        >>> series = SeriesColumns([b"a", None], np.array([3, 3]), np.array([1_000, -1]))
        >>> batch = RecordBatch.from_columns("t", [b"1", b"2"], series, [7, 9])
        >>> batch.metadata(1).place, *batch.next_offsets.values()
        ('t[3]@9', 10)
        """
        keys, partitions, times_ms = series
        partitions, times_ms = np.asarray(partitions, np.int64), np.asarray(times_ms, np.int64)
        places = np.asarray(offsets, np.int64)  # (n_records,)
        own = [None] * len(values) if headers is None else headers
        lengths = (len(keys), len(partitions), len(times_ms), len(places), len(own))
        for name, n_received in zip(_COLUMNS, lengths, strict=True):
            if n_received != len(values):
                message = f"expected {len(values)} {name}, one a record, received {n_received}"
                raise ValueError(message)

        def metadata(index: int) -> RecordMetadata:
            place = int(partitions[index]), int(places[index]), int(times_ms[index])
            return RecordMetadata(topic, *place, keys[index], own[index] or ())

        return cls(
            values=values,
            headers=own if any(own) else None,
            next_offsets={
                TopicPartition(topic, number): int(places[partitions == number].max()) + 1
                for number in np.unique(partitions).tolist()
            },
            metadata=metadata,
            series=lambda: SeriesColumns(keys, partitions, times_ms),
            offsets=lambda: places,
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "series", cache(self.series))
        object.__setattr__(self, "offsets", cache(self.offsets))

    def __len__(self) -> int:
        return len(self.values)

    def keys(self) -> Sequence[bytes | None]:
        """Return the series key of each record, None where it has none."""
        return self.series().keys if self.keys_alone is None else self.keys_alone()

    def with_keys(self, keys: Sequence[bytes | None]) -> "RecordBatch":
        """Return the same records as those of other series.

        Parameters
        ----------
        keys
            Series key of each record, None where it has none. Length n_records.
        """
        return replace(
            self,
            metadata=lambda index: self.metadata(index)._replace(key=keys[index]),
            series=lambda: self.series()._replace(keys=keys),
            keys_alone=lambda: keys,
        )

    def select(
        self, rows: NDArray[np.intp], next_offsets: Mapping[TopicPartition, int]
    ) -> "RecordBatch":
        """Return some of the records as a batch of their own.

        Parameters
        ----------
        rows
            Which records, ascending, shape (n_selected,).
        next_offsets
            What to commit once they are processed.
        """
        if len(rows) == len(self):
            return replace(self, next_offsets=next_offsets)
        numbers = rows.tolist()

        def series() -> SeriesColumns:
            keys, partitions, times_ms = self.series()
            return SeriesColumns([keys[row] for row in numbers], partitions[rows], times_ms[rows])

        return RecordBatch(
            values=[self.values[row] for row in numbers],
            headers=self.headers and [self.headers[row] for row in numbers],
            next_offsets=next_offsets,
            metadata=lambda index: self.metadata(numbers[index]),
            series=series,
            offsets=lambda: self.offsets()[rows],
            keys_alone=lambda: [*map(self.keys().__getitem__, numbers)],
            schemas=self.schemas,
        )


class OutputRecord(NamedTuple):
    """One record to produce.

    Parameters
    ----------
    topic
        Topic to produce to.
    key, value
        Bytes, or None.
    headers
        Headers, in order.
    timestamp_ms
        Record time, milliseconds since 1970-01-01 UTC; None takes the time of sending.
    partition
        Partition to produce to; None lets the key decide.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None
    partition: int | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of a batch that holds this record alone, uncompressed.

        That is what a broker compares with its topic's `max.message.bytes`.

        Notes
        -----
        Source: Apache Kafka, "Record Batch" and "Record" of message format version 2.

        Examples
        --------
        >>> OutputRecord("alerts", None, None).n_bytes
        68
        """
        sizes = (len(each) if each is not None else -1 for each in (self.key, self.value))
        content = sum(max(0, size) + n_varint_bytes(size) for size in sizes)
        # Attributes, time and offset within the batch are a byte each.
        n_record = 3 + content + n_header_bytes(self.headers)
        return BATCH_OVERHEAD + n_varint_bytes(n_record) + n_record


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that cannot be used, with its reason.

    Parameters
    ----------
    index
        Which record of the batch, 0 to n_records - 1.
    error
        What is wrong with it; class and message become the dead letter's headers.
    stage
        Where it was found: "decode", "check" for values that cannot be scored, "keys" for a new key
        that is one too many, "order" for samples that came too late, "publish" where its alert
        was refused, or "deliver" where a sink of a route did not take it.
    """

    index: int
    error: DataError
    stage: str = "decode"

    def __post_init__(self) -> None:
        # It leads to the frames that hold the batch, and these hold the error again: such a circle
        # would keep every batch with a rejected record in memory until the garbage collector runs.
        self.error.__traceback__ = self.error.__context__ = None


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of some series, as columns: what data sets give and what is scored and replayed.

    Samples of one series are in the order of their times; series may be interleaved.

    Parameters
    ----------
    keys
        Names of the series. Length n_series.
    series
        Which series each sample belongs to, an index into `keys`, shape (n_samples,).
    times_ms
        Float64, shape (n_samples,), milliseconds since 1970-01-01 UTC, with fractions: a signal
        of 360 samples a second has a sample every 2.78 ms.
    values
        Float32, or float64 as a file has them, C-contiguous, shape (n_samples, n_features), unit:
        the signal's. NaN is a missing value.
    labels
        Int8, shape (n_samples,), 0 normal and 1 anomalous; None where there are none.
    """

    keys: tuple[str, ...]
    series: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: NDArray[Any]
    labels: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class BundleReference:
    """The bundle that scored.

    Parameters
    ----------
    name
        Its name, from the recipe.
    version
        Its version: a digest of its content.
    """

    name: str
    version: str

    def with_input(self, description: str) -> "BundleReference":
        """Return the same bundle where records are read in another way than it says.

        Parameters
        ----------
        description
            How they are read.

        Examples
        --------
        >>> BundleReference("pump", "1f").with_input("{}").version[:12]
        'be29953e9ef5'
        """
        text = f"{self.version} {description}"
        return replace(self, version=hashlib.sha256(text.encode()).hexdigest())
