"""The default client, on kafka-python: pure Python, nothing to compile.

Raw bytes only: a deserialiser that raises would make the library's next poll spin
for ever, so none is ever given to it, and after any error out of a poll the
consumer is closed and built anew.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import kafka
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata as KafkaOffset

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients.kafka_python.config import (
    LIBRARY_ERRORS,
    connection_config,
    count_partitions,
    detect_api_version,
    map_error,
)
from stream_detector.clients.kafka_python.producer import KafkaPythonWriter
from stream_detector.clients.kafka_python.records import to_batch
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import missing_topics
from stream_detector.settings import ConnectionSettings

__all__ = ["KafkaPythonClient", "map_error"]

# With 4 partitions one fetch holds 28,000 records of 560 bytes; 8 MiB were slower to parse.
FETCH_BYTES_PER_PARTITION = 4 * 1024 * 1024

# A real broker answers a waiting fetch when a record comes, the embedded one when its wait ends.
EMBEDDED_FETCH_WAIT_MS = 10


class KafkaPythonClient:
    """A `stream_detector.ports.Client` on kafka-python.

    Parameters
    ----------
    settings
        How to reach Kafka.
    subscription
        What to read, if anything.
    """

    def __init__(self, settings: ConnectionSettings, subscription: Subscription) -> None:
        self._settings = settings
        self._servers = settings.bootstrap_servers
        self._subscription = subscription
        self._config: dict[str, Any] | None = None
        self._consumer: Any = None
        self._writer = KafkaPythonWriter(
            self._servers, self._connection, subscription.transactional_id
        )
        self._positions: dict[TopicPartition, int] = {}
        self._gained: set[TopicPartition] = set()
        self._heard_at_s = 0.0

    def __repr__(self) -> str:
        return f"KafkaPythonClient({self._servers!r}, {self._subscription!r})"

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        self._subscription.require_topics()
        _common.require_no_transaction(is_open=self._writer.is_in_transaction)
        if self._consumer is None:
            self._begin_session()  # later, the next transaction takes it where it was dropped
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=n_records_max)
            batch = to_batch(polled)
            if polled:
                self._heard_at_s = time.monotonic()
            else:
                self._probe(consumer)
        if self._subscription.group is None:
            self._positions.update(batch.next_offsets)
        return batch

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over for sending; waits while too many are unacknowledged."""
        with self._translated():
            self._writer.produce(records)

    def flush(self, timeout_ms: int) -> None:
        """Wait until every record handed over is acknowledged by all in-sync replicas."""
        with self._translated():
            self._writer.flush(timeout_ms)

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; reading goes on where it was."""
        self._writer.drop()

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Save where the group goes on, and wait until the broker has it."""
        self._subscription.require_group()
        theirs = {
            kafka.TopicPartition(*partition): KafkaOffset(offset, _common.end_note(metadata), -1)
            for partition, (offset, metadata) in offsets.items()
        }
        _common.require_assigned(self._servers, offsets, self.assignment())
        if self._subscription.transactional_id is None:
            with self._translated():
                self._consumer.commit(theirs, timeout_ms=_common.REQUEST_TIMEOUT_MS)
            return
        member = self._consumer.group_metadata() if theirs else None
        # A broker takes offsets from somebody who is in no group, whosever they are.
        if member is not None and member.generation_id < 0:
            raise _common.rejoin(self._servers, "this client is not in the group any more")
        with self._translated(self.reset):
            self._writer.commit(theirs, member)

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask the broker where the group goes on, None where it never committed."""
        self._subscription.require_group()
        self._begin_session()
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            saved = {
                each: consumer.committed(
                    kafka.TopicPartition(*each),
                    metadata=True,
                    timeout_ms=_common.REQUEST_TIMEOUT_MS,
                )
                for each in partitions
            }
        return {
            partition: None
            if each is None
            else OffsetAndMetadata(each.offset, _common.read_note((each.metadata or "").encode()))
            for partition, each in saved.items()
        }

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        if self._consumer is None:
            return frozenset()
        return frozenset(TopicPartition(*each) for each in self._consumer.assignment() or ())

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that came to the assignment since this was last asked."""
        newly_assigned = frozenset(self._gained)
        self._gained.clear()
        return newly_assigned

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset on."""
        _common.require_assigned(self._servers, [partition], self.assignment())
        # What was fetched does not fit the new position, so the library drops it.
        self._consumer.seek(kafka.TopicPartition(*partition), offset)
        self._positions[partition] = offset

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which the next poll hands out, of each partition where known."""
        known = {each: self._position(each) for each in set(partitions) & self.assignment()}
        return {each: position for each, position in known.items() if position is not None}

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the first offset that it still keeps of each partition."""
        theirs = [kafka.TopicPartition(*each) for each in partitions]
        with self._translated(self._drop_consumer):
            found = self._reader().beginning_offsets(theirs, _common.REQUEST_TIMEOUT_MS)
        return {TopicPartition(*each): offset for each, offset in found.items()}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the end of each partition as readers of committed records see it."""
        theirs = [kafka.TopicPartition(*each) for each in partitions]
        with self._translated(self._drop_consumer):
            found = self._reader().end_offsets(theirs, _common.REQUEST_TIMEOUT_MS)
        return {TopicPartition(*each): offset for each, offset in found.items()}

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give nothing of these partitions until `resume`, or until they change hands."""
        for each in set(partitions) & self.assignment():
            self._consumer.pause(kafka.TopicPartition(*each))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give records of these partitions again, from where they were paused."""
        for each in set(partitions) & self.assignment():
            self._consumer.resume(kafka.TopicPartition(*each))

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known."""
        lags = {}
        for partition in self.assignment():
            end = self._consumer.highwater(kafka.TopicPartition(*partition))
            position = None if end is None else self._position(partition)
            if position is not None:
                lags[partition] = max(0, end - position)
        return lags

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        with self._translated():
            return count_partitions(self._connection(), topic)

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects afresh."""
        self._writer.drop()
        self._drop_consumer()
        self._config = None

    def close(self) -> None:
        """Leave the group and close every connection. Calling it twice is harmless."""
        self.reset()

    @contextmanager
    def _translated(self, *clean_up: Any) -> Iterator[None]:
        """Run `clean_up` and raise our own error where the library raises one of its own."""
        try:
            yield
        except LIBRARY_ERRORS as error:
            for each in clean_up:
                each()
            reading = self._subscription
            raise map_error(
                error, self._servers, reading.topics, reading.transactional_id
            ) from error

    def _begin_session(self) -> None:
        """Take the transactional id, where there is one: an older transaction ends with that."""
        with self._translated(self._writer.drop):
            self._writer.begin_session()

    def _position(self, partition: TopicPartition) -> int | None:
        """Return the next offset to read of an assigned partition, None where it has none yet."""
        # The public question asks the broker about partitions that have no position yet.
        position = self._consumer._subscription.position(kafka.TopicPartition(*partition))  # noqa: SLF001
        return None if position is None else int(position.offset)

    def _connection(self) -> dict[str, Any]:
        """Return the options every part of the library takes, once a broker has let us in."""
        if self._config is None:
            config = connection_config(self._settings)
            self._config = config | {"api_version": detect_api_version(self._settings, config)}
        return self._config

    def _reader(self) -> Any:
        """Return the consumer, building it first where there is none."""
        if self._consumer is None:
            counts = {topic: self.n_partitions(topic) for topic in self._subscription.topics}
            missing = [topic for topic, count in counts.items() if count == 0]
            if missing:
                raise missing_topics(self._servers, missing)
            self._consumer = kafka.KafkaConsumer(**self._connection() | self._consumer_config())
            self._heard_at_s = time.monotonic()
            if self._subscription.group is not None:
                listener = _GainedPartitions(self._gained)
                self._consumer.subscribe(self._subscription.topics, listener=listener)
                # The member that leads a group assigns the partitions it knows of: one that joins
                # before it knows any gets none until its metadata is next renewed.
                for topic in self._subscription.topics:
                    self._consumer.partitions_for_topic(topic)
            else:
                self._assign_all(counts)
        return self._consumer

    def _consumer_config(self) -> dict[str, Any]:
        """Return the consumer's own options."""
        is_embedded = self._connection()["api_version"] is not None
        waiting = {"fetch_max_wait_ms": EMBEDDED_FETCH_WAIT_MS} if is_embedded else {}
        return waiting | {
            "group_id": self._subscription.group,
            "group_instance_id": self._subscription.instance_id,
            "partition_assignment_strategy": (CooperativeStickyAssignor,),
            "auto_offset_reset": self._subscription.offset_reset,
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "check_crcs": True,
            "allow_auto_create_topics": False,
            "session_timeout_ms": _common.SESSION_TIMEOUT_MS,
            "heartbeat_interval_ms": _common.HEARTBEAT_MS,
            "max_poll_interval_ms": _common.POLL_INTERVAL_MAX_MS,
            "max_partition_fetch_bytes": FETCH_BYTES_PER_PARTITION,
        }

    def _assign_all(self, counts: Mapping[str, int]) -> None:
        """Read every partition from where an earlier connection stopped, else from the reset."""
        partitions = [
            TopicPartition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
        ]
        self._consumer.assign([kafka.TopicPartition(*each) for each in partitions])
        self._gained.update(partitions)
        for each in partitions:
            theirs = kafka.TopicPartition(*each)
            if each in self._positions:
                self._consumer.seek(theirs, self._positions[each])
                continue
            position = self._consumer.position(theirs, _common.REQUEST_TIMEOUT_MS)
            if position is None:
                raise _common.unavailable(self._servers, f"{each} has no leader")
            self._positions[each] = position

    def _probe(self, consumer: Any) -> None:
        """After a long silence, ask one broker for something; raises where none answers."""
        if time.monotonic() - self._heard_at_s < _common.PROBE_AFTER_S:
            return
        assigned = consumer.assignment() or {kafka.TopicPartition(self._subscription.topics[0], 0)}
        consumer.end_offsets([min(assigned)], timeout_ms=_common.CONNECT_TIMEOUT_MS)
        self._heard_at_s = time.monotonic()

    def _drop_consumer(self) -> None:
        """Close the consumer, leaving the group where the broker still answers."""
        consumer, self._consumer = self._consumer, None
        # A new set, for the former consumer's listener may still have a word to say.
        self._gained = set()
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=_common.CLOSE_TIMEOUT_MS)
            except LIBRARY_ERRORS:
                return  # nothing of it is used again


class _GainedPartitions(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what is assigned. Called on the library's own thread, where it may ask nothing."""

    def __init__(self, newly_assigned: set[TopicPartition]) -> None:
        self._gained = newly_assigned

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note partitions that came."""
        self._gained.update(TopicPartition(*each) for each in assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Forget partitions that went, in order or by force."""
        self._gained.difference_update(TopicPartition(*each) for each in revoked)
