"""Check the offsets of polled records: they must rise, and records must not be missing.

Retention may delete records before they are read, and a topic may be deleted and created again
under a running service. Both show in the offsets of the next batch. In this example offset 5 of a
partition is expected next, and the broker's first offset is 8:

| Offsets polled | Result |
| --- | --- |
| 5, 6, 7 | nothing is missing; the broker is not asked |
| 8, 9 | `OffsetGap(5, 8)`: three offsets were deleted unread |
| 5, 8, 9 | the batch ends before 6, and the next one begins with `OffsetGap(6, 8)` |
| 2, 3 | `StateError`: the topic was recreated |
"""

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import StateError
from stream_detector.ports import Client


class OffsetGap(NamedTuple):
    """Offsets without a record, from `begin` up to and without `end`."""

    begin: int
    end: int


class OffsetGaps:
    """Compares the offsets of each batch with the expected ones.

    Some offsets hold no record that is handed out: the ends of transactions, and the records of
    aborted ones. A gap is a loss only if the broker's first offset lies behind its beginning. The
    broker is asked only when a batch lacks more offsets than any batch lacked without a loss;
    otherwise each batch of a topic that is written in transactions would ask.

    Parameters
    ----------
    client
        Asks the broker for its first offsets, and seeks behind a loss within a batch.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._next_offsets: dict[TopicPartition, int] = {}
        self._n_harmless = 0

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions that are watched."""
        return list(self._next_offsets)

    def expect(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Watch partitions, each from its next offset on."""
        self._next_offsets.update(next_offsets)

    def stop_watching(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop watching some partitions."""
        for each in partitions:
            self._next_offsets.pop(each, None)

    def check(
        self, batch: RecordBatch, restoring: Container[TopicPartition]
    ) -> tuple[RecordBatch, dict[TopicPartition, OffsetGap]]:
        """Look for missing offsets; usually a count shows that none is missing.

        Parameters
        ----------
        batch
            As it was polled.
        restoring
            Partitions that are being restored; if a record is missing there, the digest differs.

        Returns
        -------
        The batch, and by partition the offsets that retention deleted before its first record. If
        it deleted records after that one, the batch ends before them, and the rest is polled again.

        Raises
        ------
        StateError
            If offsets went back: the topic was recreated.
        """
        before = {each: self._next_offsets.get(each, 0) for each in batch.next_offsets}
        lost: dict[TopicPartition, OffsetGap] = {}
        n_missing = sum(batch.next_offsets.values()) - sum(before.values()) - len(batch)
        if n_missing < 0 or n_missing > self._n_harmless:
            gaps = _largest_gaps(batch, before)
            lost = self._lost({each: gaps[each] for each in gaps if each not in restoring})
            if not lost:
                self._n_harmless = max(self._n_harmless, n_missing)
        for each, gap in list(lost.items()):
            if gap.begin > before[each]:
                batch = _until(batch, each, gap.begin)
                self._client.seek(each, gap.end)
                del lost[each]
        self._next_offsets.update(batch.next_offsets)
        return batch, lost

    def _lost(self, gaps: Mapping[TopicPartition, OffsetGap]) -> dict[TopicPartition, OffsetGap]:
        """Return the gaps that retention made."""
        beginning_offsets = self._client.beginning_offsets(gaps) if gaps else {}
        return {each: gap for each, gap in gaps.items() if beginning_offsets[each] > gap.begin}


def topic_recreated(partition: TopicPartition, expected: int, received: int) -> StateError:
    """Return the error for offsets that went back."""
    message = (
        f"{partition.topic}[{partition.partition}]: expected records from offset {expected} on, "
        f"received {received}: the topic was recreated, and its offsets mean other records now; "
        "reset the group's offsets, or use another group"
    )
    return StateError(message)


def _largest_gaps(
    batch: RecordBatch, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, OffsetGap]:
    """Return the largest gap of each partition that has one; raises if offsets went back."""
    partitions, offsets = batch.series().partitions, batch.offsets()
    gaps = {}
    for each, expected in before.items():
        mine = offsets[partitions == each.partition]  # (n_of_partition,)
        n_missing = np.diff(mine, prepend=expected - 1) - 1  # before each record
        if n_missing.min(initial=0) < 0:
            at = int(n_missing.argmin())
            raise topic_recreated(each, int(mine[at] - n_missing[at]), int(mine[at]))
        if n_missing.max(initial=0) > 0:
            at = int(n_missing.argmax())
            gaps[each] = OffsetGap(int(mine[at] - n_missing[at]), int(mine[at]))
    return gaps


def _until(batch: RecordBatch, partition: TopicPartition, offset: int) -> RecordBatch:
    """Return a batch without the records of a partition from an offset on."""
    is_behind = (batch.series().partitions == partition.partition) & (batch.offsets() >= offset)
    next_offsets = {**batch.next_offsets, partition: offset}
    return batch.select(np.flatnonzero(~is_behind), next_offsets)
