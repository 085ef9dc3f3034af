"""Read a stretch of the input topic again: from the records of some time on, up to another.

Where the console has read the topic itself, it remembers at which offsets it was at which time.
Before that, the offset is found by asking for single records, half and half, by the records' times.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.outputs.offsets import Offsets, find_offsets
from stream_detector.ports import Client

RECORDS_MAX = 200_000
"""Most records that are read for one question."""

READ_S_MAX = 20.0
"""Longest time that one question may take."""

MARK_EVERY_MS = 5_000
_MARKS_MAX = 2_000
_POLL_MS = 200
_POLL_RECORDS_MAX = 5_000


class Stretch(NamedTuple):
    """A stretch of time, milliseconds since 1970-01-01 UTC."""

    start_ms: float
    end_ms: float


@dataclass(slots=True)
class Marks:
    """At which offsets the topic was read at which event time, for any number of threads.

    Of more than 2,000 marks the oldest go.
    """

    _times_ms: list[int] = field(default_factory=list)
    _offsets: list[Offsets] = field(default_factory=list)
    _reached: dict[TopicPartition, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, newest_ms: int, next_offsets: Offsets) -> None:
        """Take note of the newest event time of a batch, and of the offsets behind it."""
        with self._lock:
            if not self._times_ms or newest_ms >= self._times_ms[-1] + MARK_EVERY_MS:
                self._times_ms.append(newest_ms)
                self._offsets.append(dict(self._reached))  # all that is before the batch
                if len(self._times_ms) > _MARKS_MAX:
                    del self._times_ms[0], self._offsets[0]
            self._reached.update(next_offsets)

    def before(self, time_ms: float) -> Offsets | None:
        """Return offsets before which nothing is newer than a time; None where none are known."""
        with self._lock:
            at = bisect_right(self._times_ms, time_ms) - 1
            return self._offsets[at] if at >= 0 and self._offsets[at] else None

    def after(self, time_ms: float) -> Offsets | None:
        """Return offsets at which a time had passed; None where it had not."""
        with self._lock:
            at = bisect_right(self._times_ms, time_ms)
            return self._offsets[at] if at < len(self._times_ms) else None


@dataclass(frozen=True, slots=True)
class History:
    """Reads stretches of a topic.

    Parameters
    ----------
    topic
        The topic.
    connect
        Returns a client that reads it from its oldest record on, in no group.
    marks
        What the console remembers of it.
    """

    topic: str
    connect: Callable[[], Client]
    marks: Marks = field(default_factory=Marks)

    def read(self, stretch: Stretch, partition: int | None) -> Iterator[RecordBatch]:
        """Yield the records of a stretch of time, and some before and after it.

        Parameters
        ----------
        stretch
            In event time.
        partition
            The only one to read; None reads all.

        Raises
        ------
        BrokerError
            If no broker answers.
        """
        known = self.marks.before(stretch.start_ms)
        if known is None:
            with closing(self.connect()) as client:
                wanted = _assign(client, partition)
                first, end = client.beginning_offsets(wanted), client.end_offsets(wanted)
                known = find_offsets(client, first, end, stretch.start_ms)
        until = self.marks.after(stretch.end_ms) or {}
        # kafka-python reads on poorly where partitions were paused, sought and resumed often.
        with closing(self.connect()) as client:
            wanted = _assign(client, partition)
            first, end = client.beginning_offsets(wanted), client.end_offsets(wanted)
            starts = {each: max(known.get(each, first[each]), first[each]) for each in wanted}
            ends = {each: min(until.get(each, end[each]), end[each]) for each in wanted}
            yield from _read(client, starts, ends)


def _assign(client: Client, partition: int | None) -> set[TopicPartition]:
    """Return the partitions that are to be read, one or all, and pause the others."""
    client.poll(1, 0)  # the first poll assigns the partitions
    wanted = {each for each in client.assignment() if partition in (None, each.partition)}
    client.pause(client.assignment() - wanted)
    return wanted


def _read(client: Client, starts: Offsets, ends: Offsets) -> Iterator[RecordBatch]:
    """Yield the records from some offsets to others and some more, about `RECORDS_MAX` at most."""
    left = {each for each in ends if starts[each] < ends[each]}
    for each in starts:
        client.seek(each, starts[each])
    n_read, until_s = 0, time.monotonic() + READ_S_MAX
    while left and n_read < RECORDS_MAX and time.monotonic() < until_s:
        batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
        n_read += len(batch)
        if len(batch):
            yield batch
        positions = client.positions(left)
        left -= {each for each, offset in positions.items() if offset >= ends[each]}
