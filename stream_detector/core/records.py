"""What goes in and comes out of the detector: record batches, scores, alerts.

Pure values. A batch is a set of columns, not one object per record: what the
hot path does not read is fetched only for the few records that need it.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.explanations import Explanation
from stream_detector.errors import DataError

FloatArray = NDArray[np.float32]
"""Windows, reconstructions and everything computed from them step by step."""

Headers = Sequence[tuple[str, bytes | None]]
"""A record's headers, in order, names repeated where the producer repeated them."""


REFERENCE_HEADER = "reference"
"""Says where a record's data came from, in words of whoever sent it; alerts repeat it."""

REFERENCE_BYTES_MAX = 256
"""Longest value of it that an alert repeats."""

AlertEvent = Literal["open", "update", "close"]

AlertReason = Literal[
    "anomalous",
    "continued",
    "flood",
    "severity",
    "periodic",
    "recovered",
    "max_duration",
    "key_expired",
]
"""Why an event was published: the first three open an alert, the next two update it, and the last
three close it."""


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
class Scores:
    """Reconstruction errors of the windows of one batch.

    Parameters
    ----------
    indices
        Which record of the batch each window came from, shape (n_windows,), ascending.
    reconstruction_errors
        Shape (n_windows,), float64, unit: that of the scaled signal, range [0, inf).
    threshold
        Same unit; above zero.
    start_ms, end_ms
        Times of the first and last sample of each window, int64, shape (n_windows,); None where
        records are whole windows.
    """

    indices: NDArray[np.intp]
    reconstruction_errors: NDArray[np.float64]
    threshold: float
    start_ms: NDArray[np.int64] | None = None
    end_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def anomaly_scores(self) -> NDArray[np.float64]:
        """Error / threshold, shape (n_windows,); above 1 is anomalous."""
        return self.reconstruction_errors / self.threshold

    @property
    def is_anomalous(self) -> NDArray[np.bool_]:
        """Whether each error exceeds the threshold, shape (n_windows,); equal is normal."""
        return self.reconstruction_errors > self.threshold


@dataclass(frozen=True, slots=True)
class Source:
    """The input record an alert speaks of.

    Parameters
    ----------
    topic, partition, offset
        Where it lies.
    reference
        What its header `reference` says of where the data came from; None where it has none, or
        one that is not UTF-8 or longer than `REFERENCE_BYTES_MAX`.
    """

    topic: str
    partition: int
    offset: int
    reference: str | None = None

    @classmethod
    def of(cls, metadata: RecordMetadata) -> "Source":
        """Return where a record lies and what it says of itself."""
        given = next((value for name, value in metadata.headers if name == REFERENCE_HEADER), None)
        reference = None
        if given is not None and len(given) <= REFERENCE_BYTES_MAX:
            with contextlib.suppress(UnicodeDecodeError):
                reference = given.decode()
        return cls(metadata.topic, metadata.partition, metadata.offset, reference)


@dataclass(frozen=True, slots=True)
class BundleReference:
    """The bundle that scored: its name, and its version (a digest of its content)."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Alert:
    """What is published about the anomalous windows of a series: one event of one alert.

    Where records are whole windows, each anomalous one opens an alert and nothing more. Where
    windows are cut from samples, an alert opens, is updated and closes. Then an update and a close
    speak of two things: the times and counts are those of the event, and from
    `window_start_ms` to `explanation` all but `source` is of the alert's worst window so far.

    Parameters
    ----------
    schema_version
        Version of this format.
    alert_id
        Stable: the same input, bundle and place in the stream give the same id again.
    event, event_number
        "open", "update" or "close", counted from 1 within one alert.
    key
        Series key as text; bytes that are not UTF-8 appear as backslash escapes.
    window_start_ms, window_end_ms
        Times of the first and the last sample of the worst window.
    source
        The input record that caused this event.
    reconstruction_error, threshold
        Of the worst window, in the unit of the scaled signal.
    anomaly_score
        Error / threshold, above 1.
    severity
        A name from the recipe's table.
    bundle
        What scored it.
    explanation
        Where in the worst window the error lies.
    event_time_ms
        Event time of this event: the end of the window that caused it, or the watermark that made
        the alert of an idle key close.
    opened_ms
        `event_time_ms` of the alert's open.
    last_anomalous_ms
        End of the last anomalous window.
    n_windows, n_anomalous
        Windows judged, and anomalous ones among them, since and with the one that opened it.
    reason
        Why this event; see `AlertReason`.
    continues_alert_id
        `alert_id` of the alert this one goes on from, which had been open too long.
    is_summary
        Whether it stands for the many alerts of a key that has too many.
    n_alerts
        1; in a summary, how many alerts it stands for.
    detected_at_ms
        When the alert was made. The only field in which two runs may differ.
    """

    schema_version: int
    alert_id: str
    event: AlertEvent
    event_number: int
    key: str
    window_start_ms: int
    window_end_ms: int
    source: Source
    reconstruction_error: float
    threshold: float
    anomaly_score: float
    severity: str
    bundle: BundleReference
    explanation: Explanation
    event_time_ms: int
    opened_ms: int
    last_anomalous_ms: int
    n_windows: int
    n_anomalous: int
    reason: AlertReason
    continues_alert_id: str | None
    is_summary: bool
    n_alerts: int
    detected_at_ms: int
