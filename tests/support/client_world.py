"""One interface to every client on each kind of broker, for the contract tests."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.ports import Client

DEADLINE_S = 40.0

REAL = (
    pytest.param("kafka-python on kafka", marks=pytest.mark.kafka),
    pytest.param("confluent on kafka", marks=pytest.mark.kafka),
)
EVERYWHERE = (*REAL, "kafka-python on embedded", "confluent on embedded", "memory")

# The embedded broker takes nine seconds for each change of a group's members, and has no
# transactions.
on_real_and_memory = pytest.mark.parametrize("world", [*REAL, "memory"], indirect=True)


@dataclass
class World:
    """One kind of broker seen through one kind of client.

    Parameters
    ----------
    make_topic
        Creates a topic with a number of partitions and returns its name. Where it is no embedded
        one, its settings may be given by Kafka's names with underscores for dots.
    open
        Connects a client, as `stream_detector.clients.connect` does.
    truncate
        Deletes the records of a partition before an offset.
    remove_members
        Removes all members from a group, as an administrator can.
    """

    make_topic: Callable[..., str]
    open: Callable[..., Client]
    truncate: Callable[[TopicPartition, int], None]
    remove_members: Callable[[str], None]
    clients: list[Client] = field(default_factory=list)

    def connect(self, *topics: str, **options: str | None) -> Client:
        client = self.open(topics=topics, **options)
        self.clients.append(client)
        return client


def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


def send(client: Client, *records: OutputRecord) -> None:
    client.produce(records)
    client.flush(10_000)


def read(client: Client, n_records: int, n_records_max: int = 10_000) -> list[RecordBatch]:
    """Poll until `n_records` records arrived; fail when the time is up."""
    batches: list[RecordBatch] = []
    deadline_s = time.monotonic() + DEADLINE_S
    n_left = n_records
    while n_left and time.monotonic() < deadline_s:
        batch = client.poll(min(n_left, n_records_max), 100)
        if len(batch):
            batches.append(batch)
            n_left -= len(batch)
    assert n_left == 0
    return batches


def poll_until(is_done: Callable[[], bool], *clients: Client) -> list[bytes | None]:
    """Poll clients in turn until a condition holds, and return the values that arrived."""
    values: list[bytes | None] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_done():
        assert time.monotonic() < deadline_s
        for client in clients:
            values += client.poll(100, 50).values
    return values


def values_of(batches: list[RecordBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def offsets_to_commit(
    batch: RecordBatch, metadata: str = ""
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the next offsets to commit after a batch."""
    return {
        each: OffsetAndMetadata(offset, metadata) for each, offset in batch.next_offsets.items()
    }
