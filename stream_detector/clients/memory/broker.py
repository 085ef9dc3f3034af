"""The broker that keeps everything in memory: topics, logs, groups and their offsets."""

import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients.memory.client import MemoryClient
from stream_detector.clients.memory.log import (
    SERVERS,
    Fault,
    Item,
    Operation,
    PartitionLog,
    StoredRecord,
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


class MemoryBroker:
    """Topics, consumer groups and their committed offsets, in memory.

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
    committed
        Where each group goes on.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.faults: list[Fault] = []
        self.n_calls: Counter[str] = Counter()
        self.logs: dict[str, list[PartitionLog]] = {}
        self.committed: defaultdict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(
            dict
        )
        self._members: defaultdict[str, list[MemoryClient]] = defaultdict(list)
        self._producers: dict[str, MemoryClient] = {}
        self._now_ms = now_ms

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic; one that exists is emptied."""
        self.logs[topic] = [PartitionLog() for _ in range(n_partitions)]

    def add_partitions(self, topic: str, n_partitions: int) -> None:
        """Let a topic have so many partitions from now on; every group shares them anew."""
        logs = self._logs_of(topic)
        logs += [PartitionLog() for _ in range(n_partitions - len(logs))]
        for group in list(self._members):
            self._tell_of_rebalance(group)

    def connect(
        self,
        *,
        topics: Sequence[str] = (),
        group: str | None = None,
        offset_reset: str = "earliest",
        transactional_id: str | None = None,
        instance_id: str | None = None,
    ) -> MemoryClient:
        """Return a client, as `stream_detector.clients.connect` does."""
        subscription = Subscription(
            tuple(topics), group, offset_reset, transactional_id, instance_id
        )
        return MemoryClient(self, subscription)

    def feed(
        self, topic: str, items: Iterable[OutputRecord | bytes | Item], partition: int = 0
    ) -> None:
        """Append records, bare values and fault items to one partition, in order.

        An `OutputRecord`'s own topic and partition do not count here.
        """
        log = self._logs_of(topic)[partition]
        for item in items:
            if isinstance(item, Item):
                log.items[len(log.records)].append(item)
            else:
                record = OutputRecord(topic, None, item) if isinstance(item, bytes) else item
                self.append(record._replace(topic=topic, partition=partition))

    def append(self, record: OutputRecord) -> RecordMetadata:
        """Store one record in the partition it names, or that its key gives; return its place."""
        logs = self._logs_of(record.topic)
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

    def append_together(self, records: Iterable[OutputRecord]) -> None:
        """Store the records of one transaction, and the control record that ends it.

        There is one in each partition that got a record, as in Kafka's log.
        """
        written = {self.append(record)[:2] for record in records}
        for topic, number in sorted(written):
            log = self.logs[topic][number]
            metadata = RecordMetadata(topic, number, len(log.records), self._now_ms(), None, ())
            log.controls.add(metadata.offset)
            log.records.append(StoredRecord(metadata, None))

    def truncate(self, topic: str, partition: int, offset: int) -> None:
        """Keep nothing of a partition before an offset, as retention does."""
        self._logs_of(topic)[partition].start = offset

    def records(self, topic: str) -> list[StoredRecord]:
        """Return all records of a topic that are kept, partition by partition."""
        return [
            record
            for log in self._logs_of(topic)
            for record in log.records[log.start :]
            if record.metadata.offset not in log.controls
        ]

    def meet(self, operation: Operation, *, is_after: bool) -> None:
        """Raise what the script says about the present call of an operation."""
        if not is_after:
            self.n_calls[operation] += 1
        present = (operation, self.n_calls[operation], is_after)
        for fault in self.faults:
            if (fault.operation, fault.nth, fault.is_after) == present:
                take_effect(fault.effect, f"call {fault.nth} of {operation}")

    def join(self, group: str, client: MemoryClient) -> None:
        """Make a client a member of a group, if it is none; the partitions are shared anew.

        One that comes back under its instance id takes the partitions of the one that had it.
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
            self._tell_of_rebalance(group)

    def leave(self, group: str, client: MemoryClient) -> None:
        """Take a client out of a group, if it is in it."""
        if client in self._members[group]:
            self._members[group].remove(client)
            client.note_rebalance()
            self._tell_of_rebalance(group)

    def share(
        self, group: str | None, topics: Iterable[str], client: MemoryClient
    ) -> list[TopicPartition]:
        """Return the partitions that are a client's now."""
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in range(len(self._logs_of(topic)))
        ]
        if group is None:
            return partitions
        members = self._members[group]
        return partitions[members.index(client) :: len(members)] if client in members else []

    def begin_session(self, transactional_id: str, client: MemoryClient) -> None:
        """Give a transactional id to a client; the one that had it is fenced."""
        former = self._producers.get(transactional_id)
        if former is not None and former is not client:
            former.is_replaced = True
        self._producers[transactional_id] = client

    def check_progress(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata], client: MemoryClient
    ) -> None:
        """Refuse what a group coordinator refuses to commit."""
        _common.require_assigned(SERVERS, offsets, self.share(group, client.topics, client))
        for partition, (_, metadata) in offsets.items():
            if len(_common.end_note(metadata).encode()) > METADATA_BYTES_MAX:
                reason = f"metadata of {partition} is over {METADATA_BYTES_MAX} bytes"
                raise _common.refused(SERVERS, reason)

    def _tell_of_rebalance(self, group: str) -> None:
        for member in self._members[group]:
            member.note_rebalance()

    def _logs_of(self, topic: str) -> list[PartitionLog]:
        if topic not in self.logs:
            raise missing_topics(SERVERS, [topic])
        return self.logs[topic]
