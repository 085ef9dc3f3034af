"""The default client, on kafka-python: pure Python, nothing to compile.

Raw bytes only: a deserialiser that raises would make the library's next poll spin
for ever, so none is ever given to it, and after any error out of a poll the
consumer is closed and built anew.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from typing import Any

import kafka
import numpy as np
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients._kafka_python import (
    LIBRARY_ERRORS,
    connection_config,
    count_partitions,
    detect_api_version,
    map_error,
)
from stream_detector.clients._kafka_python_writer import KafkaPythonWriter
from stream_detector.core.records import (
    Origin,
    OutputRecord,
    RecordBatch,
    SeriesColumns,
    TopicPartition,
)
from stream_detector.errors import missing_topics
from stream_detector.settings import ConnectionSettings

__all__ = ["KafkaPythonClient", "map_error"]

# With 4 partitions one fetch holds 28,000 records of 560 bytes; 8 MiB were slower to parse.
FETCH_BYTES_PER_PARTITION = 4 * 1024 * 1024

# A real broker answers a waiting fetch when a record comes, the embedded one when its wait ends.
EMBEDDED_FETCH_WAIT_MS = 10

_values = attrgetter("value")
_headers = attrgetter("headers")
_keys = attrgetter("key")
_partitions = attrgetter("partition")
_timestamps = attrgetter("timestamp")


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
        self._writer = KafkaPythonWriter(self._servers, self._connection)
        self._positions: dict[TopicPartition, int] = {}
        self._heard_at_s = 0.0

    def __repr__(self) -> str:
        return f"KafkaPythonClient({self._servers!r}, {self._subscription!r})"

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        self._subscription.require_topics()
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=n_records_max)
            batch = _to_batch(polled)
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

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Save where the group goes on, and wait until the broker has it."""
        self._subscription.require_group()
        offsets = {
            kafka.TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in next_offsets.items()
        }
        if self._consumer is None:
            raise _common.rejoin(self._servers, "this client left the group since its last poll")
        with self._translated():
            self._consumer.commit(offsets, timeout_ms=_common.REQUEST_TIMEOUT_MS)

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        if self._consumer is None:
            return frozenset()
        return frozenset(TopicPartition(*each) for each in self._consumer.assignment() or ())

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known."""
        lags = {}
        for partition in self.assignment():
            theirs = kafka.TopicPartition(*partition)
            try:
                end = self._consumer.highwater(theirs)
                # A partition that was fetched has a position, so this asks the broker nothing.
                start = None if end is None else self._consumer.position(theirs, timeout_ms=0)
            except kafka_errors.KafkaError:
                continue  # taken away between the two calls
            if end is not None and start is not None:
                lags[partition] = max(0, end - start)
        return lags

    def unread(self) -> dict[TopicPartition, range]:
        """Ask the broker for the offsets that are left to read, of each partition of the topics."""
        self._subscription.require_topics()
        self._subscription.require_no_group()
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            ends = consumer.end_offsets(
                sorted(consumer.assignment()), timeout_ms=_common.REQUEST_TIMEOUT_MS
            )
            return {
                TopicPartition(*each): range(
                    consumer.position(each, _common.REQUEST_TIMEOUT_MS), end
                )
                for each, end in ends.items()
            }

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
            raise map_error(error, self._servers, self._subscription.topics) from error

    def _connection(self) -> dict[str, Any]:
        """Return the options every part of the library takes."""
        if self._config is None:
            config = connection_config(self._settings)
            self._config = config | {"api_version": detect_api_version(self._settings)}
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
                self._consumer.subscribe(self._subscription.topics)
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
            "auto_offset_reset": self._subscription.offset_reset,
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "check_crcs": True,
            "allow_auto_create_topics": False,
            "session_timeout_ms": _common.SESSION_TIMEOUT_MS,
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
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=_common.CLOSE_TIMEOUT_MS)
            except LIBRARY_ERRORS:
                return  # nothing of it is used again


def _to_batch(polled: Mapping[Any, list[Any]]) -> RecordBatch:
    """Turn what a poll gave into columns, without Python code per record."""
    records: Sequence[Any] = list(chain.from_iterable(polled.values()))
    has_headers = any(map(_headers, records))
    return RecordBatch(
        values=list(map(_values, records)),
        headers=list(map(_headers, records)) if has_headers else None,
        next_offsets={
            TopicPartition(*partition): of_partition[-1].offset + 1
            for partition, of_partition in polled.items()
        },
        origin=lambda index: _origin(records[index]),
        series=lambda: _series(records),
    )


def _series(records: Sequence[Any]) -> SeriesColumns:
    """Return keys, partitions and times of all records."""
    return SeriesColumns(
        keys=list(map(_keys, records)),
        partitions=np.fromiter(map(_partitions, records), np.int64, len(records)),
        timestamps_ms=np.fromiter(map(_timestamps, records), np.int64, len(records)),
    )


def _origin(record: Any) -> Origin:
    """Return everything about a record but its value."""
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        headers=record.headers,
    )
