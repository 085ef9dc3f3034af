"""The fast client, on confluent-kafka (librdkafka): an extra, several times the throughput.

Needs `pip install 'stream-detector[confluent]'`.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _common, _confluent
from stream_detector.clients._common import Subscription
from stream_detector.clients._confluent import connection_config, map_error
from stream_detector.clients._confluent_writer import ConfluentWriter
from stream_detector.core.records import (
    Origin,
    OutputRecord,
    RecordBatch,
    SeriesColumns,
    TopicPartition,
)
from stream_detector.errors import missing_topics
from stream_detector.settings import ConnectionSettings

__all__ = ["ConfluentClient", "map_error"]

# The library has logged to standard error itself unless it is given a logger.
_LOGGER = logging.getLogger("confluent_kafka")

_CONNECT_TIMEOUT_S = _common.CONNECT_TIMEOUT_MS / 1000
_REQUEST_TIMEOUT_S = _common.REQUEST_TIMEOUT_MS / 1000

# A consumer must belong to a group even where it neither joins nor commits.
_NO_GROUP = "stream-detector-reader"

# How long one look for the answer to a commit takes at most.
_COMMIT_TICK_S = 0.001

_FETCHING: dict[str, Any] = {
    # By default a consumer that outran its queue sleeps a second.
    "fetch.queue.backoff.ms": 1,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 128 * 1024,
    "fetch.message.max.bytes": 4_000_000,
}

_ALWAYS_TOLD = frozenset((KafkaError._AUTHENTICATION, KafkaError._SSL))  # noqa: SLF001


class ConfluentClient:
    """A `stream_detector.ports.Client` on confluent-kafka.

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
        self._consumer: Any = None
        self._writer = ConfluentWriter(self._servers, self._connection)
        self._positions: dict[TopicPartition, int] = {}
        self._error: KafkaError | None = None
        self._held: list[Message] = []
        self._commits: list[tuple[KafkaError | None, list[Any]]] = []
        self._heard_at_s = 0.0

    def __repr__(self) -> str:
        return f"ConfluentClient({self._servers!r}, {self._subscription!r})"

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        self._subscription.require_topics()
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            messages = self._take(consumer, n_records_max, timeout_ms / 1000)
            if any(map(Message.error, messages)):
                messages = _without_notices(messages)
            batch = _to_batch(messages, self._next_offsets(consumer, messages))
            if messages:
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
        if not next_offsets:
            return
        offsets = [
            confluent_kafka.TopicPartition(*partition, offset)
            for partition, offset in next_offsets.items()
        ]
        if self._consumer is None:
            raise _common.rejoin(self._servers, "this client left the group since its last poll")
        with self._translated(self._drop_consumer):
            self._consumer.commit(offsets=offsets, asynchronous=True)
            error, partitions = self._await_commit(self._consumer)
            for each in (error, *(partition.error for partition in partitions)):
                if each is not None:
                    raise KafkaException(each)

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        if self._consumer is None:
            return frozenset()
        with self._translated():
            return frozenset(
                TopicPartition(each.topic, each.partition) for each in self._consumer.assignment()
            )

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known."""
        if self._consumer is None:
            return {}
        lags = {}
        with self._translated():
            for each in self._consumer.position(self._consumer.assignment()):
                _, end = self._consumer.get_watermark_offsets(each, cached=True)
                if end >= 0 and each.offset >= 0:
                    lags[TopicPartition(each.topic, each.partition)] = max(0, end - each.offset)
        return lags

    def unread(self) -> dict[TopicPartition, range]:
        """Ask the broker for the offsets that are left to read, of each partition of the topics."""
        self._subscription.require_topics()
        self._subscription.require_no_group()
        unread = {}
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            for each in consumer.position(consumer.assignment()):
                _, end = consumer.get_watermark_offsets(each, timeout=_REQUEST_TIMEOUT_S)
                partition = TopicPartition(each.topic, each.partition)
                # Before its first record the library knows of no position.
                start = each.offset if each.offset >= 0 else self._positions[partition]
                unread[partition] = range(start, end)
        return unread

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        with self._translated():
            handle = self._consumer if self._consumer is not None else self._writer.producer()
            return _confluent.count_partitions(handle).get(topic, 0)

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects afresh."""
        self._writer.drop()
        self._drop_consumer()

    def close(self) -> None:
        """Leave the group and close every connection. Calling it twice is harmless."""
        self.reset()

    @contextmanager
    def _translated(self, *clean_up: Any) -> Iterator[None]:
        """Run `clean_up` and raise our own error where the library raises one of its own."""
        try:
            yield
        except (KafkaException, RuntimeError, ValueError, TypeError, OSError) as error:
            for each in clean_up:
                each()
            # A failed login shows only as time running out; the callback knows the cause.
            cause, self._error = self._error, None
            if cause is not None and cause.code() in _ALWAYS_TOLD:
                raise map_error(cause, self._servers) from error
            raise map_error(error, self._servers, self._subscription.topics) from error

    def _reader(self) -> Any:
        """Return the consumer, building it first where there is none."""
        if self._consumer is None:
            consumer = confluent_kafka.Consumer(self._connection() | self._consumer_config())
            # Kept before it is used, so that a failure below closes it.
            self._consumer = consumer
            counts = _confluent.count_partitions(consumer)
            missing = [topic for topic in self._subscription.topics if topic not in counts]
            if missing:
                self._drop_consumer()
                raise missing_topics(self._servers, missing)
            self._heard_at_s = time.monotonic()
            if self._subscription.group is not None:
                consumer.subscribe(list(self._subscription.topics))
            else:
                self._assign_all(consumer, counts)
        return self._consumer

    def _connection(self) -> dict[str, Any]:
        """Return the options every part of the library takes."""
        return connection_config(self._settings) | {
            "logger": _LOGGER,
            # Lost connections reach the error callback; as log lines they come by the hundred.
            "log_level": 2,
            "error_cb": self._on_error,
        }

    def _consumer_config(self) -> dict[str, Any]:
        """Return the consumer's own options."""
        # Each consumer has a list of its own: a late answer to a former one counts for nothing.
        self._commits = commits = []
        return _FETCHING | {
            "group.id": self._subscription.group or _NO_GROUP,
            "auto.offset.reset": self._subscription.offset_reset,
            "enable.auto.commit": False,
            "on_commit": lambda error, partitions: commits.append((error, partitions)),
            "isolation.level": "read_committed",
            "check.crcs": True,
            "allow.auto.create.topics": False,
            "session.timeout.ms": _common.SESSION_TIMEOUT_MS,
        }

    def _assign_all(self, consumer: Any, counts: Mapping[str, int]) -> None:
        """Read every partition from where an earlier connection stopped, else from the reset."""
        is_latest = self._subscription.offset_reset == "latest"
        assigned = []
        for topic in self._subscription.topics:
            for number in range(counts[topic]):
                each = TopicPartition(topic, number)
                if each not in self._positions:
                    low, high = consumer.get_watermark_offsets(
                        confluent_kafka.TopicPartition(*each),
                        timeout=_REQUEST_TIMEOUT_S,
                    )
                    self._positions[each] = high if is_latest else low
                offset = self._positions[each]
                assigned.append(confluent_kafka.TopicPartition(*each, offset))
        consumer.assign(assigned)

    def _next_offsets(self, consumer: Any, messages: list[Message]) -> dict[TopicPartition, int]:
        """Return the positions after `messages`; a partition taken away meanwhile has none."""
        if not messages:
            return {}
        numbers = set(map(Message.partition, messages))
        assigned = [each for each in consumer.assignment() if each.partition in numbers]
        return {
            TopicPartition(each.topic, each.partition): each.offset
            for each in consumer.position(assigned)
            if each.offset >= 0
        }

    def _take(self, consumer: Any, n_records_max: int, timeout_s: float) -> list[Message]:
        """Return the next messages, those that came while a commit was awaited first."""
        messages, self._held = self._held[:n_records_max], self._held[n_records_max:]
        # Asking for many waits until they are there: wait for one, then take what is there.
        if not messages:
            messages = consumer.consume(1, timeout_s)
        if messages and len(messages) < n_records_max:
            messages += consumer.consume(n_records_max - len(messages), 0)
        return messages

    def _await_commit(self, consumer: Any) -> tuple[KafkaError | None, list[Any]]:
        """Return what the broker answered to the commit that is under way.

        The library's own waiting has no limit: it goes on for as long as a broker hangs. Its
        answer comes by a callback, which only `consume` calls; a message that comes with it is
        kept for the next poll.
        """
        self._commits.clear()
        deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
        while not self._commits:
            if time.monotonic() >= deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            self._held += consumer.consume(1, _COMMIT_TICK_S)
        return self._commits.pop()

    def _probe(self, consumer: Any) -> None:
        """After a complaint or a long silence, ask for something; raises where none answers."""
        is_silent = time.monotonic() - self._heard_at_s >= _common.PROBE_AFTER_S
        if self._error is None and not is_silent:
            return
        if self._error is not None and (self._error.fatal() or self._error.code() in _ALWAYS_TOLD):
            raise KafkaException(self._error)
        consumer.list_topics(
            self._subscription.topics[0], timeout=_common.CONNECT_TIMEOUT_MS / 1000
        )
        self._error = None
        self._heard_at_s = time.monotonic()

    def _on_error(self, error: KafkaError) -> None:
        """Remember a complaint about connections; `poll` looks into it."""
        if self._error is None or self._error.code() not in _ALWAYS_TOLD:
            self._error = error

    def _drop_consumer(self) -> None:
        """Close the consumer, leaving the group where the broker still answers.

        The library's own closing goes on for as long as a broker hangs, so it is left alone with
        that. The group takes no commit from it any more once another consumer has joined.
        """
        consumer, self._consumer = self._consumer, None
        self._held.clear()
        if consumer is not None:
            closing = threading.Thread(target=consumer.close, name="close consumer", daemon=True)
            closing.start()
            closing.join(_common.CLOSE_TIMEOUT_MS / 1000)


def _without_notices(messages: list[Message]) -> list[Message]:
    """Return the messages without ends of partitions; raises for any other error among them."""
    for error in filter(None, map(Message.error, messages)):
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


def _to_batch(messages: list[Message], next_offsets: dict[TopicPartition, int]) -> RecordBatch:
    """Turn messages into columns, without Python code per record."""
    has_headers = any(map(Message.headers, messages))
    return RecordBatch(
        values=list(map(Message.value, messages)),
        headers=list(map(Message.headers, messages)) if has_headers else None,
        next_offsets=next_offsets,
        origin=lambda index: _origin(messages[index]),
        series=lambda: _series(messages),
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


def _origin(message: Message) -> Origin:
    """Return everything about a record but its value."""
    kind, timestamp_ms = message.timestamp()
    return Origin(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=-1 if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        key=message.key(),
        headers=message.headers() or (),
    )
