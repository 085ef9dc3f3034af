"""What a consumer of confluent-kafka keeps beside the library, and what the library lacks."""

import time
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _limits
from stream_detector.core.records import TopicPartition

# How long to wait before seeking again in a partition that the library is only just starting.
_SEEK_TICK_S = 0.002

# Longest wait for a member's leaving, shorter than `CLOSE_TIMEOUT_MS`; and how long each poll is.
_LEAVE_S = 2.0
_LEAVE_TICK_S = 0.01
_SERVED_AT_ONCE = 1_000


@dataclass(slots=True)
class ConsumerState:
    """What one consumer has read ahead, and what its callbacks reported.

    Every consumer has its own, so that an old one that is still closing writes into its own.

    Attributes
    ----------
    newly_assigned
        Partitions that were assigned and not asked for yet.
    read_ahead
        Messages that the next poll returns first; some arrive during the wait for a commit.
    sought
        Offsets that were sought; the library knows no position until it has got there.
    commit_answers
        Answers to commits.
    """

    newly_assigned: set[TopicPartition] = field(default_factory=set)
    read_ahead: list[Message] = field(default_factory=list)
    sought: dict[TopicPartition, int] = field(default_factory=dict)
    commit_answers: list[tuple[KafkaError | None, list[Any]]] = field(default_factory=list)

    def on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        """Add partitions that were assigned; the library itself starts to read them."""
        # One that was paused when it was revoked would still be paused.
        consumer.resume(partitions)
        self.newly_assigned.update(map(to_own, partitions))

    def on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """Drop partitions that were revoked or lost; the library itself stops reading them."""
        del consumer
        for partition in map(to_own, partitions):
            self.newly_assigned.discard(partition)
            self.drop(partition)

    def on_commit(self, error: KafkaError | None, partitions: list[Any]) -> None:
        """Keep the answer to a commit."""
        self.commit_answers.append((error, partitions))

    def keep(self, messages: list[Message]) -> None:
        """Add messages behind those that were read ahead."""
        self.read_ahead += messages

    def take(self, n_messages_max: int) -> list[Message]:
        """Remove and return the first messages that were read ahead."""
        taken, self.read_ahead = (
            self.read_ahead[:n_messages_max],
            self.read_ahead[n_messages_max:],
        )
        return taken

    def drop(self, partition: TopicPartition) -> None:
        """Drop the messages that were read ahead of a partition, and the offset sought in it."""
        self.read_ahead = [
            each for each in self.read_ahead if (each.topic(), each.partition()) != partition
        ]
        self.sought.pop(partition, None)

    def first_read_ahead(self) -> dict[TopicPartition, int]:
        """Return the first offset that was read ahead of each partition."""
        ahead = self.read_ahead
        places = list(zip(map(Message.topic, ahead), map(Message.partition, ahead), strict=True))
        return {
            TopicPartition(topic or "", number or 0): ahead[places.index((topic, number))].offset()
            or 0
            for topic, number in set(places)
        }

    def positions(self, theirs: list[Any]) -> dict[TopicPartition, int]:
        """Return the next offset to be returned of each partition, where it is known.

        Parameters
        ----------
        theirs
            The library's positions, which lie behind what was read ahead.
        """
        known = {to_own(each): each.offset for each in theirs if each.offset >= 0}
        for partition in known:
            self.sought.pop(partition, None)
        positions = known | self.sought | self.first_read_ahead()
        return {each: positions[each] for each in map(to_own, theirs) if each in positions}


def to_own(theirs: Any) -> TopicPartition:
    """Return one of the library's partitions in our type."""
    return TopicPartition(theirs.topic, theirs.partition)


def committed_metadata(partition: Any) -> bytes:
    """Return the metadata of a committed offset, and whatever follows it in memory."""
    try:
        return (partition.metadata or "").encode()
    except UnicodeDecodeError as error:
        return error.object


def seek(consumer: Any, partition: TopicPartition, offset: int) -> None:
    """Move the position of a partition, as soon as the library has started to read it."""
    deadline_s = time.monotonic() + _limits.REQUEST_TIMEOUT_MS / 1000
    while True:
        try:
            consumer.seek(confluent_kafka.TopicPartition(*partition, offset))
        except KafkaException as error:
            is_started = error.args[0].code() != KafkaError._STATE  # noqa: SLF001
            if is_started or time.monotonic() >= deadline_s:
                raise
            time.sleep(_SEEK_TICK_S)
        else:
            return


def prepare_close(consumer: Any, *, is_static: bool) -> None:
    """Leave the group, or serve what is waiting, so that closing meets no rebalance under way.

    While it closes, the library may serve one rebalance callback too many: its request then waits
    for ever for a part of the library that has ended, with the interpreter's lock held, so that the
    whole process stands still (librdkafka issue 4884).

    Parameters
    ----------
    consumer
        One that subscribed. What it read and nobody took is dropped.
    is_static
        Whether it has a `group.instance.id`. Such a member keeps its place when it closes, and
        would lose it by unsubscribing: only the callbacks that wait are served.

    Raises
    ------
    KafkaException
        If the library has given the consumer up; closing it calls nothing back then.
    """
    deadline_s = time.monotonic() + _LEAVE_S
    if not is_static:
        consumer.unsubscribe()
    # Callbacks stand in line behind the messages that were fetched: these are dropped by a pause.
    consumer.pause(consumer.assignment())
    while time.monotonic() < deadline_s:
        if consumer.consume(_SERVED_AT_ONCE, 0):
            continue
        # The library forgets its member id once it has left, after which it serves no rebalance.
        if is_static or consumer.memberid() is None:
            return
        consumer.consume(1, _LEAVE_TICK_S)
