"""The client of the memory broker."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from stream_detector.clients import _errors
from stream_detector.clients._subscription import Subscription, require_no_transaction
from stream_detector.clients.memory.log import (
    SERVERS,
    Aborted,
    Operation,
    PartitionLog,
    StoredRecord,
    take_effect,
)
from stream_detector.clients.memory.state import BrokerState
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
    series_columns,
)
from stream_detector.errors import missing_topics


class MemoryClient:
    """A `stream_detector.ports.Client` on a memory broker; created by `MemoryBroker.connect`.

    A produced record is in its topic only after `flush`, and in a transaction only after `commit`.
    A poll never waits. There is no library underneath and nothing to connect to, so this client
    does not derive from `KafkaClient`; the contract tests hold both to the same promises.

    Parameters
    ----------
    broker
        Where logs, groups and transactional ids are.
    subscription
        What to read, if anything.

    Attributes
    ----------
    topics
        What the client reads.
    instance_id
        Kafka's `group.instance.id`, None where it has none.
    is_replaced
        Whether another client has taken this one's transactional id or instance id.
    """

    def __init__(self, broker: BrokerState, subscription: Subscription) -> None:
        self.topics = subscription.topics
        self.instance_id = subscription.instance_id
        self.is_replaced = False
        self._broker = broker
        self._subscription = subscription
        self._unsent: list[OutputRecord] = []
        self._is_initialized = False
        self._transaction: list[OutputRecord] | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._newly_assigned: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._has_answered = False

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        del timeout_ms
        self._subscription.require_topics()
        require_no_transaction(is_open=self._transaction is not None)
        records: list[StoredRecord] = []
        next_offsets: dict[TopicPartition, int] = {}
        with self._call("poll"):
            self._update_assignment()
            for partition, start in list(self._positions.items()):
                log = self._log(partition)
                if partition in self._paused:
                    continue
                if log.items[start] and records:
                    continue  # an item takes effect in a poll of its own
                if log.items[start]:
                    take_effect(log.items[start].popleft(), f"{partition.topic}[{partition[1]}]")
                    break
                taken, end = log.read(start, n_records_max - len(records))
                if taken:
                    next_offsets[partition] = taken[-1].metadata.offset + 1
                    records += taken
                if end > start:
                    # Read this partition last in the next poll, so that none starves.
                    del self._positions[partition]
                    self._positions[partition] = end
        return _to_batch(records, next_offsets)

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Keep records until `flush` sends them."""
        with self._call("produce"):
            self._begin_transaction()
            for record in records:
                if record.topic not in self._broker.logs:
                    raise missing_topics(SERVERS, [record.topic])
                self._unsent.append(record)

    def flush(self, timeout_ms: int) -> None:
        """Send every record that was produced."""
        del timeout_ms
        with self._call("flush"):
            self._send()

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; positions stay as they are."""
        self._unsent.clear()
        self._transaction = None

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the group's next offsets, together with the records of a transaction."""
        group = self._subscription.require_group()
        with self._call("commit"):
            self._require_not_replaced()
            if self._subscription.transactional_id is None:
                self._broker.check_commit(group, offsets, self)
                self._broker.committed[group].update(offsets)
                return
            self._begin_transaction()
            self._send()
            with self._call("send_offsets"):
                self._broker.check_commit(group, offsets, self)
            with self._call("end"):
                self._broker.append_together(self._transaction or ())
                self._broker.committed[group].update(offsets)
                self._transaction = None

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the group's committed offsets, None where it never committed."""
        group = self._subscription.require_group()
        with self._call("committed"):
            self._init_transactions()
            saved = self._broker.committed[group]
            return {each: saved.get(each) for each in partitions}

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this process reads now."""
        return frozenset(self._positions)

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that were assigned since the last call."""
        newly_assigned = frozenset(self._newly_assigned)
        self._newly_assigned.clear()
        return newly_assigned

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset."""
        _errors.require_assigned(SERVERS, [partition], self.assignment())
        if not 0 <= offset < 2**63:  # the libraries fail as well
            raise _errors.refused(SERVERS, f"offset {offset}")
        self._positions[partition] = offset

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the next offset that a poll returns of each partition, where it is known."""
        return {each: self._positions[each] for each in partitions if each in self._positions}

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset still kept of each partition."""
        with self._call("beginning_offsets"):
            return {each: self._log(each).start for each in partitions}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the end of each partition."""
        with self._call("end_offsets"):
            return {each: len(self._log(each).records) for each in partitions}

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls return nothing of these partitions until `resume`."""
        self._paused |= set(partitions) & set(self._positions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls return records of these partitions again."""
        self._paused -= set(partitions)

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset of each assigned partition."""
        return {
            each: max(0, len(self._log(each).records) - position)
            for each, position in self._positions.items()
        }

    def has_answered(self) -> bool:
        """Return whether any call has succeeded since the last call of this."""
        has_answered, self._has_answered = self._has_answered, False
        return has_answered

    def has_fetched(self) -> bool:
        """Return whether partitions are assigned; a poll has then read all of them."""
        return bool(self._positions)

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        return len(self._broker.logs.get(topic, ()))

    def topic_settings(self, topic: str) -> Mapping[str, str]:
        """Return how a topic is configured."""
        return self._broker.topic_settings[topic]

    def lost_headers(
        self, offsets: Mapping[TopicPartition, Sequence[int]]
    ) -> Mapping[tuple[TopicPartition, int], int]:
        """Return which records have headers that polls did not hand over: none."""
        del offsets
        return {}

    def connect_reader(self, topic: str) -> "MemoryClient":
        """Return another client of the same broker that reads every partition of a topic."""
        return MemoryClient(self._broker, Subscription((topic,)))

    def reset(self) -> None:
        """Drop every unsent record, abort and leave the group; the next call joins again."""
        self._unsent.clear()
        self._transaction = None
        self._is_initialized = False
        self.is_replaced = False
        self._starts = self._positions if self._subscription.group is None else {}
        self._positions = {}
        for partitions in (self._newly_assigned, self._lost, self._paused):
            partitions.clear()
        if self._subscription.group is not None:
            self._broker.leave(self._subscription.group, self)

    def close(self) -> None:
        """Leave the group. Calling it twice is harmless."""
        self.reset()

    def on_rebalance(self) -> None:
        """Find the partitions that were assigned to another; the next poll gives them up."""
        if self._positions:
            mine = self._broker.assigned_to(self._subscription.group, self.topics, self)
            self._lost |= set(self._positions) - set(mine)

    @contextmanager
    def _call(self, operation: Operation) -> Iterator[None]:
        """Raise the faults set for a call; a process that dies loses its unsent records."""
        try:
            self._broker.on_call(operation, is_after=False)
            yield
            self._broker.on_call(operation, is_after=True)
            self._has_answered = True
        except Aborted:
            self.reset()
            raise

    def _log(self, partition: TopicPartition) -> PartitionLog:
        """Return the log of a partition that exists."""
        return self._broker.logs[partition.topic][partition.partition]

    def _init_transactions(self) -> None:
        """Take the transactional id, if any, once for each connection."""
        transactional_id = self._subscription.transactional_id
        if transactional_id is not None and not self._is_initialized:
            self._broker.init_transactions(transactional_id, self)
            self._is_initialized = True

    def _begin_transaction(self) -> None:
        """Begin a transaction where there is a transactional id and none is open."""
        self._init_transactions()
        if self._subscription.transactional_id is not None and self._transaction is None:
            with self._call("begin"):
                self._require_not_replaced()
                self._transaction = []

    def _send(self) -> None:
        """Append unsent records to their topics, or to the open transaction."""
        self._refuse_records()
        if self._transaction is not None:
            self._require_not_replaced()
            self._transaction += self._unsent
        else:
            for record in self._unsent:
                self._broker.append(record)
        self._unsent.clear()

    def _refuse_records(self) -> None:
        """Raise an error where topics do not take records as they are; the others arrive."""
        failures = self._broker.find_refusals(self._unsent)
        if not failures:
            return
        numbers = {failure.number for failure in failures}
        arrived = [each for number, each in enumerate(self._unsent) if number not in numbers]
        if self._transaction is None:
            for record in arrived:
                self._broker.append(record)
        self.abort()
        raise _errors.undelivered(failures, failures[0].error)

    def _require_not_replaced(self) -> None:
        """Raise an error once another client has this client's transactional id or instance id."""
        if self.is_replaced:
            raise _errors.fenced(SERVERS, "its transactional id or instance id is another's now")

    def _update_assignment(self) -> None:
        """Start reading partitions that were assigned, and stop reading those that were revoked."""
        self._init_transactions()
        group = self._subscription.group
        if group is not None:
            if self.instance_id is not None:
                self._require_not_replaced()
            self._broker.join(group, self)
        mine = self._broker.assigned_to(group, self.topics, self)
        for lost in self._lost | (set(self._positions) - set(mine)):
            self._positions.pop(lost, None)
            self._paused.discard(lost)
            self._newly_assigned.discard(lost)
        self._lost.clear()
        committed = self._broker.committed[group] if group is not None else {}
        for each in mine:
            log = self._log(each)
            is_latest = self._subscription.offset_reset == "latest"
            default = len(log.records) if is_latest else log.start
            if each not in self._positions:
                start = self._starts.get(each, default)
                self._positions[each] = committed[each].next_offset if each in committed else start
                self._newly_assigned.add(each)
            if not log.start <= self._positions[each] <= len(log.records):
                self._positions[each] = default


def _to_batch(records: list[StoredRecord], next_offsets: dict[TopicPartition, int]) -> RecordBatch:
    """Turn records into columns."""
    record_metadata = [record.metadata for record in records]
    return RecordBatch(
        values=[record.value for record in records],
        headers=(
            [metadata.headers for metadata in record_metadata]
            if any(metadata.headers for metadata in record_metadata)
            else None
        ),
        next_offsets=next_offsets,
        metadata=record_metadata.__getitem__,
        series=lambda: series_columns(record_metadata),
        offsets=lambda: np.array([each.offset for each in record_metadata], np.int64),
    )
