"""The default client, on kafka-python: pure Python, nothing to compile.

The library gets no deserialiser, only raw bytes come out of it: one that raises would make its
next poll spin for ever. For the same reason the consumer is closed and rebuilt after any error out
of a poll.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import kafka
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata as KafkaOffset

from stream_detector.clients import _errors, _limits
from stream_detector.clients._base import KafkaClient
from stream_detector.clients._preflight import check_connection
from stream_detector.clients._subscription import Subscription
from stream_detector.clients.kafka_python.config import (
    connection_config,
    consumer_config,
    count_partitions,
    describe_topic,
    detect_api_version,
)
from stream_detector.clients.kafka_python.errors import LIBRARY_ERRORS, map_error
from stream_detector.clients.kafka_python.membership import (
    forget_fetched_offsets,
    mend_joins,
)
from stream_detector.clients.kafka_python.paused_records import let_parked_records_return
from stream_detector.clients.kafka_python.poll_budget import PollBudget, bound_polls
from stream_detector.clients.kafka_python.producer import KafkaPythonProducer
from stream_detector.clients.kafka_python.records import to_batch
from stream_detector.clients.kafka_python.undecodable import (
    DECODING_ERRORS,
    drop_failed,
    read_batch,
    take_failed,
)
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.settings import ConnectionSettings

__all__ = ["KafkaPythonClient"]


class KafkaPythonClient(KafkaClient):
    """A `stream_detector.ports.Client` on kafka-python.

    Parameters
    ----------
    settings
        How to reach Kafka.
    subscription
        What to read, if anything.
    """

    library_errors = LIBRARY_ERRORS
    producer_class = KafkaPythonProducer

    def __init__(self, settings: ConnectionSettings, subscription: Subscription) -> None:
        super().__init__(settings, subscription)
        self._budget = PollBudget(settings.poll_bytes_max)

    def _connect(self) -> dict[str, Any]:
        config = connection_config(self._settings)
        return config | {"api_version": detect_api_version(self._settings, config)}

    def _new_consumer(self) -> Any:
        connection = self._connection()
        is_embedded = connection["api_version"] is not None
        consumer = kafka.KafkaConsumer(
            **connection | consumer_config(self._subscription, is_embedded=is_embedded)
        )
        bound_polls(consumer, self._budget)
        mend_joins(consumer)
        return consumer

    def _subscribe(self, consumer: Any) -> None:
        listener = _AssignmentListener(self._newly_assigned)
        consumer.subscribe(self._subscription.topics, listener=listener)
        # The member that leads a group assigns the partitions it knows of: one that joins before
        # it knows any gets none until its metadata is next renewed.
        for topic in self._subscription.topics:
            consumer.partitions_for_topic(topic)

    def _assign(self, consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
        consumer.assign(_to_library(offsets))
        for partition, offset in offsets.items():
            consumer.seek(kafka.TopicPartition(*partition), offset)

    def _fetch(self, consumer: Any, n_records_max: int, timeout_ms: int) -> RecordBatch:
        self._budget.begin_poll()
        let_parked_records_return(consumer)
        try:
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=n_records_max)
        except DECODING_ERRORS:
            where = take_failed(consumer)
            if where is None:
                raise
            return self._fetch_undecodable(consumer, where, n_records_max)
        return to_batch(polled)

    def _fetch_undecodable(
        self, consumer: Any, where: TopicPartition, n_records_max: int
    ) -> RecordBatch:
        """Return the next records of a partition whose next batch the library cannot decode."""
        theirs = kafka.TopicPartition(*where)
        position = int(consumer._subscription.position(theirs).offset)  # noqa: SLF001
        records, next_offset = read_batch(consumer, where, position)
        if len(records) > n_records_max:
            records, next_offset = records[:n_records_max], records[n_records_max].offset
        # The next poll may meet the same batch again.
        consumer.seek(theirs, next_offset)
        return to_batch({theirs: records} if records else {})

    def _probe(self, consumer: Any) -> None:
        assigned = consumer.assignment() or {kafka.TopicPartition(self._subscription.topics[0], 0)}
        try:
            consumer.end_offsets([min(assigned)], timeout_ms=_limits.CONNECT_TIMEOUT_MS)
        except kafka_errors.KafkaTimeoutError:
            # So it ends for every cause: no connection, and a topic that was deleted.
            self._drop_consumer()
            check_connection(self._settings)
            self._require_existing(self._subscription.topics)
            raise

    def _close_consumer(self, consumer: Any) -> None:
        try:
            consumer.close(autocommit=False, timeout_ms=_limits.CLOSE_TIMEOUT_MS)
        except LIBRARY_ERRORS:
            return  # nothing of it is used again

    def _count_partitions(self, topic: str) -> int:
        return count_partitions(self._connection(), topic)

    def _describe_topic(self, topic: str) -> dict[str, str]:
        return describe_topic(self._connection(), topic)

    def _library_offsets(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Any:
        return {
            kafka.TopicPartition(*partition): KafkaOffset(next_offset, metadata, -1)
            for partition, (next_offset, metadata) in offsets.items()
        }

    def _group_metadata(self, consumer: Any) -> Any:
        member = consumer.group_metadata()
        # From a client in no group, a broker accepts offsets of any member's partitions.
        if member.generation_id < 0:
            raise _errors.lost_partitions(self._servers, "this client has left the group")
        return member

    def _commit_offsets(self, consumer: Any, offsets: Any) -> None:
        with self._mapped_errors():
            consumer.commit(offsets, timeout_ms=_limits.REQUEST_TIMEOUT_MS)

    def _fetch_committed(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, bytes]]:
        forget_fetched_offsets(consumer._coordinator)  # noqa: SLF001
        # The public method asks for one partition at a time.
        found = consumer._coordinator.fetch_committed_offsets(  # noqa: SLF001
            _to_library(partitions), timeout_ms=_limits.REQUEST_TIMEOUT_MS
        )
        return {
            TopicPartition(*partition): (saved.offset, (saved.metadata or "").encode())
            for partition, saved in found.items()
        }

    def _assigned_to(self, consumer: Any) -> frozenset[TopicPartition]:
        return frozenset(map(TopicPartition._make, consumer.assignment() or ()))

    def _seek(self, consumer: Any, partition: TopicPartition, offset: int) -> None:
        # What was fetched does not fit the new position, so the library drops it.
        consumer.seek(kafka.TopicPartition(*partition), offset)

    def _positions_of(
        self, consumer: Any, partitions: set[TopicPartition]
    ) -> dict[TopicPartition, int]:
        # The public method asks the broker about partitions that have no position yet.
        subscriptions = consumer._subscription  # noqa: SLF001
        known = {each: subscriptions.position(kafka.TopicPartition(*each)) for each in partitions}
        return {each: int(at.offset) for each, at in known.items() if at is not None}

    def _fetch_beginning_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        theirs = _to_library(partitions)
        found = consumer.beginning_offsets(theirs, _limits.REQUEST_TIMEOUT_MS)
        return {TopicPartition(*each): offset for each, offset in found.items()}

    def _fetch_end_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        theirs = _to_library(partitions)
        found = consumer.end_offsets(theirs, _limits.REQUEST_TIMEOUT_MS)
        return {TopicPartition(*each): offset for each, offset in found.items()}

    def _pause(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        drop_failed(consumer)
        consumer.pause(*_to_library(partitions))

    def _resume(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        consumer.resume(*_to_library(partitions))

    def _last_known_end(self, consumer: Any, partition: TopicPartition) -> int | None:
        end = consumer.highwater(kafka.TopicPartition(*partition))
        return None if end is None else int(end)

    def _map_error(self, error: Exception) -> BrokerError:
        reading = self._subscription
        topics, own_id = reading.topics, reading.transactional_id
        return map_error(error, self._servers, topics, own_id, reading.group)


class _AssignmentListener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps a set of new partitions, on the library's own thread, where it may ask nothing."""

    def __init__(self, newly_assigned: set[TopicPartition]) -> None:
        self._newly_assigned = newly_assigned

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Add partitions that were assigned."""
        self._newly_assigned.update(TopicPartition(*each) for each in assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Remove partitions that were revoked or lost."""
        self._newly_assigned.difference_update(TopicPartition(*each) for each in revoked)


def _to_library(partitions: Iterable[TopicPartition]) -> list[Any]:
    """Return our partitions in the library's type."""
    return [kafka.TopicPartition(*each) for each in partitions]
