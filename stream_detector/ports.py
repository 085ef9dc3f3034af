"""The three things the loop needs from outside, as protocols.

`stream_detector.clients` and `stream_detector.engines` hold what fits them;
the loop and the replayer know only these.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from stream_detector.core.records import (
    FloatArray,
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)


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

    Where the client was connected with a transactional id, the same calls in the same order make
    records and offsets visible together or not at all: `produce` or `commit` begins a transaction
    where none is open, `commit` ends it, `abort`, `reset` and `close` abort it. A second client
    with the same id takes the first one's place, which then gets a `FencedError`.

    Partitions change hands only inside `poll`. Of a partition that went to another member, `seek`
    and `commit` raise a retriable error, `pause` and `resume` take no notice, and `positions`
    says nothing.
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
        An empty batch when nothing came in time. It may hold records of partitions
        that this very poll assigned.

        Raises
        ------
        ValueError
            If a transaction is open: a caller's mistake.
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

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; reading goes on where it was.

        After a failed `produce` or `flush` the same records may then be handed over again.
        Without a transaction some may have arrived already, and arrive twice.
        """
        ...

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Save where the group goes on, and wait until the broker has it.

        Raises
        ------
        BrokerUnavailableError
            If the partitions went to another member, or no answer came in time. The same progress
            may be committed again while the partitions are assigned. Not so in a transaction,
            which may have been done: `committed`, after `reset`, says so.
        """
        ...

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask the broker where the group goes on, None where it never committed.

        Offsets in somebody's open transaction are waited for.

        Raises
        ------
        BrokerUnavailableError
            If such a transaction did not end in time.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        ...

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions of the assignment that came to it since this was last asked.

        One that was lost and came back meanwhile is among them.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset on.

        What was read ahead is dropped. An offset that is no longer kept, or not yet there, is
        answered as a missing commit is: reading starts at the beginning or the end.
        """
        ...

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which the next poll hands out, of each partition where known.

        It reaches the end of the log even where the last offsets hold no record that is handed
        out, as the end of a transaction does, once polls have passed them. Asks the broker
        nothing.
        """
        ...

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the first offset that it still keeps of each partition."""
        ...

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the end of each partition as readers of committed records see it.

        Not every offset before it holds a record: some hold the end of a transaction.
        """
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give nothing of these partitions until `resume`, or until they change hands."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give records of these partitions again, from where they were paused."""
        ...

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known.

        From what the last fetches said; asks the broker nothing.
        """
        ...

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        ...

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects afresh.

        An open transaction is aborted. Reading goes on at the group's committed offsets.
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
