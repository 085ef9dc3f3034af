"""Messages of confluent-kafka as the columns of a `RecordBatch`."""

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.core.records import RecordBatch, RecordMetadata, SeriesColumns, TopicPartition

# The end of a partition, and a missing right on the group that we neither join nor commit to.
_NOTICES = frozenset((KafkaError._PARTITION_EOF,))  # noqa: SLF001
_NOTICES_WITHOUT_GROUP = _NOTICES | {KafkaError.GROUP_AUTHORIZATION_FAILED}


def without_notices(messages: list[Message], *, has_group: bool) -> list[Message]:
    """Return the messages without harmless errors; raise any other error among them."""
    notices = _NOTICES if has_group else _NOTICES_WITHOUT_GROUP
    for error in filter(None, map(Message.error, messages)):
        if error.code() not in notices:
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


def to_batch(messages: list[Message], next_offsets: dict[TopicPartition, int]) -> RecordBatch:
    """Turn messages into columns, without Python code for each record."""
    has_headers = any(map(Message.headers, messages))
    return RecordBatch(
        values=list(map(Message.value, messages)),
        headers=list(map(Message.headers, messages)) if has_headers else None,
        next_offsets=next_offsets,
        metadata=lambda index: _metadata(messages[index]),
        series=lambda: _series(messages),
        offsets=lambda: np.fromiter(map(Message.offset, messages), np.int64, len(messages)),
        keys_alone=lambda: list(map(Message.key, messages)),
    )


def _series(messages: list[Message]) -> SeriesColumns:
    """Return keys, partitions and times of all messages; a message without a time has -1."""
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
    """Return everything about a record except its value."""
    kind, timestamp_ms = message.timestamp()
    return RecordMetadata(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=-1 if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        key=message.key(),
        headers=message.headers() or (),
    )
