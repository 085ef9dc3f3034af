"""Which keys are alive while records come: one's life ends when it was idle for too long.

Pure. Idleness is decided record by record, by the clock of the key's partition, so it depends
neither on where a stream was cut into batches nor on the other partitions at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import (
    Indices,
    changes,
    lasts,
    lasts_mask,
    running_maximum,
)
from stream_detector.core.windowing.keyed_state import KeyColumns, KeyedState


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Usable records of samples, in the order in which they came.

    Parameters
    ----------
    keys
        Series key of each record. Length n_records.
    partitions
        Partition of each record, shape (n_records,).
    counts
        Samples in each record, >= 1, shape (n_records,).
    times_ms
        Time of each sample, float64, shape (n_samples,); not going backwards within a record.
    values
        Float32, shape (n_samples, n_features), unit: the signal's; NaN is a missing value.
    """

    keys: Sequence[bytes]
    partitions: NDArray[np.int64]
    counts: Indices
    times_ms: NDArray[np.float64]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Expired:
    """Keys that were idle for too long.

    Parameters
    ----------
    slots, records, at_ms
        Slot, the record at which it showed, and since when, shape (n_expired,).
    idle
        Slots of those that did not come again, and are to be dropped after the batch.
    """

    slots: Indices
    records: Indices
    at_ms: NDArray[np.float64]
    idle: Indices


@dataclass(frozen=True, slots=True)
class KeySessions:
    """Stretches of records of one key between which it was not idle for too long.

    Parameters
    ----------
    slots
        Slot of each life, shape (n_lives,), ascending.
    columns
        What was remembered of its key; fresh where it is new or was idle for too long.
    is_last
        Whether no further life of the same slot is in the batch.
    of_records
        Life of each record, in the order of arrival, shape (n_records,).
    newest_ms, seen_ms
        What is to be remembered after the batch, shape (n_lives,).
    """

    slots: Indices
    columns: KeyColumns
    is_last: NDArray[np.bool_]
    of_records: Indices
    newest_ms: NDArray[np.float64]
    seen_ms: NDArray[np.float64]


def advance_stream_time(
    keyed_state: KeyedState, arrivals: Arrivals
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, float]]:
    """Return the clock of each record's partition before and after it, and where it ends."""
    newest = arrivals.times_ms[np.cumsum(arrivals.counts) - 1]  # (n_records,)
    order = np.argsort(arrivals.partitions, kind="stable")
    numbers = arrivals.partitions[order]
    is_first = changes(numbers)
    partitions = numbers[is_first].tolist()
    start = np.array(
        [keyed_state.stream_times_ms.get(partition, -np.inf) for partition in partitions]
    )
    running = running_maximum(newest[order], is_first, start)
    shifted = np.concatenate([[-np.inf], running[:-1]])
    shifted[is_first] = start
    before, after = np.empty_like(running), np.empty_like(running)
    before[order], after[order] = shifted, running
    ends = dict(zip(partitions, running[lasts(is_first)].tolist(), strict=True))
    return before, after, ends


def find_sessions(
    keyed_state: KeyedState,
    slots: Indices,
    order: Indices,
    stream_time: tuple[NDArray[np.float64], NDArray[np.float64]],
    key_ttl_ms: float,
) -> tuple[KeySessions, NDArray[np.float64]]:
    """Return the lives, and since when the one before each was over (NaN where none was)."""
    before, after = stream_time[0][order], stream_time[1][order]
    by_key = slots[order]
    is_key = changes(by_key)
    seen = np.concatenate([[-np.inf], after[:-1]])
    seen[is_key] = keyed_state.columns.seen_ms[by_key[is_key]]
    is_over = np.isfinite(seen) & (before > seen + key_ttl_ms)
    is_session = is_key | is_over
    session = np.cumsum(is_session) - 1
    of_records = np.empty(len(slots), dtype=np.intp)
    of_records[order] = session
    session_slots = by_key[is_session]
    columns = keyed_state.columns.take(session_slots)
    is_new = is_over[is_session]
    columns.put(np.flatnonzero(is_new), KeyColumns.fresh(int(is_new.sum())))
    sessions = KeySessions(
        slots=session_slots,
        columns=columns,
        is_last=lasts_mask(session_slots),
        of_records=of_records,
        newest_ms=np.empty(len(session_slots)),
        seen_ms=after[lasts(is_session)],
    )
    return sessions, np.where(is_new, seen[is_session] + key_ttl_ms, np.nan)


def find_expired(
    keyed_state: KeyedState,
    sessions: KeySessions,
    stream_time: tuple[NDArray[np.int64], NDArray[np.float64], dict[int, float]],
    expired_at: NDArray[np.float64],
    key_ttl_ms: float,
) -> Expired:
    """Return the keys that were idle for too long, within the batch and at its end."""
    partitions, after, ends = stream_time
    seen = keyed_state.columns.seen_ms.copy()
    of_slots = keyed_state.partitions.copy()
    of_slots[sessions.slots] = partitions[_first_records(sessions)]
    seen[sessions.slots] = sessions.seen_ms  # the last life of a slot is set last
    numbers = np.array(sorted(ends), dtype=np.int64)
    at = np.minimum(np.searchsorted(numbers, of_slots), len(numbers) - 1)
    end_ms = np.array([ends[number] for number in numbers.tolist()])[at]
    is_idle = (numbers[at] == of_slots) & (end_ms > seen + key_ttl_ms)
    idle, over = np.flatnonzero(is_idle), np.flatnonzero(np.isfinite(expired_at))
    all_slots = np.concatenate([sessions.slots[over], idle])
    all_at = np.concatenate([expired_at[over], seen[idle] + key_ttl_ms])
    records = np.empty(len(all_slots), dtype=np.intp)
    for number in np.unique(of_slots[all_slots]).tolist():
        mine = np.flatnonzero(of_slots[all_slots] == number)
        rows = np.flatnonzero(partitions == number)
        records[mine] = rows[np.searchsorted(after[rows], all_at[mine], side="right")]
    return Expired(all_slots, records, all_at, idle)


def _first_records(sessions: KeySessions) -> Indices:
    """Return one record of each life."""
    first = np.empty(len(sessions.slots), dtype=np.intp)
    first[sessions.of_records] = np.arange(len(sessions.of_records))
    return first
