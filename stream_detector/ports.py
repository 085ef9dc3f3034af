"""The three things the loop needs from outside, as protocols.

`stream_detector.clients` and `stream_detector.engines` hold what fits them;
the loop and the replayer know only these.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from stream_detector.core.records import FloatArray, OutputRecord, RecordBatch, TopicPartition


class Reconstructor(Protocol):
    """Windows in, reconstructions out: a loaded network."""

    def __call__(self, windows: FloatArray) -> FloatArray:
        """Reconstruct scaled windows.

        Parameters
        ----------
        windows
            Float32, C-contiguous, shape (n_windows, n_steps, n_features), n_windows >= 0.

        Returns
        -------
        The same shape and type. The result for a window does not depend, in any bit, on
        what else is in the batch.

        Raises
        ------
        ValueError
            If type or shape is another: a caller's mistake, never bad data.
        """
        ...


class Clock(Protocol):
    """Where the loop gets the time from."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Client(Protocol):
    """One process' connection to Kafka: reads, writes and commits.

    Whatever the library underneath raises comes out as a
    `stream_detector.errors.BrokerError`. Not thread-safe.
    """

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any.

        Parameters
        ----------
        n_records_max
            At most so many records, >= 1.
        timeout_ms
            How long to wait for the first record, >= 0.

        Returns
        -------
        An empty batch when nothing came in time.
        """
        ...

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over for sending; `flush` says whether they arrived."""
        ...

    def flush(self, timeout_ms: int) -> None:
        """Wait until every record handed over is acknowledged by all in-sync replicas.

        Raises
        ------
        DeliveryError
            If any record since the last flush was refused, or the time ran out. The
            message names how many, and the first reason.
        """
        ...

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Save where the group goes on, and wait until the broker has it."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        ...

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known.

        From what the last fetches said; asks the broker nothing.
        """
        ...

    def unread(self) -> dict[TopicPartition, range]:
        """Ask the broker for the offsets that are left to read, of each partition of the topics.

        Returns
        -------
        A range starts where reading goes on and stops at the log's end as a reader of committed
        records sees it. Not every offset holds a record: some hold a transaction's mark.

        Raises
        ------
        ValueError
            If the client reads as a member of a group: a caller's mistake.
        """
        ...

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        ...

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects afresh.

        Reading goes on at the group's committed offsets.
        """
        ...

    def close(self) -> None:
        """Leave the group and close every connection. Calling it twice is harmless."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
