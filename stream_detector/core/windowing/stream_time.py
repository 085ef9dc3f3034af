"""Stream time: the newest event time of a partition, as far as more than one clock gives it.

Pure. Keys expire by the stream time of their partition, so one wrong clock must not move it. A
record advances it as far as its samples follow on from it, each at most `gap_ms_max` after the one
before. A time beyond that is a *jump*, and is noted, until one of these comes:

- a record of another key that is beyond, too: stream time moves to where both have been;
- a record that is not beyond, of any key: the jump is forgotten;
- records of the same key and no other, until they span `key_ttl_ms`: whatever else the partition
  had would have expired by then, so stream time follows that key.

The first time of a partition is not confirmed either: where the next two records are both earlier
by more than `gap_ms_max`, stream time falls back to theirs. One partition, `gap_ms_max` 40,
`key_ttl_ms` 1000::

    record   key   sample at   stream time   why
    0        a     0           0             the first
    1        a     10          10            follows on
    2        b     5000        10            a jump of b
    3        b     5010        10            the same jump: b alone has spanned 10 of 1000 ms
    4        a     20          20            not beyond: the jump is forgotten
    5        b     5020        20            a jump of b
    6        c     5030        5020          c is beyond, too: both have been at 5020

A key whose clock stays wrong therefore never moves the stream time of others that go on sending,
and two keys with the same wrong clock cost the others one restart. Everything follows from the
records in their order, whatever the batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import (
    Indices,
    group_ends,
    is_group_start,
    running_maximum,
)
from stream_detector.core.windowing.keyed_state import Jump, KeyedState, name_of
from stream_detector.core.windowing.rules import WindowRules

_N_ALONE = 64
"""Records that are taken one by one where one does not follow on, before all that are left are
compared again: otherwise a stream of jumps would compare them all with each record."""


class Reach(NamedTuple):
    """First and last time of a record, and how far its samples follow on from the first.

    Parameters
    ----------
    first_ms, steady_ms, last_ms
        In this order, ascending.
    """

    first_ms: float
    steady_ms: float
    last_ms: float


@dataclass(frozen=True, slots=True)
class StreamTime:
    """How the stream time of each partition advances with the records of a batch.

    Parameters
    ----------
    before_ms, after_ms
        Stream time of each record's partition before and after it, float64, shape (n_records,);
        -inf before the first record of a partition.
    seen_ms
        Until when each record shows that its key sends, float64, shape (n_records,): the stream
        time after it, or its own time while that is a jump. Should another key confirm the jump,
        the key that was first there has not expired.
    ends_ms
        Stream time of each partition of the batch after its last record.
    jumps
        What is not confirmed by then, None where there is nothing.
    """

    before_ms: NDArray[np.float64]
    after_ms: NDArray[np.float64]
    seen_ms: NDArray[np.float64]
    ends_ms: dict[int, float]
    jumps: dict[int, Jump | None]


def advance_stream_time(
    keyed_state: KeyedState,
    keys: Sequence[bytes],
    partitions: NDArray[np.int64],
    times: tuple[NDArray[np.float64], Indices],
    rules: WindowRules,
) -> StreamTime:
    """Return how the records of a batch advance the stream time of their partitions.

    Parameters
    ----------
    keyed_state
        Holds the stream time of each partition before the batch; not changed.
    keys
        Key of each record, at least one. Length n_records.
    partitions
        Partition of each record, shape (n_records,).
    times
        Time of each sample, shape (n_samples,), never decreasing within a record, and the samples
        in each record, shape (n_records,).
    rules
        How far a time may be ahead, and when a key expires.
    """
    first, steady, last = reaches_of(*times, rules.gap_ms_max)  # (n_records,)
    order = np.argsort(partitions, kind="stable")  # (n_records,), by partition
    numbers = partitions[order]  # (n_records,)
    is_first = is_group_start(numbers)  # (n_records,)
    present = numbers[is_first].tolist()
    initial = np.array([keyed_state.stream_times_ms.get(each, -inf) for each in present])
    running = running_maximum(last[order], is_first, initial)  # (n_records,)
    shifted = np.concatenate([[-inf], running[:-1]])  # (n_records,)
    shifted[is_first] = initial
    ends = dict(zip(present, running[group_ends(is_first)].tolist(), strict=True))
    jumps: dict[int, Jump | None] = dict.fromkeys(present)
    is_beyond = (first[order] > shifted + rules.gap_ms_max) | (steady < last)[order]  # (n_records,)
    starts = np.append(np.flatnonzero(is_first), len(order))  # (n_partitions + 1,)
    for at, partition in enumerate(present):
        rows = slice(int(starts[at]), int(starts[at + 1]))
        before = keyed_state.jumps.get(partition)
        if before is None and not is_beyond[rows].any():
            continue
        of_partition = order[rows]
        clock = PartitionClock(float(initial[at]), before, rules)
        names = [keys[row] for row in of_partition.tolist()]
        after_ms = clock.advance_all(
            names, first[of_partition], steady[of_partition], last[of_partition]
        )
        running[rows] = after_ms
        shifted[rows] = np.append(initial[at], after_ms[:-1])
        ends[partition], jumps[partition] = clock.now_ms, clock.jump
    before_ms, after = np.empty_like(running), np.empty_like(running)  # (n_records,)
    before_ms[order], after[order] = shifted, running
    return StreamTime(before_ms, after, np.maximum(after, steady), ends, jumps)


def reaches_of(
    times_ms: NDArray[np.float64], counts: Indices, gap_ms_max: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the times of `Reach` of each record, each of shape (n_records,).

    Parameters
    ----------
    times_ms, counts
        Time of each sample, and the samples in each record, shape (n_records,).
    gap_ms_max
        Longest time from one sample to the next that follows on.
    """
    ends = np.cumsum(counts)  # (n_records,)
    starts = ends - counts  # (n_records,)
    first, last = times_ms[starts], times_ms[ends - 1]  # (n_records,)
    steady = last.copy()  # (n_records,)
    is_gap = np.concatenate([[False], times_ms[1:] - times_ms[:-1] > gap_ms_max])  # (n_samples,)
    is_gap[starts] = False
    gaps = np.flatnonzero(is_gap)[::-1]  # the first gap of a record is written last
    steady[np.searchsorted(ends, gaps, side="right")] = times_ms[gaps - 1]
    return first, steady, last


class PartitionClock:
    """The stream time of one partition, record by record.

    Parameters
    ----------
    now_ms
        Stream time before the first of these records, -inf where there was none.
    jump
        What was not confirmed by then.
    rules
        How far a time may be ahead, and when a key expires.
    """

    def __init__(self, now_ms: float, jump: Jump | None, rules: WindowRules) -> None:
        self.now_ms = now_ms
        self.jump = jump
        self._gap_ms = rules.gap_ms_max
        self._ttl_ms = rules.key_ttl_ms

    def advance_all(
        self,
        keys: Sequence[bytes],
        first_ms: NDArray[np.float64],
        steady_ms: NDArray[np.float64],
        last_ms: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Take records and return the stream time after each, shape (n_records,).

        Parameters
        ----------
        keys
            Key of each record.
        first_ms, steady_ms, last_ms
            The times of each record's `Reach`, each of shape (n_records,).
        """
        after_ms = np.empty_like(last_ms)
        done, n_records = 0, len(last_ms)
        while done < n_records:
            following = self._follow_on(first_ms[done:], steady_ms[done:], last_ms[done:])
            after_ms[done : done + len(following)] = following
            done += len(following)
            end = min(done + _N_ALONE, n_records)
            for row in range(done, end):
                reach = Reach(float(first_ms[row]), float(steady_ms[row]), float(last_ms[row]))
                after_ms[row] = self.advance(keys[row], reach)
            done = end
        return after_ms

    def _follow_on(
        self,
        first_ms: NDArray[np.float64],
        steady_ms: NDArray[np.float64],
        last_ms: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Take the first of some records, as many as follow on from the stream time in one step.

        Returns
        -------
        The stream time after each, shape (n_taken,): what `advance` does, without a call a record.
        """
        if self.jump is not None:
            return np.empty(0)
        running = np.maximum.accumulate(np.append(self.now_ms, last_ms))  # (n_records + 1,)
        is_beyond = (first_ms > running[:-1] + self._gap_ms) | (steady_ms < last_ms)
        n_taken = int(is_beyond.argmax()) if is_beyond.any() else len(is_beyond)
        self.now_ms = float(running[n_taken])
        return running[1 : n_taken + 1]

    def advance(self, key: bytes, reach: Reach) -> float:
        """Take one more record and return the stream time after it."""
        if self.now_ms == -inf:
            self.now_ms = reach.steady_ms
            self.jump = Jump(name_of(key), reach.steady_ms, reach.steady_ms)
            return self.now_ms
        if self.jump is not None and self.jump.newest_ms <= self.now_ms:
            was_earlier, self.jump = self.jump.newest_ms < self.now_ms, None
            if reach.last_ms < self.now_ms - self._gap_ms:
                if was_earlier:
                    self.now_ms = reach.steady_ms
                else:
                    self.jump = Jump(name_of(key), reach.first_ms, reach.steady_ms)
                return self.now_ms
        if reach.first_ms > self.now_ms + self._gap_ms:
            self._jump(name_of(key), reach)
            return self.now_ms
        self.now_ms = max(self.now_ms, reach.steady_ms)
        self.jump = None
        if reach.last_ms > self.now_ms + self._gap_ms:
            self.jump = Jump(name_of(key), reach.last_ms, reach.last_ms)
        return self.now_ms

    def _jump(self, name: int, reach: Reach) -> None:
        """Take a record all of which is beyond the stream time."""
        newest_ms = reach.steady_ms
        if self.jump is None or (self.jump.name == name and newest_ms < self.jump.from_ms):
            self.jump = Jump(name, reach.first_ms, newest_ms)
        elif self.jump.name == name:
            self.jump = self.jump._replace(newest_ms=max(self.jump.newest_ms, newest_ms))
            if self.jump.newest_ms - self.jump.from_ms > self._ttl_ms:
                self.now_ms, self.jump = self.jump.newest_ms, None
        else:
            other = self.jump
            self.now_ms = min(newest_ms, other.newest_ms)
            ahead = max(Jump(name, newest_ms, newest_ms), other, key=lambda each: each.newest_ms)
            is_beyond = ahead.newest_ms > self.now_ms + self._gap_ms
            self.jump = ahead._replace(from_ms=ahead.newest_ms) if is_beyond else None
