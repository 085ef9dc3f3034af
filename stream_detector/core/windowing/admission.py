"""Which records are refused because their partition has as many keys with state as it may have.

Pure. A key that has state is always admitted. A new key, or one that has expired, is admitted while
its partition has fewer than `keys_max`; otherwise its record is refused, and does not advance the
stream time. That is decided record by record and within one partition, so it depends neither on
where a stream was cut into batches nor on which partitions a process reads.

One partition, `keys_max` 2, `key_ttl_ms` 100, `gap_ms_max` 100::

    record   key   sample at   keys with state before   admitted
    0        a     0           none                     yes
    1        b     50          a                        yes
    2        c     60          a b                      no
    3        b     101         a b                      yes: b has state
    4        c     110         b                        yes: a expired at 100
"""

from collections.abc import Iterator, Sequence

import numpy as np

from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.stream_time import PartitionClock, Reach, reaches_of

KEYS_MAX = 100_000
"""Most keys with state in one partition, unless the settings say otherwise. A key takes 1.25 times
its window, four bytes a value, and about 1 KB."""


def find_refused(
    keyed_state: KeyedState, arrivals: Arrivals, keys_max: int, rules: WindowRules
) -> Indices:
    """Return the records of new keys for which their partition has no room.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    arrivals
        Records in the order of arrival.
    keys_max
        Most keys with state in one partition, >= 1.
    rules
        How far a record may advance the stream time, and when a key expires.

    Returns
    -------
    Rows, ascending. Where the keys of the batch fit in without any expiring, nothing is looked at
    one by one.
    """
    refused: list[int] = []
    for partition in np.unique(arrivals.partitions).tolist():
        rows = np.flatnonzero(arrivals.partitions == partition)  # (n_of_partition,)
        known = keyed_state.slots_of(partition)
        if len(known) + len(rows) <= keys_max:
            continue
        keys = [arrivals.keys[row] for row in rows.tolist()]
        if len(known) + len(set(keys).difference(known)) <= keys_max:
            continue
        every = reaches_of(arrivals.times_ms, arrivals.counts, rules.gap_ms_max)  # (n_records,)
        columns = [each[rows].tolist() for each in every]  # (n_of_partition,) each
        partition_keys = _PartitionKeys(keyed_state, partition, rules)
        found = partition_keys.refused(keys, list(map(Reach, *columns)), keys_max)
        refused += [int(rows[at]) for at in found]
    return np.array(sorted(refused), dtype=np.intp)


class _PartitionKeys:
    """The keys of a partition that have state, as its stream time advances."""

    def __init__(self, keyed_state: KeyedState, partition: int, rules: WindowRules) -> None:
        known = keyed_state.slots_of(partition)
        seen_ms = keyed_state.columns.seen_ms[list(known.values())].tolist()
        now_ms = keyed_state.stream_times_ms.get(partition, -np.inf)
        self._clock = PartitionClock(now_ms, keyed_state.jumps.get(partition), rules)
        self._key_ttl_ms = rules.key_ttl_ms
        # Those idle the longest come first, and a key moves to the end with each record.
        self._seen_ms: dict[bytes, float] = {}
        # Keys that were seen later than the stream time, in any order; there are few.
        self._ahead_ms: dict[bytes, float] = {}
        for key, each in sorted(zip(known, seen_ms, strict=True), key=lambda pair: pair[1]):
            self._note(key, each)

    def refused(
        self, keys: Sequence[bytes], reaches: Sequence[Reach], keys_max: int
    ) -> Iterator[int]:
        """Yield which records are refused; the others advance the stream time."""
        for at, (key, reach) in enumerate(zip(keys, reaches, strict=True)):
            self._expire()
            is_new = key not in self._seen_ms and key not in self._ahead_ms
            if is_new and len(self._seen_ms) + len(self._ahead_ms) >= keys_max:
                yield at
                continue
            before_ms = self._clock.now_ms
            seen_ms = max(self._clock.advance(key, reach), reach.steady_ms)
            if self._clock.now_ms < before_ms:  # with one of the first records of the partition
                self._ahead_ms |= self._seen_ms
                self._seen_ms.clear()
            self._note(key, seen_ms)

    def _note(self, key: bytes, seen_ms: float) -> None:
        """Note until when a key is seen."""
        self._seen_ms.pop(key, None)
        self._ahead_ms.pop(key, None)
        (self._ahead_ms if seen_ms > self._clock.now_ms else self._seen_ms)[key] = seen_ms

    def _expire(self) -> None:
        """Drop the keys that have expired by now."""
        now_ms, ttl_ms = self._clock.now_ms, self._key_ttl_ms
        for key in [key for key, seen_ms in self._ahead_ms.items() if now_ms > seen_ms + ttl_ms]:
            del self._ahead_ms[key]
        while self._seen_ms:
            key, seen_ms = next(iter(self._seen_ms.items()))
            if not now_ms > seen_ms + ttl_ms:
                return
            del self._seen_ms[key]
