"""Sessions: which records of a key belong together, because it was never idle too long between.

Pure. A key expires once the stream time of its partition (the newest event time of any record so
far) has passed the key's last record by more than `key_ttl_ms`. If it sends again, a new session
starts with fresh state. Expiry is decided record by record, so it depends neither on where a stream
was cut into batches nor on other partitions.

One partition, `key_ttl_ms` 100; sessions are numbered by key and then by time::

    record   key   sample at   stream time   session
    0        a     0           0             0
    1        b     120         120           2          session 0 expired at 100
    2        a     150         150           1          a starts over
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import (
    Indices,
    group_ends,
    is_group_end,
    is_group_start,
)
from stream_detector.core.windowing.key_columns import KeyColumns
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.stream_time import StreamTime


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Usable records of samples, in the order in which they arrived.

    Parameters
    ----------
    keys
        Series key of each record. Length n_records.
    partitions
        Partition of each record, shape (n_records,).
    counts
        Samples in each record, >= 1, shape (n_records,).
    times_ms
        Time of each sample, float64, shape (n_samples,); never decreasing within a record.
    values
        Float32, shape (n_samples, n_features), unit: the signal's; NaN is a missing value.
    """

    keys: Sequence[bytes]
    partitions: NDArray[np.int64]
    counts: Indices
    times_ms: NDArray[np.float64]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class KeySessions:
    """The sessions to which the records of a batch belong.

    Parameters
    ----------
    slots
        Slot of each session's key, shape (n_sessions,), ascending; the sessions of a key are in
        the order of time.
    columns
        State of the key before the session's first record; fresh where the key is new or expired.
    after
        The same columns after the batch, as far as they are known.
    is_first, is_last
        Whether the batch has no session of the same key before, or none after, shape
        (n_sessions,).
    of_records
        Session of each record, in the order of arrival, shape (n_records,).
    expired_ms
        When the key's state before the session expired, shape (n_sessions,); NaN where the
        session continues that state, or there was none.
    """

    slots: Indices
    columns: KeyColumns
    after: KeyColumns
    is_first: NDArray[np.bool_]
    is_last: NDArray[np.bool_]
    of_records: Indices
    expired_ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expired:
    """Keys that expired.

    Parameters
    ----------
    slots, records, at_ms
        Slot of the key, the record that advanced the stream time past its expiry, and the stream
        time at which it expired, each of shape (n_expired,).
    idle
        Slots of those keys that sent nothing after that: their state is dropped after the batch.
    """

    slots: Indices
    records: Indices
    at_ms: NDArray[np.float64]
    idle: Indices


def find_sessions(
    keyed_state: KeyedState,
    slots: Indices,
    order: Indices,
    stream_time: StreamTime,
    key_ttl_ms: float,
) -> KeySessions:
    """Divide the records of each key into sessions.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    slots
        Slot of each record's key, shape (n_records,).
    order
        Records by slot, and those of a slot in the order of arrival, shape (n_records,).
    stream_time
        Stream time before and after each record.
    key_ttl_ms
        How long a key may have no record, in stream time.

    Returns
    -------
    The sessions. Of the columns after the batch only `seen_ms` is known.
    """
    before, seen_after = stream_time.before_ms[order], stream_time.seen_ms[order]  # (n_records,)
    by_key = slots[order]  # (n_records,)
    is_key_start = is_group_start(by_key)  # (n_records,)
    seen = np.concatenate([[-np.inf], seen_after[:-1]])  # (n_records,), at the key's record before
    seen[is_key_start] = keyed_state.columns.seen_ms[by_key[is_key_start]]
    is_expired = np.isfinite(seen) & (before > seen + key_ttl_ms)  # (n_records,)
    is_start = is_key_start | is_expired  # (n_records,)
    of_records = np.empty(len(slots), dtype=np.intp)  # (n_records,)
    of_records[order] = np.cumsum(is_start) - 1
    session_slots = by_key[is_start]  # (n_sessions,)
    columns = keyed_state.columns.take(session_slots)  # (n_sessions,)
    is_fresh = is_expired[is_start]  # (n_sessions,)
    columns.put(np.flatnonzero(is_fresh), KeyColumns.fresh(int(is_fresh.sum())))
    after_batch = columns.take(np.arange(len(session_slots)))  # (n_sessions,)
    after_batch.seen_ms[:] = seen_after[group_ends(is_start)]
    return KeySessions(
        slots=session_slots,
        columns=columns,
        after=after_batch,
        is_first=is_group_start(session_slots),
        is_last=is_group_end(session_slots),
        of_records=of_records,
        expired_ms=np.where(is_fresh, seen[is_start] + key_ttl_ms, np.nan),
    )


def find_expired(
    keyed_state: KeyedState,
    partitions: NDArray[np.int64],
    sessions: KeySessions,
    stream_time: StreamTime,
    key_ttl_ms: float,
) -> Expired:
    """Return the keys that expired within the batch or at its end.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    partitions
        Partition of each record, shape (n_records,).
    sessions
        Sessions of the batch.
    stream_time
        Stream time after each record and after the batch.
    key_ttl_ms
        How long a key may have no record, in stream time.
    """
    seen = keyed_state.columns.seen_ms.copy()  # (n_slots,)
    of_slots = keyed_state.partitions.copy()  # (n_slots,)
    of_slots[sessions.slots] = partitions[_one_record_each(sessions)]
    seen[sessions.slots] = sessions.after.seen_ms  # the last session of a slot is written last
    numbers = np.array(sorted(stream_time.ends_ms), dtype=np.int64)  # (n_partitions,)
    ends = np.array([stream_time.ends_ms[number] for number in numbers.tolist()])
    at = np.minimum(np.searchsorted(numbers, of_slots), len(numbers) - 1)  # (n_slots,)
    is_idle = (numbers[at] == of_slots) & (ends[at] > seen + key_ttl_ms)  # (n_slots,)
    idle = np.flatnonzero(is_idle)  # (n_idle,)
    started_over = np.flatnonzero(np.isfinite(sessions.expired_ms))  # (n_started_over,)
    slots = np.concatenate([sessions.slots[started_over], idle])  # (n_expired,)
    at_ms = np.concatenate([sessions.expired_ms[started_over], seen[idle] + key_ttl_ms])
    records = np.empty(len(slots), dtype=np.intp)  # (n_expired,)
    for number in np.unique(of_slots[slots]).tolist():
        mine = np.flatnonzero(of_slots[slots] == number)
        rows = np.flatnonzero(partitions == number)
        # The first record after which stream time is beyond the expiry.
        first = np.searchsorted(stream_time.after_ms[rows], at_ms[mine], side="right")
        records[mine] = rows[first]
    return Expired(slots, records, at_ms, idle)


def _one_record_each(sessions: KeySessions) -> Indices:
    """Return one record of each session, shape (n_sessions,)."""
    record = np.empty(len(sessions.slots), dtype=np.intp)  # (n_sessions,)
    record[sessions.of_records] = np.arange(len(sessions.of_records))
    return record
