"""The client of the memory broker."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients.memory.log import (
    SERVERS,
    Aborted,
    Operation,
    StoredRecord,
    take_effect,
)
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
    series_columns,
)
from stream_detector.errors import missing_topics

if TYPE_CHECKING:
    from stream_detector.clients.memory.broker import MemoryBroker


class MemoryClient:
    """A `stream_detector.ports.Client` on a `MemoryBroker`; made by `MemoryBroker.connect`.

    What was produced is in its topic only after `flush`, and in a transaction only after
    `commit`. A poll never waits.

    Attributes
    ----------
    topics, instance_id
        As in `stream_detector.clients.connect`.
    is_replaced
        Whether another client has taken this one's place.
    """

    def __init__(self, broker: "MemoryBroker", subscription: Subscription) -> None:
        self.topics = subscription.topics
        self.instance_id = subscription.instance_id
        self.is_replaced = False
        self._broker = broker
        self._subscription = subscription
        self._unsent: list[OutputRecord] = []
        self._has_session = False
        self._transaction: list[OutputRecord] | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        """Return the next records, at once when there are any."""
        del timeout_ms
        self._subscription.require_topics()
        _common.require_no_transaction(is_open=self._transaction is not None)
        records: list[StoredRecord] = []
        next_offsets: dict[TopicPartition, int] = {}
        with self._call("poll"):
            self._assign()
            for partition, start in list(self._positions.items()):
                log = self._broker.logs[partition.topic][partition.partition]
                if partition in self._paused:
                    continue
                if log.items[start] and records:
                    continue  # it is met by a poll of its own
                if log.items[start]:
                    take_effect(log.items[start].popleft(), f"{partition.topic}[{partition[1]}]")
                    break
                taken, end = log.read(start, n_records_max - len(records))
                if taken:
                    next_offsets[partition] = taken[-1].metadata.offset + 1
                    records += taken
                if end > start:
                    # Read last next time, so that no partition starves.
                    del self._positions[partition]
                    self._positions[partition] = end
        return _to_batch(records, next_offsets)

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over for sending; `flush` says whether they arrived."""
        with self._call("produce"):
            self._begin()
            for record in records:
                if record.topic not in self._broker.logs:
                    raise missing_topics(SERVERS, [record.topic])
                self._unsent.append(record)

    def flush(self, timeout_ms: int) -> None:
        """Wait until every record handed over is acknowledged."""
        del timeout_ms
        with self._call("flush"):
            self._send()

    def abort(self) -> None:
        """Drop every unsent record and abort an open transaction; reading goes on where it was."""
        self._unsent.clear()
        self._transaction = None

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Save where the group goes on, and make a transaction's records visible with it."""
        group = self._subscription.require_group()
        with self._call("commit"):
            self._require_place()
            if self._subscription.transactional_id is None:
                self._broker.check_progress(group, offsets, self)
                self._broker.committed[group].update(offsets)
                return
            self._begin()
            self._send()
            with self._call("send_offsets"):
                self._broker.check_progress(group, offsets, self)
            with self._call("end"):
                self._broker.append_together(self._transaction or ())
                self._broker.committed[group].update(offsets)
                self._transaction = None

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return where the group goes on, None where it never committed."""
        group = self._subscription.require_group()
        with self._call("committed"):
            self._begin_session()
            saved = self._broker.committed[group]
            return {each: saved.get(each) for each in partitions}

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this process reads now."""
        return frozenset(self._positions)

    def newly_assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that came to the assignment since this was last asked."""
        newly_assigned, self._gained = self._gained, set()
        return frozenset(newly_assigned)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Let the next poll read a partition from this offset on."""
        _common.require_assigned(SERVERS, [partition], self.assignment())
        self._positions[partition] = offset

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which the next poll hands out, of each partition where known."""
        return {each: self._positions[each] for each in partitions if each in self._positions}

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset still kept of each partition."""
        with self._call("beginnings"):
            return {
                each: self._broker.logs[each.topic][each.partition].start for each in partitions
            }

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the end of each partition."""
        with self._call("ends"):
            return {
                each: len(self._broker.logs[each.topic][each.partition].records)
                for each in partitions
            }

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give nothing of these partitions until `resume`."""
        self._paused |= set(partitions) & set(self._positions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Let polls give records of these partitions again."""
        self._paused -= set(partitions)

    def lag_records(self) -> dict[TopicPartition, int]:
        """Return log end - next offset to read, of each assigned partition."""
        return {
            each: len(self._broker.logs[each.topic][each.partition].records) - position
            for each, position in self._positions.items()
        }

    def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where it does not exist."""
        return len(self._broker.logs.get(topic, ()))

    def reset(self) -> None:
        """Drop every unsent record, abort and leave the group; the next call joins afresh."""
        self._unsent.clear()
        self._transaction = None
        self._has_session = False
        self.is_replaced = False
        self._starts = self._positions if self._subscription.group is None else {}
        self._positions = {}
        for partitions in (self._gained, self._lost, self._paused):
            partitions.clear()
        if self._subscription.group is not None:
            self._broker.leave(self._subscription.group, self)

    def close(self) -> None:
        """Leave the group. Calling it twice is harmless."""
        self.reset()

    def note_rebalance(self) -> None:
        """Remember which partitions are another's now; the next poll gives them up."""
        if self._positions:
            mine = self._broker.share(self._subscription.group, self.topics, self)
            self._lost |= set(self._positions) - set(mine)

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

    def _begin_session(self) -> None:
        """Take the transactional id, once a connection."""
        transactional_id = self._subscription.transactional_id
        if transactional_id is not None and not self._has_session:
            self._broker.begin_session(transactional_id, self)
            self._has_session = True

    def _begin(self) -> None:
        """Begin a transaction where there are any and none is open."""
        self._begin_session()
        if self._subscription.transactional_id is not None and self._transaction is None:
            with self._call("begin"):
                self._require_place()
                self._transaction = []

    def _send(self) -> None:
        """Write what was handed over to the topics, or to the open transaction."""
        if self._transaction is not None:
            self._require_place()
            self._transaction += self._unsent
        else:
            for record in self._unsent:
                self._broker.append(record)
        self._unsent.clear()

    def _require_place(self) -> None:
        """Refuse to write once another has this client's transactional id or instance id."""
        if self.is_replaced:
            raise _common.fenced(SERVERS, "its transactional id or instance id is another's now")

    def _assign(self) -> None:
        """Take up partitions that became ours, and forget those that are not ours any more."""
        self._begin_session()
        group = self._subscription.group
        if group is not None:
            if self.instance_id is not None:
                self._require_place()
            self._broker.join(group, self)
        mine = self._broker.share(group, self.topics, self)
        for lost in self._lost | (set(self._positions) - set(mine)):
            self._positions.pop(lost, None)
            self._paused.discard(lost)
            self._gained.discard(lost)
        self._lost.clear()
        committed = self._broker.committed[group] if group is not None else {}
        for each in mine:
            log = self._broker.logs[each.topic][each.partition]
            is_latest = self._subscription.offset_reset == "latest"
            default = len(log.records) if is_latest else log.start
            if each not in self._positions:
                start = self._starts.get(each, default)
                self._positions[each] = committed[each].next_offset if each in committed else start
                self._gained.add(each)
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
