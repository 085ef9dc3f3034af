"""A broker in this process, for tests and trials: topics, groups, commits and faults.

Held to the same contract tests as the real clients. Faults are data: items in the
input (`EOF`, `ABORT`, `PAUSE`) or a script of calls that fail (`Fault`), so that a
crash at any step of a loop is a short test.

Examples
--------
>>> broker = MemoryBroker()
>>> broker.create_topic("telemetry")
>>> broker.feed("telemetry", [b"1", b"2", ABORT, b"3"])
>>> client = broker.connect(topics=["telemetry"], group="g")
>>> batch = client.poll(100, 0)
>>> batch.values
[b'1', b'2']
>>> client.commit(batch.next_offsets)
>>> client.poll(100, 0)
Traceback (most recent call last):
    ...
stream_detector.clients.memory.Aborted: the process dies here (ABORT in telemetry[0])
>>> broker.connect(topics=["telemetry"], group="g").poll(100, 0).values
[b'3']
"""

import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.core.records import (
    Origin,
    OutputRecord,
    RecordBatch,
    TopicPartition,
    series_columns,
)
from stream_detector.errors import BrokerError, BrokerUnavailableError, missing_topics

SERVERS = "memory"
"""What stands for the address in messages."""


class Item(Enum):
    """What may stand between the records of an input."""

    EOF = "nothing more for now: one poll gives nothing"
    ABORT = "the process dies here"
    PAUSE = "the broker is unavailable for one call"


EOF, ABORT, PAUSE = Item.EOF, Item.ABORT, Item.PAUSE

Operation = Literal["poll", "produce", "flush", "commit"]


class Aborted(BaseException):
    """The process dies here. No `except Exception` holds it up, as none holds up a SIGKILL."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that fails.

    Parameters
    ----------
    operation
        Which method.
    effect
        `ABORT`, `PAUSE`, or the error to raise.
    nth
        Which call of that method, over all clients of the broker, counted from 1.
    is_after
        Whether the call does its work before it fails: an answer that was lost.
    """

    operation: Operation
    effect: Item | BrokerError
    nth: int = 1
    is_after: bool = False


class StoredRecord(NamedTuple):
    """One record in a partition."""

    origin: Origin
    value: bytes | None


@dataclass(slots=True)
class PartitionLog:
    """The records of one partition, and the items to be met once before an offset."""

    records: list[StoredRecord] = field(default_factory=list)
    items: defaultdict[int, deque[Item]] = field(default_factory=lambda: defaultdict(deque))


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
        Next offsets of each group.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.faults: list[Fault] = []
        self.n_calls: Counter[str] = Counter()
        self.logs: dict[str, list[PartitionLog]] = {}
        self.committed: defaultdict[str, dict[TopicPartition, int]] = defaultdict(dict)
        self._members: defaultdict[str, list[MemoryClient]] = defaultdict(list)
        self._now_ms = now_ms

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic; one that exists is emptied."""
        self.logs[topic] = [PartitionLog() for _ in range(n_partitions)]

    def connect(
        self,
        *,
        topics: Sequence[str] = (),
        group: str | None = None,
        offset_reset: str = "earliest",
    ) -> "MemoryClient":
        """Return a client, as `stream_detector.clients.connect` does."""
        return MemoryClient(self, Subscription(tuple(topics), group, offset_reset))

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

    def append(self, record: OutputRecord) -> None:
        """Store one record in the partition it names, or that its key gives."""
        logs = self._logs_of(record.topic)
        if record.partition is not None:
            number = record.partition
        elif record.key is not None:
            number = zlib.crc32(record.key) % len(logs)
        else:
            number = min(range(len(logs)), key=lambda each: len(logs[each].records))
        origin = Origin(
            topic=record.topic,
            partition=number,
            offset=len(logs[number].records),
            timestamp_ms=self._now_ms() if record.timestamp_ms is None else record.timestamp_ms,
            key=record.key,
            headers=tuple(record.headers),
        )
        logs[number].records.append(StoredRecord(origin, record.value))

    def records(self, topic: str) -> list[StoredRecord]:
        """Return all records of a topic, partition by partition."""
        return [record for log in self._logs_of(topic) for record in log.records]

    def meet(self, operation: Operation, *, is_after: bool) -> None:
        """Raise what the script says about the present call of an operation."""
        if not is_after:
            self.n_calls[operation] += 1
        present = (operation, self.n_calls[operation], is_after)
        for fault in self.faults:
            if (fault.operation, fault.nth, fault.is_after) == present:
                take_effect(fault.effect, f"call {fault.nth} of {operation}")

    def join(self, group: str, client: "MemoryClient") -> None:
        """Make a client a member of a group, if it is none; the partitions are shared anew."""
        if client not in self._members[group]:
            self._members[group].append(client)

    def leave(self, group: str, client: "MemoryClient") -> None:
        """Take a client out of a group, if it is in it."""
        if client in self._members[group]:
            self._members[group].remove(client)

    def share(
        self, group: str | None, topics: Iterable[str], client: "MemoryClient"
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

    def _logs_of(self, topic: str) -> list[PartitionLog]:
        if topic not in self.logs:
            raise missing_topics(SERVERS, [topic])
        return self.logs[topic]


class MemoryClient:
    """A `stream_detector.ports.Client` on a `MemoryBroker`; made by `MemoryBroker.connect`.

    What was produced is in its topic only after `flush`. A poll never waits.
    """

    def __init__(self, broker: MemoryBroker, subscription: Subscription) -> None:
        self._broker = broker
        self._subscription = subscription
        self._unsent: list[OutputRecord] = []
        self._positions: dict[TopicPartition, int] = {}

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        del timeout_ms
        taken: list[StoredRecord] = []
        next_offsets: dict[TopicPartition, int] = {}
        with self._call("poll"):
            self._assign()
            for partition, start in list(self._positions.items()):
                log = self._broker.logs[partition.topic][partition.partition]
                if log.items[start] and not taken:
                    take_effect(log.items[start].popleft(), f"{partition.topic}[{partition[1]}]")
                    break
                end = _stop(log, start, start + n_records_max - len(taken))
                if end > start:
                    taken += log.records[start:end]
                    next_offsets[partition] = end
                    # Read last next time, so that no partition starves.
                    del self._positions[partition]
                    self._positions[partition] = end
        return RecordBatch(
            values=[record.value for record in taken],
            headers=(
                [record.origin.headers for record in taken]
                if any(record.origin.headers for record in taken)
                else None
            ),
            next_offsets=next_offsets,
            origin=lambda index: taken[index].origin,
            series=lambda: series_columns([record.origin for record in taken]),
        )

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over for sending; `flush` says whether they arrived."""
        with self._call("produce"):
            for record in records:
                if record.topic not in self._broker.logs:
                    raise missing_topics(SERVERS, [record.topic])
                self._unsent.append(record)

    def flush(self, timeout_ms: int) -> None:
        """Wait until every record handed over is acknowledged."""
        del timeout_ms
        with self._call("flush"):
            for record in self._unsent:
                self._broker.append(record)
            self._unsent.clear()

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Save where the group goes on."""
        self._subscription.require_group()
        group = self._subscription.group or ""
        with self._call("commit"):
            mine = self._broker.share(group, self._subscription.topics, self)
            if not set(next_offsets) <= set(mine):
                raise _common.rejoin(SERVERS, f"{sorted(set(next_offsets) - set(mine))}")
            self._broker.committed[group].update(next_offsets)

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        return frozenset(self._positions)

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition."""
        return {
            each: len(self._broker.logs[each.topic][each.partition].records) - position
            for each, position in self._positions.items()
        }

    def unread(self) -> dict[TopicPartition, range]:
        """Ask for the offsets that are left to read, of each partition of the topics."""
        self._subscription.require_no_group()
        self._assign()
        return {
            each: range(position, len(self._broker.logs[each.topic][each.partition].records))
            for each, position in self._positions.items()
        }

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        return len(self._broker.logs.get(topic, ()))

    def reset(self) -> None:
        """Drop every unsent record and leave the group; the next call joins afresh."""
        self._unsent.clear()
        if self._subscription.group is not None:
            self._broker.leave(self._subscription.group, self)
            self._positions.clear()

    def close(self) -> None:
        """Leave the group. Calling it twice is harmless."""
        self.reset()

    @contextmanager
    def _call(self, operation: Operation) -> Iterator[None]:
        """Let the script have its say before and after; a dead process takes its unsent along."""
        try:
            self._broker.meet(operation, is_after=False)
            yield
            self._broker.meet(operation, is_after=True)
        except Aborted:
            self.reset()
            raise

    def _assign(self) -> None:
        """Take up partitions that became ours, and forget those that are not ours any more."""
        self._subscription.require_topics()
        group, topics = self._subscription.group, self._subscription.topics
        if group is not None:
            self._broker.join(group, self)
        mine = self._broker.share(group, topics, self)
        for lost in set(self._positions) - set(mine):
            del self._positions[lost]
        for gained in mine:
            if gained not in self._positions:
                log = self._broker.logs[gained.topic][gained.partition]
                is_latest = self._subscription.offset_reset == "latest"
                start = len(log.records) if is_latest else 0
                committed = self._broker.committed[group] if group is not None else {}
                self._positions[gained] = committed.get(gained, start)


def take_effect(effect: Item | BrokerError, where: str) -> None:
    """Raise what an item or a fault stands for; `EOF` raises nothing."""
    if isinstance(effect, BrokerError):
        raise effect
    if effect is Item.ABORT:
        message = f"the process dies here (ABORT in {where})"
        raise Aborted(message)
    if effect is Item.PAUSE:
        message = f"the broker is unavailable for one call (PAUSE in {where})"
        raise BrokerUnavailableError(message)


def _stop(log: PartitionLog, start: int, end: int) -> int:
    """Return where reading on from `start` stops: at `end`, the log's end or the next item."""
    barriers = [offset for offset, items in log.items.items() if items and offset > start]
    return max(start, min(end, len(log.records), *barriers))
