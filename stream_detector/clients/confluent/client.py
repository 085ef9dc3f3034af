"""The fast client, on confluent-kafka (librdkafka): an extra, several times the throughput.

Needs `pip install 'stream-detector[confluent]'`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _errors, _limits
from stream_detector.clients._base import KafkaClient
from stream_detector.clients._header_check import HeaderCheck
from stream_detector.clients._preflight import API_VERSIONS_MODERN, check_connection
from stream_detector.clients._subscription import Subscription
from stream_detector.clients.confluent.admin import Admin
from stream_detector.clients.confluent.config import (
    connection_config,
    consumer_config,
    log_in,
)
from stream_detector.clients.confluent.consumer import (
    ConsumerState,
    committed_metadata,
    prepare_close,
    seek,
    to_own,
)
from stream_detector.clients.confluent.errors import (
    LIBRARY_ERRORS,
    REFUSALS,
    LibraryLog,
    is_fatal,
    is_unconnected,
    map_error,
    map_fatal,
)
from stream_detector.clients.confluent.producer import ConfluentProducer
from stream_detector.clients.confluent.records import to_batch, undecodable_record, without_notices
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.ports import Client
from stream_detector.settings import ConnectionSettings

__all__ = ["ConfluentClient"]

# How many messages are taken at once: where nothing is known of their sizes, and first in a poll;
# then so many times as many as before. And how many are read ahead of a poll.
_TAKEN_UNKNOWN = 16
_TAKEN_FIRST = 2_048
_GROWTH = 4
_AHEAD_MAX = 16_384

# Longest single wait for the answer to a commit.
_COMMIT_TICK_S = 0.001


class ConfluentClient(KafkaClient):
    """A `stream_detector.ports.Client` on confluent-kafka.

    Parameters
    ----------
    settings
        How to reach Kafka.
    subscription
        What to read, if anything.
    reader_of
        Returns a client of another library that reads a topic in no group, for records of which
        this one hands over no headers because they have more than 100,000; None looks for none.
    """

    library_errors = LIBRARY_ERRORS
    producer_class = ConfluentProducer

    def __init__(
        self,
        settings: ConnectionSettings,
        subscription: Subscription,
        reader_of: Callable[[str], Client] | None = None,
    ) -> None:
        super().__init__(settings, subscription)
        self._header_check = HeaderCheck(reader_of) if reader_of is not None else None
        self._reported: KafkaError | None = None
        self._log = LibraryLog()
        self._state = ConsumerState()
        self._admin: Admin | None = None
        self._n_fitting = _TAKEN_UNKNOWN

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects again."""
        super().reset()
        self._admin = None
        if self._header_check is not None:
            self._header_check.close()

    def lost_headers(
        self, offsets: Mapping[TopicPartition, Sequence[int]]
    ) -> Mapping[tuple[TopicPartition, int], int]:
        """Return which records have so many headers that polls handed over none."""
        return {} if self._header_check is None else self._header_check.lost_headers(offsets)

    def _require_admin(self) -> Admin:
        """Return the admin client, building it first where there is none."""
        if self._admin is None:
            self._admin = Admin(self._connection())
        return self._admin

    def _connect(self) -> dict[str, Any]:
        protocol = self._settings.security_protocol
        check_connection(self._settings)
        config = connection_config(self._settings) | {
            "logger": self._log,
            # Lost connections reach the error callback; as log lines they come by the hundred.
            "log_level": 2,
            "error_cb": self._on_error,
        }
        if protocol.startswith("SASL"):
            log_in(config)
        return config

    def _new_consumer(self) -> Any:
        self._state = ConsumerState(self._newly_assigned)
        config = self._connection() | consumer_config(self._subscription)
        return confluent_kafka.Consumer(config | {"on_commit": self._state.on_commit})

    def _subscribe(self, consumer: Any) -> None:
        consumer.subscribe(
            list(self._subscription.topics),
            on_assign=self._state.on_assign,
            on_revoke=self._state.on_revoke,
            on_lost=self._state.on_revoke,
        )

    def _assign(self, consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
        consumer.assign(
            [confluent_kafka.TopicPartition(*each, offset) for each, offset in offsets.items()]
        )

    def _fetch(self, consumer: Any, n_records_max: int, timeout_ms: int) -> RecordBatch:
        messages = self._consume(consumer, n_records_max, timeout_ms / 1000)
        if any(map(Message.error, messages)):
            has_group = self._subscription.group is not None
            messages, undecodable = without_notices(messages, has_group=has_group)
            if undecodable is not None and not messages:
                return self._skip_undecodable(consumer, undecodable)
        return to_batch(messages, self._next_offsets(consumer, messages))

    def _skip_undecodable(self, consumer: Any, failed: Message) -> RecordBatch:
        """Return the record at a partition's position, of whose batch the library gives nothing.

        It does not say either how many records the batch holds, and raises the same error for the
        next of them.
        """
        where = TopicPartition(failed.topic() or "", failed.partition() or 0)
        offset = self._positions_of(consumer, {where}).get(where)
        if offset is None and self._subscription.group is None:
            offset = self._positions[where]
        elif offset is None:  # nothing was read of it since the group assigned it
            offset = self._fetch_committed(consumer, [where]).get(where, (0, b""))[0]
        offset = max(offset, failed.offset() or 0)
        self._seek(consumer, where, offset + 1)
        reason = error.str() if (error := failed.error()) else ""
        return undecodable_record(where, offset, reason)

    def _consume(self, consumer: Any, n_records_max: int, timeout_s: float) -> list[Message]:
        """Return the next messages, those that were read ahead first."""
        state = self._state
        # Asking for many waits until they are there: wait for one, then take what is there. All
        # pass through `read_ahead`, from where a partition that is revoked takes its own along.
        if not state.read_ahead:
            state.keep(consumer.consume(1, timeout_s))
        if state.read_ahead:
            self._take_queued(consumer, n_records_max)
        return state.take(n_records_max)

    def _take_queued(self, consumer: Any, n_records_max: int) -> None:
        """Take what the library has queued, as long as there is room for its bytes.

        The library gives messages by number, and does not say how large the next ones are: so many
        are asked for as would fit if they were as large as those before.
        """
        state, bytes_max = self._state, self._settings.poll_bytes_max
        n_bytes, n_asked = sum(map(len, state.read_ahead)), min(_TAKEN_FIRST, self._n_fitting)
        while True:
            n_taken = len(state.read_ahead)  # fewer than before where a partition was revoked
            n_fitting = (bytes_max - n_bytes) * n_taken // max(n_bytes, 1)
            n_asked = min(n_asked, n_fitting, n_records_max - n_taken)
            if n_asked <= 0:
                break
            messages = consumer.consume(n_asked, 0)
            n_bytes += sum(map(len, messages))
            state.keep(messages)
            if len(messages) < n_asked:
                break
            n_asked *= _GROWTH
        self._n_fitting = max(1, bytes_max * len(state.read_ahead) // max(n_bytes, 1))

    def _next_offsets(self, consumer: Any, messages: list[Message]) -> dict[TopicPartition, int]:
        """Return the positions after `messages`; a partition revoked meanwhile has none."""
        if not messages:
            return {}
        numbers = set(map(Message.partition, messages))
        assigned = [each for each in consumer.assignment() if each.partition in numbers]
        return self._state.positions(consumer.position(assigned))

    def _needs_probe(self) -> bool:
        return self._reported is not None or super()._needs_probe()

    def _probe(self, consumer: Any) -> None:
        del consumer
        reported = self._reported
        if reported is not None and (reported.fatal() or reported.code() in REFUSALS):
            raise KafkaException(reported)
        # The library reads on in silence where a topic was deleted.
        self._require_existing(self._subscription.topics)
        self._reported = None

    def _close_consumer(self, consumer: Any) -> None:
        """Close a consumer, and leave it alone with that where it takes too long.

        The library's own closing waits for as long as a broker hangs. The group accepts no commit
        from the old consumer any more once another one has joined.
        """
        self._state = ConsumerState()
        closing = threading.Thread(
            target=self._leave_and_close, args=(consumer,), name="close consumer", daemon=True
        )
        closing.start()
        closing.join(_limits.CLOSE_TIMEOUT_MS / 1000)

    def _leave_and_close(self, consumer: Any) -> None:
        if self._subscription.group is not None:
            is_static = self._subscription.instance_id is not None
            with suppress(*LIBRARY_ERRORS):  # it is closed all the same
                prepare_close(consumer, is_static=is_static)
        consumer.close()

    def _count_partitions(self, topic: str) -> int:
        return self._require_admin().count_partitions(topic)

    def _describe_topic(self, topic: str) -> dict[str, str]:
        # The library waits in vain for the answer of its own mock cluster.
        if check_connection(self._settings) < API_VERSIONS_MODERN:
            return {}
        return self._require_admin().topic_settings(topic)

    def _library_offsets(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Any:
        return [
            confluent_kafka.TopicPartition(*partition, next_offset, metadata)
            for partition, (next_offset, metadata) in offsets.items()
        ]

    def _group_metadata(self, consumer: Any) -> Any:
        return consumer.consumer_group_metadata()

    def _commit_offsets(self, consumer: Any, offsets: Any) -> None:
        with self._mapped_errors(self._drop_consumer):
            consumer.commit(offsets=offsets, asynchronous=True)
            error, partitions = self._await_commit(consumer)
        # The broker's own answer leaves the member as it is.
        with self._mapped_errors():
            _raise_first((error, *(partition.error for partition in partitions)))

    def _await_commit(self, consumer: Any) -> tuple[KafkaError | None, list[Any]]:
        """Return the broker's answer to the commit that is under way.

        The library's own wait has no limit: it lasts for as long as a broker hangs. Its answer
        comes by a callback, which only `consume` calls; messages that come with it are kept for
        the next poll. Of those that are queued as many are taken at once as it has room for: one by
        one they cost several times as much.
        """
        self._state.commit_answers.clear()
        deadline_s = time.monotonic() + _limits.REQUEST_TIMEOUT_MS / 1000
        while not self._state.commit_answers:
            if time.monotonic() >= deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            n_room = min(self._n_fitting, _AHEAD_MAX) - len(self._state.read_ahead)
            queued = consumer.consume(min(_TAKEN_FIRST, n_room), 0) if n_room > 0 else []
            self._state.keep(queued or consumer.consume(1, _COMMIT_TICK_S))
        return self._state.commit_answers.pop()

    def _fetch_committed(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, bytes]]:
        theirs = _to_library(partitions)
        found = consumer.committed(theirs, timeout=_limits.REQUEST_TIMEOUT_MS / 1000)
        _raise_first(each.error for each in found)
        return {
            to_own(each): (each.offset, committed_metadata(each))
            for each in found
            if each.offset >= 0
        }

    def _assigned_to(self, consumer: Any) -> frozenset[TopicPartition]:
        return frozenset(map(to_own, consumer.assignment()))

    def _seek(self, consumer: Any, partition: TopicPartition, offset: int) -> None:
        seek(consumer, partition, offset)
        self._state.drop(partition)
        self._state.sought[partition] = offset

    def _positions_of(
        self, consumer: Any, partitions: set[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return self._state.positions(consumer.position(_to_library(partitions)))

    def _fetch_beginning_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        del consumer
        return self._require_admin().beginning_offsets(partitions)

    def _fetch_end_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        del consumer
        return self._require_admin().end_offsets(partitions)

    def _pause(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        # What was read ahead must not be returned now; it is read again after the pause.
        for partition, offset in self._state.first_read_ahead().items():
            if partition in partitions:
                self.seek(partition, offset)
        consumer.pause(_to_library(partitions))

    def _resume(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        consumer.resume(_to_library(partitions))

    def _last_known_end(self, consumer: Any, partition: TopicPartition) -> int | None:
        theirs = confluent_kafka.TopicPartition(*partition)
        _, end = consumer.get_watermark_offsets(theirs, cached=True)
        return int(end) if end >= 0 else None

    def _map_error(self, error: Exception) -> BrokerError:
        # A failed login shows only as a timeout; the callback knows the cause.
        cause, self._reported = self._reported, None
        if cause is not None and cause.code() in REFUSALS:
            return map_error(cause, self._servers)
        # A callback that ran while an error was raised hides it, and a log line even its cause.
        if isinstance(error, SystemError) and error.__cause__ is None and self._log.fatal:
            return map_fatal(self._log.fatal, self._servers)
        reason = error.__cause__ or error
        reading = self._subscription
        if reading.instance_id is not None and is_fatal(reason):
            # The only fatal error of a consumer, which it does not name: its place is taken.
            return _errors.fenced(self._servers, reason)
        topics, own_id = reading.topics, reading.transactional_id
        if is_unconnected(reason):
            try:
                check_connection(self._settings)
            except BrokerError as cause:
                return cause
        return map_error(reason, self._servers, topics, own_id, reading.group)

    def _on_error(self, error: KafkaError) -> None:
        """Keep an error about connections; the next empty poll examines it."""
        if self._reported is None or self._reported.code() not in REFUSALS:
            self._reported = error


def _to_library(partitions: Iterable[TopicPartition]) -> list[Any]:
    """Return our partitions in the library's type."""
    return [confluent_kafka.TopicPartition(*each) for each in partitions]


def _raise_first(errors: Iterable[KafkaError | None]) -> None:
    """Raise the first error, if any."""
    for error in errors:
        if error is not None:
            raise KafkaException(error)
