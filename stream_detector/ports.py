"""What the loop needs from outside, as protocols: a clock, a client of Kafka, and schemas.

`stream_detector.clients` holds what fits `Client`; the loop and the replayer know only these. A
loaded network is another such thing: `stream_detector.core.scoring.reconstruction.Reconstruct`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import RecordSchemaError


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
    """One process' connection to Kafka: it reads, writes and commits.

    Every error of the library underneath is raised as a `stream_detector.errors.BrokerError`. Not
    thread-safe.

    With a transactional id, the same calls in the same order make records and offsets visible
    together or not at all: `produce` or `commit` begins a transaction where none is open, `commit`
    ends it, and `abort`, `reset` and `close` abort it. A second client with the same id fences the
    first one, which then raises a `FencedError`.

    Partitions move only inside `poll`. For a partition that moved to another member, `seek` and
    `commit` raise a retriable error, `pause` and `resume` do nothing, and `positions` leaves it
    out.
    """

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any.

        Parameters
        ----------
        n_records_max
            Most records to return, >= 1.
        timeout_ms
            How long to wait for the first record, >= 0.

        Returns
        -------
        An empty batch when nothing arrived in time. It may hold records of partitions that this
        poll itself assigned.

        Raises
        ------
        ValueError
            If a transaction is open: a caller's mistake.
        """
        ...

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Send records; `flush` raises an error where one did not arrive."""
        ...

    def flush(self, timeout_ms: int) -> None:
        """Wait until all in-sync replicas have acknowledged every record sent.

        Raises
        ------
        RecordRefusedError
            If records were refused for what they are. All that are not among its `undelivered` have
            arrived, except in a transaction, which was aborted.
        DeliveryError
            If any record since the last flush was refused, or the time ran out. The message says
            how many, and the first reason.
        """
        ...

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; positions stay as they are.

        After a failed `produce` or `flush` the caller may then send the same records again.
        Without a transaction, records that had already arrived arrive twice.
        """
        ...

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the group's next offsets, and wait until the broker has stored them.

        Raises
        ------
        BrokerUnavailableError
            If the partitions moved to another member, or no answer came in time. The same offsets
            may be committed again while the partitions are assigned. This does not hold in a
            transaction, which may have been committed: after `reset`, ask `committed`.
        """
        ...

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask the broker for the group's committed offsets, None where it never committed.

        Offsets in an open transaction of any client are waited for.

        Raises
        ------
        BrokerUnavailableError
            If such a transaction did not end in time.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this process reads now."""
        ...

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions of the assignment that were assigned since the last call.

        A partition that was lost and assigned again meanwhile is among them.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset.

        Records that were read ahead are dropped. An offset outside the log is treated like a
        missing committed offset: reading starts at the earliest or the latest offset.
        """
        ...

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the next offset that a poll returns of each partition, where it is known.

        Once polls have passed them, it includes last offsets that hold no record for readers, such
        as the end of a transaction, so that it reaches the end of the log. Asks the broker
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
        """Let polls return nothing of these partitions until `resume`, or until they move."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls return records of these partitions again, from where they were paused."""
        ...

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset of each assigned partition, where it is known.

        The log end is that of the last fetch; asks the broker nothing.
        """
        ...

    def has_answered(self) -> bool:
        """Return whether a broker has answered a request since the last call; asks it nothing.

        Records that a poll returns need not count, because they may have been fetched long before.
        A commit counts, and so does the question that a poll asks when nothing came for long.
        """
        ...

    def has_fetched(self) -> bool:
        """Return whether partitions are assigned, and the broker was read from for each of them.

        Until then it is not known that nothing is there. Asks the broker nothing.
        """
        ...

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        ...

    def topic_settings(self, topic: str) -> Mapping[str, str]:
        """Ask how a topic is configured, with the broker's values where it has none of its own.

        Returns
        -------
        Values by Kafka's names, such as `max.message.bytes`; empty where this user may not ask, or
        the broker cannot say.
        """
        ...

    def lost_headers(
        self, offsets: Mapping[TopicPartition, Sequence[int]]
    ) -> Mapping[tuple[TopicPartition, int], int]:
        """Return which records have headers that polls did not hand over.

        Parameters
        ----------
        offsets
            Of records that were polled without headers, ascending.

        Returns
        -------
        Bytes of the names and values of such headers, by partition and offset.
        """
        ...

    def connect_reader(self, topic: str) -> "Client":
        """Return another client of the same Kafka that reads every partition of a topic.

        It is in no group, starts at the earliest record, and is to be closed by the caller. Nothing
        is sent yet.
        """
        ...

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects again.

        An open transaction is aborted. Reading continues from the group's committed offsets.
        """
        ...

    def close(self) -> None:
        """Leave the group and close every connection. Calling it twice is harmless."""
        ...


class SchemaSource(Protocol):
    """Where the schemas of records come from that name theirs, and those of our alerts go to."""

    def attach(self, batch: RecordBatch) -> RecordBatch:
        """Return a batch with the schemas that its records name.

        Those that were asked for before come from memory.

        Raises
        ------
        SchemaRegistryUnavailableError
            If the registry does not answer: the same batch may be tried again.
        SchemaRegistryError
            If it refuses to answer, or is no registry.
        """
        ...

    def register_alerts(self) -> None:
        """Register the schema of alerts where they have one, unless the registry does not answer.

        Raises
        ------
        SchemaRegistryError
            If it refuses.
        """
        ...

    def write_alert(self, record: OutputRecord) -> OutputRecord:
        """Return an alert, given as JSON, in the format in which alerts are published.

        Raises
        ------
        SchemaRegistryError
            As in `attach`.
        """
        ...

    def read_alert(self, value: bytes) -> bytes:
        """Return a published alert as JSON.

        Raises
        ------
        DataError
            If it cannot be read: bad data.
        SchemaRegistryError
            As in `attach`.
        """
        ...


class NoSchemas:
    """Has no schemas: records of formats with schemas are rejected, and alerts are JSON."""

    def attach(self, batch: RecordBatch) -> RecordBatch:
        """Return the batch as it is."""
        return batch

    def register_alerts(self) -> None:
        """Do nothing."""

    def write_alert(self, record: OutputRecord) -> OutputRecord:
        """Return the alert as it is."""
        return record

    def read_alert(self, value: bytes) -> bytes:
        """Return the value as it is; raise a `DataError` for one that names a schema."""
        if value.startswith(b"\0"):
            message = (
                "not JSON: it names a schema, and there is no Schema Registry to ask for it; set "
                "schema_registry_url"
            )
            raise RecordSchemaError(message)
        return value


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
