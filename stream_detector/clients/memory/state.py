"""What the clients of a memory broker share: logs, groups, transactional ids and faults."""

import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from stream_detector.clients import _errors
from stream_detector.clients._commit_metadata import encode_commit_metadata
from stream_detector.clients.memory.log import (
    SERVERS,
    Fault,
    Operation,
    PartitionLog,
    StoredRecord,
    refusal,
    take_effect,
)
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordMetadata,
    TopicPartition,
)
from stream_detector.errors import missing_topics

METADATA_BYTES_MAX = 4_096
"""As Kafka's `offset.metadata.max.bytes`."""


class Member(Protocol):
    """What the broker knows of a client: what it reads, and who it is.

    Attributes
    ----------
    topics
        What the client reads.
    instance_id
        Kafka's `group.instance.id`, None where it has none.
    is_replaced
        Whether another client has taken this one's transactional id or instance id.
    """

    topics: tuple[str, ...]
    instance_id: str | None
    is_replaced: bool

    def on_rebalance(self) -> None:
        """Learn that the partitions of the group were assigned again."""
        ...


class BrokerState:
    """Topics, consumer groups with their committed offsets, and transactional ids, in memory.

    Parameters
    ----------
    now_ms
        Clock for records without a timestamp, milliseconds since 1970-01-01 UTC.

    Attributes
    ----------
    faults
        Calls that are to fail; may be changed at any time.
    n_calls
        How often each operation was called so far.
    logs
        Partitions of each topic.
    topic_settings
        How each topic is configured, by Kafka's names; what is not given refuses nothing.
    spreads_refusals
        Whether records of other topics fail with those that a topic refuses, for the same reason,
        as kafka-python lets them.
    committed
        Committed offsets of each group.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.faults: list[Fault] = []
        self.n_calls: Counter[str] = Counter()
        self.logs: dict[str, list[PartitionLog]] = {}
        self.committed: defaultdict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(
            dict
        )
        self.spreads_refusals = False
        self.topic_settings: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._members: defaultdict[str, list[Member]] = defaultdict(list)
        self._producers: dict[str, Member] = {}
        self._now_ms = now_ms

    def on_call(self, operation: Operation, *, is_after: bool) -> None:
        """Count a call of an operation, and raise the fault that is set for it.

        Parameters
        ----------
        operation
            Which one.
        is_after
            Whether the call has done its work; only its beginning is counted.
        """
        if not is_after:
            self.n_calls[operation] += 1
        present = (operation, self.n_calls[operation], is_after)
        for fault in self.faults:
            if (fault.operation, fault.nth, fault.is_after) == present:
                take_effect(fault.effect, f"call {fault.nth} of {operation}")

    def partitions_of(self, topic: str) -> list[PartitionLog]:
        """Return the logs of a topic; raise where it does not exist."""
        if topic not in self.logs:
            raise missing_topics(SERVERS, [topic])
        return self.logs[topic]

    def append(self, record: OutputRecord) -> RecordMetadata:
        """Store one record in the partition that it names, or that its key selects."""
        logs = self.partitions_of(record.topic)
        if record.partition is not None:
            number = record.partition
        elif record.key is not None:
            number = zlib.crc32(record.key) % len(logs)
        else:
            number = min(range(len(logs)), key=lambda each: len(logs[each].records))
        metadata = RecordMetadata(
            topic=record.topic,
            partition=number,
            offset=len(logs[number].records),
            timestamp_ms=self._now_ms() if record.timestamp_ms is None else record.timestamp_ms,
            key=record.key,
            headers=tuple(record.headers),
        )
        logs[number].records.append(StoredRecord(metadata, record.value))
        return metadata

    def find_refusals(self, records: Sequence[OutputRecord]) -> list[_errors.Failure]:
        """Return why topics refuse records: as of one request, so all of a topic or none.

        That is the worst that Kafka and a library do: they do not tell which record is at fault.
        """
        failures: list[_errors.Failure] = []
        for topic in {record.topic for record in records}:
            numbers = [at for at, record in enumerate(records) if record.topic == topic]
            mine = [records[number] for number in numbers]
            error = refusal(mine, self.topic_settings[topic], self._now_ms())
            if error is not None:
                if self.spreads_refusals:
                    return [_errors.Failure(number, error) for number in range(len(records))]
                failures += [_errors.Failure(number, error) for number in numbers]
        return sorted(failures)

    def append_together(self, records: Iterable[OutputRecord]) -> None:
        """Store the records of one transaction, and the control records that end it.

        As in Kafka's log there is one in each partition that received a record.
        """
        written = {self.append(record)[:2] for record in records}
        for topic, number in sorted(written):
            log = self.logs[topic][number]
            metadata = RecordMetadata(topic, number, len(log.records), self._now_ms(), None, ())
            log.controls.add(metadata.offset)
            log.records.append(StoredRecord(metadata, None))

    def join(self, group: str, client: Member) -> None:
        """Make a client a member of a group, if it is none, and rebalance the group.

        One that returns under its instance id takes the partitions of the one that had it.
        """
        members = self._members[group]
        if client in members:
            return
        instances = [each.instance_id for each in members]
        if client.instance_id is not None and client.instance_id in instances:
            place = instances.index(client.instance_id)
            members[place].is_replaced = True
            members[place] = client
        else:
            members.append(client)
            self._rebalance(group)

    def leave(self, group: str, client: Member) -> None:
        """Remove a client from a group, if it is a member, and rebalance the group."""
        if client in self._members[group]:
            self._members[group].remove(client)
            client.on_rebalance()
            self._rebalance(group)

    def assigned_to(
        self, group: str | None, topics: Iterable[str], client: Member
    ) -> list[TopicPartition]:
        """Return the partitions that a client reads now: without a group, all of them."""
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in range(len(self.partitions_of(topic)))
        ]
        if group is None:
            return partitions
        members = self._members[group]
        return partitions[members.index(client) :: len(members)] if client in members else []

    def init_transactions(self, transactional_id: str, client: Member) -> None:
        """Give a transactional id to a client; the one that had it is fenced."""
        former = self._producers.get(transactional_id)
        if former is not None and former is not client:
            former.is_replaced = True
        self._producers[transactional_id] = client

    def check_commit(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata], client: Member
    ) -> None:
        """Refuse to commit what a group coordinator refuses."""
        assigned = self.assigned_to(group, client.topics, client)
        _errors.require_assigned(SERVERS, offsets, assigned)
        for partition, (_, metadata) in offsets.items():
            if len(encode_commit_metadata(metadata).encode()) > METADATA_BYTES_MAX:
                reason = f"metadata of {partition} is over {METADATA_BYTES_MAX} bytes"
                raise _errors.refused(SERVERS, reason)

    def _rebalance(self, group: str) -> None:
        """Tell every member of a group that the partitions were assigned again."""
        for member in self._members[group]:
            member.on_rebalance()
