"""What confluent-kafka's polls give, as columns; and what a consumer knows beside the library."""

from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.core.records import RecordBatch, RecordMetadata, SeriesColumns, TopicPartition

# The end of a partition, and that we may not use the group which we neither join nor commit to.
_NOTICES = frozenset((KafkaError._PARTITION_EOF,))  # noqa: SLF001
_NOTICES_WITHOUT_GROUP = _NOTICES | {KafkaError.GROUP_AUTHORIZATION_FAILED}


@dataclass(slots=True)
class Reading:
    """What one consumer's reading has come to.

    One a consumer: a former one that is still closing has its own to write into.

    Attributes
    ----------
    newly_assigned
        Partitions assigned and not asked for yet.
    held
        Messages to be handed out next; some come while the answer to a commit is awaited.
    sought
        Where a partition was told to go on; the library knows no position until it got there.
    commits
        Answers to commits.
    """

    newly_assigned: set[TopicPartition] = field(default_factory=set)
    held: list[Message] = field(default_factory=list)
    sought: dict[TopicPartition, int] = field(default_factory=dict)
    commits: list[tuple[KafkaError | None, list[Any]]] = field(default_factory=list)

    def on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        """Note partitions that came; the library itself starts to read them."""
        # One that was paused when it went would still be.
        consumer.resume(partitions)
        self.newly_assigned.update(map(_partition_of, partitions))

    def on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """Forget partitions that went, in order or by force; the library itself lets them go."""
        del consumer
        for partition in map(_partition_of, partitions):
            self.newly_assigned.discard(partition)
            self.drop(partition)

    def on_commit(self, error: KafkaError | None, partitions: list[Any]) -> None:
        """Note what became of a commit."""
        self.commits.append((error, partitions))

    def hold(self, messages: list[Message]) -> None:
        """Keep messages behind those that are held."""
        self.held += messages

    def take(self, n_messages_max: int) -> list[Message]:
        """Hand out the first messages that are held."""
        taken, self.held = self.held[:n_messages_max], self.held[n_messages_max:]
        return taken

    def drop(self, partition: TopicPartition) -> None:
        """Forget what was read ahead of a partition, and where it was told to go on."""
        self.held = [each for each in self.held if (each.topic(), each.partition()) != partition]
        self.sought.pop(partition, None)

    def positions_held(self) -> dict[TopicPartition, int]:
        """Return the first offset that is held of each partition."""
        record_metadata = map(_metadata, reversed(self.held))
        return {TopicPartition(*metadata[:2]): metadata.offset for metadata in record_metadata}

    def positions(self, theirs: list[Any]) -> dict[TopicPartition, int]:
        """Return where each of the library's positions really stands, where that is known."""
        known = {_partition_of(each): each.offset for each in theirs if each.offset >= 0}
        for partition in known:
            self.sought.pop(partition, None)
        positions = known | self.sought | self.positions_held()
        return {each: positions[each] for each in map(_partition_of, theirs) if each in positions}


def _partition_of(theirs: Any) -> TopicPartition:
    """Return one of the library's partitions as ours."""
    return TopicPartition(theirs.topic, theirs.partition)


def without_notices(messages: list[Message], *, has_group: bool) -> list[Message]:
    """Return the messages without errors that only tell; raises for any other among them."""
    notices = _NOTICES if has_group else _NOTICES_WITHOUT_GROUP
    for error in filter(None, map(Message.error, messages)):
        if error.code() not in notices:
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


def to_batch(messages: list[Message], next_offsets: dict[TopicPartition, int]) -> RecordBatch:
    """Turn messages into columns, without Python code per record."""
    has_headers = any(map(Message.headers, messages))
    return RecordBatch(
        values=list(map(Message.value, messages)),
        headers=list(map(Message.headers, messages)) if has_headers else None,
        next_offsets=next_offsets,
        metadata=lambda index: _metadata(messages[index]),
        series=lambda: _series(messages),
        offsets=lambda: np.fromiter(map(Message.offset, messages), np.int64, len(messages)),
    )


def _series(messages: list[Message]) -> SeriesColumns:
    """Return keys, partitions and times of all messages; the library's time is -1 for none."""
    n_messages = len(messages)
    times = np.array(list(map(Message.timestamp, messages)), dtype=np.int64).reshape(-1, 2)
    return SeriesColumns(
        keys=list(map(Message.key, messages)),
        partitions=np.fromiter(map(Message.partition, messages), np.int64, n_messages),
        timestamps_ms=np.where(
            times[:, 0] == confluent_kafka.TIMESTAMP_NOT_AVAILABLE, -1, times[:, 1]
        ),
    )


def _metadata(message: Message) -> RecordMetadata:
    """Return everything about a record but its value."""
    kind, timestamp_ms = message.timestamp()
    return RecordMetadata(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=-1 if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        key=message.key(),
        headers=message.headers() or (),
    )
