"""Offsets as they come: they only rise, and what retention took before it was read is noticed."""

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import StateError
from stream_detector.ports import Client


class OffsetGap(NamedTuple):
    """Offsets that hold no record: those from `begin` to before `end`."""

    begin: int
    end: int


class OffsetGaps:
    """Compares the offsets of each batch with those that were to come.

    Some are left out at all times: the ends of transactions, and what was aborted in them. So the
    broker is asked for the first offset that it keeps, and only where a batch lacks more than any
    did without a loss: else each batch of a topic written in transactions would ask.

    Parameters
    ----------
    client
        Asks the broker, and reads again what was read too far ahead.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._next_offsets: dict[TopicPartition, int] = {}
        self._n_harmless = 0

    @property
    def partitions(self) -> list[TopicPartition]:
        """Those that are watched."""
        return list(self._next_offsets)

    def expect(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Watch partitions, from these offsets on."""
        self._next_offsets.update(next_offsets)

    def stop_watching(self, partitions: Iterable[TopicPartition]) -> None:
        """Watch some partitions no more."""
        for each in partitions:
            self._next_offsets.pop(each, None)

    def check(
        self, batch: RecordBatch, restoring: Container[TopicPartition]
    ) -> tuple[RecordBatch, dict[TopicPartition, OffsetGap]]:
        """Look for offsets that are missing; usually a count tells that none is.

        Parameters
        ----------
        batch
            As it was polled.
        restoring
            Partitions whose past is being read: what is missing there, their digest tells.

        Returns
        -------
        The batch, and by partition what retention took before its first record there. Where it
        took something after that, the batch ends before it, and the rest is polled again.

        Raises
        ------
        StateError
            If offsets went back.
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
        """Return the holes that retention made."""
        beginning_offsets = self._client.beginning_offsets(gaps) if gaps else {}
        return {each: gap for each, gap in gaps.items() if beginning_offsets[each] > gap.begin}


def topic_recreated(partition: TopicPartition, expected: int, received: int) -> StateError:
    """Return the error for offsets that went back."""
    message = (
        f"{partition.topic}[{partition.partition}]: expected records from offset {expected} on, "
        f"received {received}: the topic was made anew, and its offsets mean other records now; "
        "reset the group's offsets, or use another group"
    )
    return StateError(message)


def _largest_gaps(
    batch: RecordBatch, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, OffsetGap]:
    """Return the largest hole in each partition that has one; raises where offsets went back."""
    partitions, offsets = batch.series().partitions, batch.offsets()
    gaps = {}
    for each, expected in before.items():
        mine = offsets[partitions == each.partition]
        n_missing = np.diff(mine, prepend=expected - 1) - 1  # before each record
        if n_missing.min(initial=0) < 0:
            at = int(n_missing.argmin())
            raise topic_recreated(each, int(mine[at] - n_missing[at]), int(mine[at]))
        if n_missing.max(initial=0) > 0:
            at = int(n_missing.argmax())
            gaps[each] = OffsetGap(int(mine[at] - n_missing[at]), int(mine[at]))
    return gaps


def _until(batch: RecordBatch, partition: TopicPartition, offset: int) -> RecordBatch:
    """Return a batch without what it has of a partition from an offset on."""
    is_behind = (batch.series().partitions == partition.partition) & (batch.offsets() >= offset)
    next_offsets = {**batch.next_offsets, partition: offset}
    return batch.select(np.flatnonzero(~is_behind), next_offsets)
