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
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients._preflight import reach
from stream_detector.clients.confluent.config import (
    LIBRARY_ERRORS,
    REFUSALS,
    committed_metadata,
    connection_config,
    consumer_config,
    count_partitions,
    is_fatal,
    log_in,
    map_error,
    seek,
    watermarks,
)
from stream_detector.clients.confluent.producer import ConfluentWriter
from stream_detector.clients.confluent.records import Reading, to_batch, without_notices
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import missing_topics
from stream_detector.settings import ConnectionSettings

__all__ = ["ConfluentClient", "map_error"]

# Without a logger the library writes to standard error. All it says there comes as an error too, so
# this one is silent until somebody gives it a handler.
_LOGGER = logging.getLogger("confluent_kafka")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False

# How long one look for the answer to a commit takes at most.
_COMMIT_TICK_S = 0.001


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
        self._config: dict[str, Any] | None = None
        self._consumer: Any = None
        self._writer = ConfluentWriter(
            self._servers, self._connection, subscription.transactional_id
        )
        self._positions: dict[TopicPartition, int] = {}
        self._error: KafkaError | None = None
        self._reading = Reading()
        self._heard_at_s = 0.0

    def __repr__(self) -> str:
        return f"ConfluentClient({self._servers!r}, {self._subscription!r})"

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        self._subscription.require_topics()
        _common.require_no_transaction(is_open=self._writer.is_in_transaction)
        if self._consumer is None:
            self._begin_session()  # later, the next transaction takes it where it was dropped
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            messages = self._take(consumer, n_records_max, timeout_ms / 1000)
            if any(map(Message.error, messages)):
                has_group = self._subscription.group is not None
                messages = without_notices(messages, has_group=has_group)
            batch = to_batch(messages, self._next_offsets(consumer, messages))
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

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; reading goes on where it was."""
        self._writer.drop()

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Save where the group goes on, and wait until the broker has it."""
        self._subscription.require_group()
        theirs = [
            confluent_kafka.TopicPartition(*partition, offset, _common.end_note(metadata))
            for partition, (offset, metadata) in offsets.items()
        ]
        _common.require_assigned(self._servers, offsets, self.assignment())
        if self._subscription.transactional_id is not None:
            with self._translated(self.reset):
                member = self._consumer.consumer_group_metadata() if theirs else None
                self._writer.commit(theirs, member)
        elif theirs:
            with self._translated(self._drop_consumer):
                self._consumer.commit(offsets=theirs, asynchronous=True)
                error, partitions = self._await_commit(self._consumer)
            with self._translated():
                _raise_any((error, *(partition.error for partition in partitions)))

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask the broker where the group goes on, None where it never committed."""
        self._subscription.require_group()
        theirs = [confluent_kafka.TopicPartition(*each) for each in partitions]
        if not theirs:
            return {}
        self._begin_session()
        with self._translated(self._drop_consumer):
            saved = self._reader().committed(theirs, timeout=_common.REQUEST_TIMEOUT_MS / 1000)
            _raise_any(each.error for each in saved)
        return {
            TopicPartition(each.topic, each.partition): (
                OffsetAndMetadata(each.offset, _common.read_note(committed_metadata(each)))
                if each.offset >= 0
                else None
            )
            for each in saved
        }

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        return frozenset(TopicPartition(each.topic, each.partition) for each in self._assigned())

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that came to the assignment since this was last asked."""
        newly_assigned = frozenset(self._reading.newly_assigned)
        self._reading.newly_assigned.clear()
        return newly_assigned

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset on."""
        _common.require_assigned(self._servers, [partition], self.assignment())
        with self._translated():
            seek(self._consumer, partition, offset)
        self._reading.drop(partition)
        self._reading.sought[partition] = offset
        self._positions[partition] = offset

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which the next poll hands out, of each partition where known."""
        wanted = set(partitions)
        theirs = [each for each in self._assigned() if (each.topic, each.partition) in wanted]
        if not theirs:
            return {}
        with self._translated():
            return self._reading.positions(self._consumer.position(theirs))

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the first offset that it still keeps of each partition."""
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            return {each: watermarks(consumer, each)[0] for each in partitions}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the end of each partition as readers of committed records see it."""
        with self._translated(self._drop_consumer):
            consumer = self._reader()
            return {each: watermarks(consumer, each)[1] for each in partitions}

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give nothing of these partitions until `resume`, or until they change hands."""
        mine = set(partitions) & self.assignment()
        # What was read ahead is read again later, for it must not be handed out now.
        for partition, offset in self._reading.positions_held().items():
            if partition in mine:
                self.seek(partition, offset)
        with self._translated():
            if mine:
                self._consumer.pause([confluent_kafka.TopicPartition(*each) for each in mine])

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give records of these partitions again, from where they were paused."""
        mine = set(partitions) & self.assignment()
        with self._translated():
            if mine:
                self._consumer.resume([confluent_kafka.TopicPartition(*each) for each in mine])

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition where known."""
        lags = {}
        for partition, position in self.positions(self.assignment()).items():
            theirs = confluent_kafka.TopicPartition(*partition)
            with self._translated():
                _, end = self._consumer.get_watermark_offsets(theirs, cached=True)
            if end >= 0:
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
            # A failed login shows only as time running out; the callback knows the cause.
            cause, self._error = self._error, None
            if cause is not None and cause.code() in REFUSALS:
                raise map_error(cause, self._servers) from error
            # A callback that ran while an error was on its way hides it.
            reason = error.__cause__ or error
            reading = self._subscription
            if reading.instance_id is not None and is_fatal(reason):
                # All that is fatal to a consumer, which does not say so: its place is taken.
                raise _common.fenced(self._servers, reason) from error
            raise map_error(
                reason, self._servers, reading.topics, reading.transactional_id
            ) from error

    def _reader(self) -> Any:
        """Return the consumer, building it first where there is none."""
        if self._consumer is None:
            counts = {topic: self.n_partitions(topic) for topic in self._subscription.topics}
            missing = [topic for topic, count in counts.items() if count == 0]
            if missing:
                raise missing_topics(self._servers, missing)
            self._reading = Reading()
            config = self._connection() | consumer_config(self._subscription)
            consumer = confluent_kafka.Consumer(config | {"on_commit": self._reading.on_commit})
            # Kept before it is used, so that a failure below closes it.
            self._consumer = consumer
            self._heard_at_s = time.monotonic()
            if self._subscription.group is not None:
                consumer.subscribe(
                    list(self._subscription.topics),
                    on_assign=self._reading.on_assign,
                    on_revoke=self._reading.on_revoke,
                    on_lost=self._reading.on_revoke,
                )
            else:
                self._assign_all(consumer, counts)
        return self._consumer

    def _connection(self) -> dict[str, Any]:
        """Return the options every part of the library takes, once a broker has let us in."""
        if self._config is None:
            protocol = self._settings.security_protocol
            if protocol.endswith("SSL"):
                reach(self._settings)
            config = connection_config(self._settings) | {
                "logger": _LOGGER,
                # Lost connections reach the error callback; as log lines they come by the hundred.
                "log_level": 2,
                "error_cb": self._on_error,
            }
            if protocol.startswith("SASL"):
                log_in(config)
            self._config = config
        return self._config

    def _begin_session(self) -> None:
        """Take the transactional id, where there is one: an older transaction ends with that."""
        with self._translated(self._writer.drop):
            self._writer.begin_session()

    def _assign_all(self, consumer: Any, counts: Mapping[str, int]) -> None:
        """Read every partition from where an earlier connection stopped, else from the reset."""
        is_latest = self._subscription.offset_reset == "latest"
        assigned = []
        for topic in self._subscription.topics:
            for number in range(counts[topic]):
                each = TopicPartition(topic, number)
                if each not in self._positions:
                    low, high = watermarks(consumer, each)
                    self._positions[each] = high if is_latest else low
                offset = self._positions[each]
                assigned.append(confluent_kafka.TopicPartition(*each, offset))
        consumer.assign(assigned)
        self._reading.on_assign(consumer, assigned)

    def _assigned(self) -> list[Any]:
        """Return the library's partitions that this process reads now."""
        if self._consumer is None:
            return []
        with self._translated():
            return list(self._consumer.assignment())

    def _next_offsets(self, consumer: Any, messages: list[Message]) -> dict[TopicPartition, int]:
        """Return the positions after `messages`; a partition taken away meanwhile has none."""
        if not messages:
            return {}
        numbers = set(map(Message.partition, messages))
        assigned = [each for each in consumer.assignment() if each.partition in numbers]
        return self._reading.positions(consumer.position(assigned))

    def _take(self, consumer: Any, n_records_max: int, timeout_s: float) -> list[Message]:
        """Return the next messages, those that are held first."""
        reading = self._reading
        # Asking for many waits until they are there: wait for one, then take what is there. All
        # pass through `held`, from where a partition that goes meanwhile takes its own along.
        if not reading.held:
            reading.hold(consumer.consume(1, timeout_s))
        if 0 < len(reading.held) < n_records_max:
            reading.hold(consumer.consume(n_records_max - len(reading.held), 0))
        return reading.take(n_records_max)

    def _await_commit(self, consumer: Any) -> tuple[KafkaError | None, list[Any]]:
        """Return what the broker answered to the commit that is under way.

        The library's own waiting has no limit: it goes on for as long as a broker hangs. Its
        answer comes by a callback, which only `consume` calls; a message that comes with it is
        kept for the next poll.
        """
        self._reading.commits.clear()
        deadline_s = time.monotonic() + _common.REQUEST_TIMEOUT_MS / 1000
        while not self._reading.commits:
            if time.monotonic() >= deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            self._reading.hold(consumer.consume(1, _COMMIT_TICK_S))
        return self._reading.commits.pop()

    def _probe(self, consumer: Any) -> None:
        """After a complaint or a long silence, ask for something; raises where none answers."""
        is_silent = time.monotonic() - self._heard_at_s >= _common.PROBE_AFTER_S
        if self._error is None and not is_silent:
            return
        if self._error is not None and (self._error.fatal() or self._error.code() in REFUSALS):
            raise KafkaException(self._error)
        consumer.list_topics(
            self._subscription.topics[0], timeout=_common.CONNECT_TIMEOUT_MS / 1000
        )
        self._error = None
        self._heard_at_s = time.monotonic()

    def _on_error(self, error: KafkaError) -> None:
        """Remember a complaint about connections; `poll` looks into it."""
        if self._error is None or self._error.code() not in REFUSALS:
            self._error = error

    def _drop_consumer(self) -> None:
        """Close the consumer, leaving the group where the broker still answers.

        The library's own closing goes on for as long as a broker hangs, so it is left alone with
        that. The group takes no commit from it any more once another consumer has joined.
        """
        consumer, self._consumer = self._consumer, None
        self._reading = Reading()
        if consumer is not None:
            closing = threading.Thread(target=consumer.close, name="close consumer", daemon=True)
            closing.start()
            closing.join(_common.CLOSE_TIMEOUT_MS / 1000)


def _raise_any(errors: Iterable[KafkaError | None]) -> None:
    """Raise the first error there is."""
    for error in errors:
        if error is not None:
            raise KafkaException(error)
