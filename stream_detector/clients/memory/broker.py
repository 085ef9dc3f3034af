"""The broker that keeps everything in memory, as a test or a trial uses it."""

from collections.abc import Iterable, Sequence

from stream_detector.clients._subscription import Subscription
from stream_detector.clients.memory.client import MemoryClient
from stream_detector.clients.memory.log import Item, PartitionLog, StoredRecord
from stream_detector.clients.memory.state import BrokerState
from stream_detector.core.records import OutputRecord


class MemoryBroker(BrokerState):
    """A broker in this process.

    Clients use the methods of `BrokerState`; the methods here create and fill topics, read them
    and connect clients.

    Parameters
    ----------
    now_ms
        Clock for records without a timestamp, milliseconds since 1970-01-01 UTC.
    """

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Create a topic; one that exists is emptied."""
        self.logs[topic] = [PartitionLog() for _ in range(n_partitions)]

    def add_partitions(self, topic: str, n_partitions: int) -> None:
        """Raise the number of partitions of a topic to `n_partitions`; every group rebalances."""
        logs = self.partitions_of(topic)
        logs += [PartitionLog() for _ in range(n_partitions - len(logs))]
        for group in list(self._members):
            self._rebalance(group)

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

        The topic and partition of an `OutputRecord` itself are ignored.
        """
        log = self.partitions_of(topic)[partition]
        for item in items:
            if isinstance(item, Item):
                log.items[len(log.records)].append(item)
            else:
                record = OutputRecord(topic, None, item) if isinstance(item, bytes) else item
                self.append(record._replace(topic=topic, partition=partition))

    def truncate(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records of a partition before an offset, as retention does."""
        self.partitions_of(topic)[partition].start = offset

    def records(self, topic: str) -> list[StoredRecord]:
        """Return all records of a topic that are kept, partition by partition."""
        return [
            record
            for log in self.partitions_of(topic)
            for record in log.records[log.start :]
            if record.metadata.offset not in log.controls
        ]
