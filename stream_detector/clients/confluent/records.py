"""Messages of confluent-kafka as the columns of a `RecordBatch`."""

from itertools import chain

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients._unreadable import undecodable, without_bad_names
from stream_detector.core.records import (
    Headers,
    RecordBatch,
    RecordMetadata,
    SeriesColumns,
    TopicPartition,
    Unreadable,
)

# The end of a partition, and a missing right on the group that we neither join nor commit to.
_NOTICES = frozenset((KafkaError._PARTITION_EOF,))  # noqa: SLF001
_NOTICES_WITHOUT_GROUP = _NOTICES | {KafkaError.GROUP_AUTHORIZATION_FAILED}

# How Python shows a pair without a name.
_NO_NAME = "(<NULL>, "


def without_notices(
    messages: list[Message], *, has_group: bool
) -> tuple[list[Message], Message | None]:
    """Return the messages without harmless errors, and the first error about undecodable records.

    Any other error among them is raised. The library repeats one about undecodable records for as
    long as their offset is asked for.
    """
    notices = _NOTICES if has_group else _NOTICES_WITHOUT_GROUP
    undecodable = None
    for message in messages:
        error = message.error()
        if error is None or error.code() in notices:
            continue
        if not is_undecodable(error):
            raise KafkaException(error)
        undecodable = undecodable or message
    return [message for message in messages if message.error() is None], undecodable


def is_undecodable(error: KafkaError) -> bool:
    """Return whether a batch of records with the right checksum cannot be decompressed."""
    code, text = error.code(), str(error.str())
    # The second is also the code of a wrong checksum.
    return code == KafkaError._BAD_COMPRESSION or (  # noqa: SLF001
        code == KafkaError._BAD_MSG and text.startswith("Decompression")  # noqa: SLF001
    )


def to_batch(messages: list[Message], next_offsets: dict[TopicPartition, int]) -> RecordBatch:
    """Turn messages into columns, without Python code for each record."""
    headers = _headers(messages)
    return RecordBatch(
        values=list(map(Message.value, messages)),
        headers=headers if any(headers) else None,
        next_offsets=next_offsets,
        metadata=lambda index: _metadata(messages[index], headers[index]),
        series=lambda: _series(messages),
        offsets=lambda: np.fromiter(map(Message.offset, messages), np.int64, len(messages)),
        keys_alone=lambda: list(map(Message.key, messages)),
    )


def undecodable_record(where: TopicPartition, offset: int, reason: str) -> RecordBatch:
    """Return a batch with the one record at an offset, of which only the place is known."""
    series = SeriesColumns([None], np.array([where.partition]), np.array([-1]))
    headers = undecodable(reason)
    return RecordBatch.from_columns(where.topic, [None], series, [offset], [headers])


def _headers(messages: list[Message]) -> list[Headers | None]:
    """Return the headers of all messages; each message is asked once only.

    A name that is not UTF-8 makes the library raise. It then still keeps what it found, and would
    return that the next time as if it were sound.
    """
    found: list[Headers | None] = []
    left = map(Message.headers, messages)
    while len(found) < len(messages):
        try:
            found.extend(left)
        except (SystemError, UnicodeDecodeError) as error:
            found.append(_readable_headers(messages[len(found)], _bad_name(error)))
    return found


def _bad_name(error: BaseException) -> bytes:
    """Return the first name that is not UTF-8; raise an error that is about something else."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnicodeDecodeError):
        cause = cause.__cause__
    if cause is None:
        raise error
    return cause.object


def _readable_headers(message: Message, bad_name: bytes) -> Unreadable:
    """Return the headers of a message that have a good name.

    Parameters
    ----------
    message
        Has been asked for its headers, which raised.
    bad_name
        The first of the others, which alone the library tells.
    """
    # In the place of a bad name there is nothing in a pair, not even None: only the text that
    # Python shows of the pair tells it, and only the value behind it may be used.
    pairs = [(pair, repr(pair).startswith(_NO_NAME)) for pair in message.headers() or ()]
    values = [pair[1:][0] for pair, is_bad in pairs if is_bad]
    n_left_out = len(bad_name) + sum(len(value or b"") for value in values)
    names = [bad_name, *[None] * (len(values) - 1)]
    return without_bad_names([pair for pair, is_bad in pairs if not is_bad], names, n_left_out)


def _series(messages: list[Message]) -> SeriesColumns:
    """Return keys, partitions and times of all messages; a message without a time has -1."""
    n_messages = len(messages)
    pairs = chain.from_iterable(map(Message.timestamp, messages))  # of kind and time
    times = np.fromiter(pairs, np.int64, 2 * n_messages).reshape(-1, 2)
    return SeriesColumns(
        keys=list(map(Message.key, messages)),
        partitions=np.fromiter(map(Message.partition, messages), np.int64, n_messages),
        timestamps_ms=np.where(
            times[:, 0] == confluent_kafka.TIMESTAMP_NOT_AVAILABLE, -1, times[:, 1]
        ),
    )


def _metadata(message: Message, headers: Headers | None) -> RecordMetadata:
    """Return everything about a record except its value."""
    kind, timestamp_ms = message.timestamp()
    return RecordMetadata(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=-1 if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        key=message.key(),
        headers=headers or (),
    )
