"""What every Kafka client does in the same way, whichever library is underneath.

`KafkaClient` holds the order of the calls: when to connect, when to take the transactional id,
when to drop a consumer, which offsets to commit. A subclass for one library only says how the
library does each single step, and how its errors map to `stream_detector.errors`.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from stream_detector.clients import _errors, _limits
from stream_detector.clients._commit_metadata import decode_commit_metadata, encode_commit_metadata
from stream_detector.clients._producer import BaseProducer
from stream_detector.clients._subscription import Subscription, require_no_transaction
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import BrokerError, missing_topics
from stream_detector.settings import ConnectionSettings

_LOGGER = logging.getLogger(__name__)

_NEW_TOPIC_TICK_S = 0.1


class KafkaClient(ABC):
    """Base of the clients on a Kafka library; fits `stream_detector.ports.Client`.

    The consumer and the producer are built when they are first used. After any error out of the
    consumer that the library may not recover from, the consumer is closed and the next call builds
    another one.

    Parameters
    ----------
    settings
        How to reach Kafka.
    subscription
        What to read, if anything.

    Attributes
    ----------
    library_errors
        Everything that the library raises.
    producer_class
        Its writing half.
    """

    library_errors: ClassVar[tuple[type[Exception], ...]]
    producer_class: ClassVar[type[BaseProducer]]

    def __init__(self, settings: ConnectionSettings, subscription: Subscription) -> None:
        self._settings = settings
        self._servers = settings.bootstrap_servers
        self._subscription = subscription
        self._config: dict[str, Any] | None = None
        self._consumer: Any = None
        self._producer = self.producer_class(
            self._servers, self._connection, self.n_partitions, subscription.transactional_id
        )
        # Without a group these are the only memory of where to continue after a reset.
        self._positions: dict[TopicPartition, int] = {}
        self._newly_assigned: set[TopicPartition] = set()
        # When records came or a broker answered, and whether it answered since this was asked.
        self._heard_at_s = 0.0
        self._has_answered = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._servers!r}, {self._subscription!r})"

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        self._subscription.require_topics()
        require_no_transaction(is_open=self._producer.is_in_transaction)
        if self._consumer is None:
            self._init_transactions()  # once dropped, the next transaction takes the id again
        with self._mapped_errors(self._drop_consumer):
            consumer = self._require_consumer()
            batch = self._fetch(consumer, n_records_max, timeout_ms)
            if len(batch):
                self._heard_at_s = time.monotonic()
            elif self._needs_probe():
                self._probe(consumer)
                self._note_answer()
        if self._subscription.group is None:
            self._positions.update(batch.next_offsets)
        return batch

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Send records; wait while too many are unacknowledged."""
        with self._mapped_errors():
            self._producer.produce(records)

    def flush(self, timeout_ms: int) -> None:
        """Wait until all in-sync replicas have acknowledged every record sent."""
        with self._mapped_errors():
            self._producer.flush(timeout_ms)

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; positions stay as they are."""
        self._producer.discard()

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the group's next offsets, and wait until the broker has stored them."""
        self._subscription.require_group()
        encoded = {
            partition: (next_offset, encode_commit_metadata(metadata))
            for partition, (next_offset, metadata) in offsets.items()
        }
        _errors.require_assigned(self._servers, offsets, self.assignment())
        theirs = self._library_offsets(encoded)
        if self._subscription.transactional_id is not None:
            with self._mapped_errors(self.reset):
                member = self._group_metadata(self._consumer) if theirs else None
                self._producer.commit(theirs, member)
        elif theirs:
            self._commit_offsets(self._consumer, theirs)
        if theirs:
            self._note_answer()

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask the broker for the group's committed offsets, None where it never committed."""
        self._subscription.require_group()
        wanted = list(partitions)
        if not wanted:
            return {}
        self._init_transactions()
        with self._mapped_errors(self._drop_consumer):
            saved = self._fetch_committed(self._require_consumer(), wanted)
        self._note_answer()
        return {
            each: OffsetAndMetadata(saved[each][0], decode_commit_metadata(saved[each][1]))
            if each in saved
            else None
            for each in wanted
        }

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this process reads now."""
        if self._consumer is None:
            return frozenset()
        with self._mapped_errors():
            return self._assigned_to(self._consumer)

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that were assigned since the last call."""
        newly_assigned = frozenset(self._newly_assigned)
        self._newly_assigned.clear()
        return newly_assigned

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset."""
        _errors.require_assigned(self._servers, [partition], self.assignment())
        with self._mapped_errors():
            self._seek(self._consumer, partition, offset)
        self._positions[partition] = offset

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the next offset that a poll returns of each partition, where it is known."""
        wanted = set(partitions) & self.assignment()
        if not wanted:
            return {}
        with self._mapped_errors():
            return self._positions_of(self._consumer, wanted)

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the first offset that it still keeps of each partition."""
        with self._mapped_errors(self._drop_consumer):
            consumer = self._require_consumer()
            return self._fetch_beginning_offsets(consumer, list(partitions))

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask the broker for the end of each partition as readers of committed records see it."""
        with self._mapped_errors(self._drop_consumer):
            consumer = self._require_consumer()
            return self._fetch_end_offsets(consumer, list(partitions))

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls return nothing of these partitions until `resume`, or until they move."""
        mine = set(partitions) & self.assignment()
        if mine:
            with self._mapped_errors():
                self._pause(self._consumer, mine)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls return records of these partitions again, from where they were paused."""
        mine = set(partitions) & self.assignment()
        if mine:
            with self._mapped_errors():
                self._resume(self._consumer, mine)

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset of each assigned partition, where it is known."""
        lags = {}
        for partition, position in self.positions(self.assignment()).items():
            with self._mapped_errors():
                end = self._last_known_end(self._consumer, partition)
            if end is not None:
                lags[partition] = max(0, end - position)
        return lags

    def has_answered(self) -> bool:
        """Return whether a broker has answered a request since the last call."""
        has_answered, self._has_answered = self._has_answered, False
        return has_answered

    def has_fetched(self) -> bool:
        """Return whether partitions are assigned, and the broker was read from for each of them."""
        assigned = self.assignment()
        with self._mapped_errors():
            ends = [self._last_known_end(self._consumer, each) for each in assigned]
        return bool(ends) and None not in ends

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        with self._mapped_errors():
            return self._count_partitions(topic)

    def topic_settings(self, topic: str) -> Mapping[str, str]:
        """Ask how a topic is configured; empty where this user may not ask."""
        try:
            with self._mapped_errors():
                return self._describe_topic(topic)
        except BrokerError as error:
            _LOGGER.debug("the settings of topic %s are not known: %s", topic, error)
            return {}

    def lost_headers(
        self, offsets: Mapping[TopicPartition, Sequence[int]]
    ) -> Mapping[tuple[TopicPartition, int], int]:
        """Return which records have headers that polls did not hand over: none."""
        del offsets
        return {}

    def connect_reader(self, topic: str) -> Self:
        """Return another client of the same Kafka that reads every partition of a topic."""
        return type(self)(self._settings, Subscription((topic,)))

    def reset(self) -> None:
        """Drop every connection and unsent record; the next call connects again."""
        self._producer.discard()
        self._drop_consumer()
        self._config = None

    def close(self) -> None:
        """Leave the group and close every connection. Calling it twice is harmless."""
        self.reset()

    # What one library does in its own way.

    @abstractmethod
    def _connect(self) -> dict[str, Any]:
        """Return the options of every part of the library, once a broker has let us in."""

    @abstractmethod
    def _new_consumer(self) -> Any:
        """Return a new consumer that reads nothing yet."""

    @abstractmethod
    def _subscribe(self, consumer: Any) -> None:
        """Join the group; assignments and revocations keep `_newly_assigned` up to date."""

    @abstractmethod
    def _assign(self, consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets, without a group."""

    @abstractmethod
    def _fetch(self, consumer: Any, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records as columns, without Python code for each record."""

    @abstractmethod
    def _probe(self, consumer: Any) -> None:
        """Ask any broker for something; raise where none answers."""

    @abstractmethod
    def _close_consumer(self, consumer: Any) -> None:
        """Close a consumer within `CLOSE_TIMEOUT_MS`; raise nothing."""

    @abstractmethod
    def _count_partitions(self, topic: str) -> int:
        """Ask a broker how many partitions a topic has; create none."""

    @abstractmethod
    def _describe_topic(self, topic: str) -> dict[str, str]:
        """Ask a broker how a topic is configured."""

    @abstractmethod
    def _library_offsets(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Any:
        """Return next offsets and encoded metadata in the library's types; empty stays falsy."""

    @abstractmethod
    def _group_metadata(self, consumer: Any) -> Any:
        """Return the consumer's membership, by which a broker refuses a former member."""

    @abstractmethod
    def _commit_offsets(self, consumer: Any, offsets: Any) -> None:
        """Commit without a transaction; raise our own errors."""

    @abstractmethod
    def _fetch_committed(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, bytes]]:
        """Ask for next offsets and encoded metadata; leave out what was never committed."""

    @abstractmethod
    def _assigned_to(self, consumer: Any) -> frozenset[TopicPartition]:
        """Return what is assigned to a consumer."""

    @abstractmethod
    def _seek(self, consumer: Any, partition: TopicPartition, offset: int) -> None:
        """Move the position of an assigned partition, and drop what was read ahead of it."""

    @abstractmethod
    def _positions_of(
        self, consumer: Any, partitions: set[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the positions of assigned partitions where known, without asking a broker."""

    @abstractmethod
    def _fetch_beginning_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Ask for the first offset kept of each partition."""

    @abstractmethod
    def _fetch_end_offsets(
        self, consumer: Any, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Ask for the end of each partition, before any open transaction."""

    @abstractmethod
    def _pause(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        """Pause assigned partitions; nothing read ahead of them is returned meanwhile."""

    @abstractmethod
    def _resume(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        """Resume assigned partitions."""

    @abstractmethod
    def _last_known_end(self, consumer: Any, partition: TopicPartition) -> int | None:
        """Return the end of a partition from its last fetch, None where there was none."""

    @abstractmethod
    def _map_error(self, error: Exception) -> BrokerError:
        """Return our error for one of the library's."""

    # What the steps above are put together with.

    @contextmanager
    def _mapped_errors(self, *clean_up: Callable[[], None]) -> Iterator[None]:
        """Run `clean_up` and raise our own error where the library raises one of its own."""
        caught: tuple[type[Exception], ...] = (*self.library_errors, _errors.RaisedObjectError)
        try:
            with _errors.ObjectsAsExceptions():
                yield
        except caught as error:
            for each in clean_up:
                each()
            raise self._map_error(error) from error

    def _connection(self) -> dict[str, Any]:
        """Return the options of every part of the library, connecting first where needed."""
        if self._config is None:
            self._config = self._connect()
        return self._config

    def _init_transactions(self) -> None:
        """Take the transactional id, if any: that ends an older transaction of the same id."""
        with self._mapped_errors(self._producer.discard):
            self._producer.init_transactions()

    def _require_consumer(self) -> Any:
        """Return the consumer, building it first where there is none."""
        if self._consumer is None:
            counts = self._require_existing(self._subscription.topics)
            # Stored before it is used, so that a failure below closes it.
            self._consumer = self._new_consumer()
            self._heard_at_s = time.monotonic()
            if self._subscription.group is not None:
                self._subscribe(self._consumer)
            else:
                self._assign_all(self._consumer, counts)
        return self._consumer

    def _require_existing(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each topic has; raise where one does not exist."""
        counts = {topic: self.n_partitions(topic) for topic in topics}
        missing = [topic for topic, count in counts.items() if count == 0]
        if missing:
            raise missing_topics(self._servers, missing)
        return counts

    def _assign_all(self, consumer: Any, counts: Mapping[str, int]) -> None:
        """Read every partition from where an earlier connection stopped, else from the reset."""
        partitions = [
            TopicPartition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
        ]
        unknown = [each for each in partitions if each not in self._positions]
        if unknown and self._subscription.offset_reset == "latest":
            self._positions |= self._fetch_end_offsets(consumer, unknown)
        elif unknown:
            self._positions |= self._fetch_beginning_offsets(consumer, unknown)
        self._assign(consumer, {each: self._positions[each] for each in partitions})
        self._newly_assigned.update(partitions)

    def _note_answer(self) -> None:
        """Note that a broker has just answered a request."""
        self._heard_at_s = time.monotonic()
        self._has_answered = True

    def _needs_probe(self) -> bool:
        """Return whether the broker has been silent for so long that it may be gone."""
        return time.monotonic() - self._heard_at_s >= _limits.PROBE_AFTER_S

    def _drop_consumer(self) -> None:
        """Close the consumer, leaving the group where the broker still answers."""
        consumer, self._consumer = self._consumer, None
        # Another set: the listener of the old consumer may still fire.
        self._newly_assigned = set()
        if consumer is not None:
            self._close_consumer(consumer)


def count_when_known(count: Callable[[], int]) -> int:
    """Return how many partitions a topic has, asking again while it may be too new to be known.

    Parameters
    ----------
    count
        Asks a broker; 0 where that one knows no such topic.
    """
    deadline_s = time.monotonic() + _limits.NEW_TOPIC_MS / 1000
    while (n_partitions := count()) == 0 and time.monotonic() < deadline_s:
        time.sleep(_NEW_TOPIC_TICK_S)
    return n_partitions
