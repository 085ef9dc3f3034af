"""Which records are refused because their partition has as many keys with state as it may have.

Pure. A key that has state goes on. A new key, or one that has expired, is admitted while its
partition has fewer than `keys_max`; otherwise its record is refused, and does not advance the
stream time. That is decided record by record and within one partition, so it depends neither on
where a stream was cut into batches nor on which partitions a process reads.

One partition, `keys_max` 2, `key_ttl_ms` 100::

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
from stream_detector.core.windowing.sessions import Arrivals

KEYS_MAX = 100_000
"""Most keys with state in one partition, unless the settings say otherwise. A key takes 1.25 times
its window, four bytes a value, and about 1 KB."""


def find_refused(
    keyed_state: KeyedState, arrivals: Arrivals, keys_max: int, key_ttl_ms: float
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
    key_ttl_ms
        How long a key may have no record, in stream time.

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
        newest = arrivals.times_ms[np.cumsum(arrivals.counts) - 1][rows]  # (n_of_partition,)
        stream_time_ms = keyed_state.stream_times_ms.get(partition, -np.inf)
        partition_keys = _PartitionKeys(keyed_state, partition, stream_time_ms, key_ttl_ms)
        found = partition_keys.refused(keys, newest.tolist(), keys_max)
        refused += [int(rows[at]) for at in found]
    return np.array(sorted(refused), dtype=np.intp)


class _PartitionKeys:
    """The keys of a partition that have state, as its stream time advances."""

    def __init__(
        self, keyed_state: KeyedState, partition: int, stream_time_ms: float, key_ttl_ms: float
    ) -> None:
        known = keyed_state.slots_of(partition)
        seen_ms = keyed_state.columns.seen_ms[list(known.values())].tolist()
        # Those idle the longest come first, and a key moves to the end with each record.
        self._seen_ms = dict(sorted(zip(known, seen_ms, strict=True), key=lambda each: each[1]))
        self._stream_time_ms = stream_time_ms
        self._key_ttl_ms = key_ttl_ms

    def refused(
        self, keys: Sequence[bytes], newest_ms: Sequence[float], keys_max: int
    ) -> Iterator[int]:
        """Yield which records are refused; the others advance the stream time."""
        for at, (key, time_ms) in enumerate(zip(keys, newest_ms, strict=True)):
            self._expire()
            if key not in self._seen_ms and len(self._seen_ms) >= keys_max:
                yield at
                continue
            self._stream_time_ms = max(self._stream_time_ms, time_ms)
            self._seen_ms.pop(key, None)
            self._seen_ms[key] = self._stream_time_ms

    def _expire(self) -> None:
        """Drop the keys that have expired by now."""
        while self._seen_ms:
            key, seen_ms = next(iter(self._seen_ms.items()))
            if not self._stream_time_ms > seen_ms + self._key_ttl_ms:
                return
            del self._seen_ms[key]
