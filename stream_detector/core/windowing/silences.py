"""Keys that have sent nothing for `no_data_after_ms`, while others of their partition went on.

Pure. A key falls silent once the stream time of its partition has passed the key's last record by
more than `no_data_after_ms`. The silence ends with the key's next record, or when the key expires.
All of it follows from the time of the last record, which is kept for expiry anyway, and is decided
record by record. One partition, `no_data_after_ms` 50, `key_ttl_ms` 100::

    record   key   sample at   stream time   silences
    0        a     0           0
    1        b     51          51            a has been silent since 0
    2        a     60          60            that ends: a sends again
    3        b     161         161           a has been silent since 60, and expires at 160
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import Indices, is_group_end, is_group_start
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.stream_time import StreamTime

NOT_HERE = -1
"""Record of what happened before the batch, or has not happened yet."""


@dataclass(frozen=True, slots=True)
class Silences:
    """Silences that began or ended in a batch, each of shape (n_silences,).

    Parameters
    ----------
    slots
        Slot of the key.
    since_ms
        Until when its last record showed that it sends: the stream time after it, as a rule.
    begins, ends
        The record that advanced the stream time too far, and the one that ended the silence;
        `NOT_HERE` for one before the batch or still to come.
    end_ms
        Stream time at the end: after the key's record, or when it expired.
    is_expired
        Whether the silence ended because the key expired.
    """

    slots: Indices
    since_ms: NDArray[np.float64]
    begins: Indices
    ends: Indices
    end_ms: NDArray[np.float64]
    is_expired: NDArray[np.bool_]


def find_silences(
    keyed_state: KeyedState,
    slots: Indices,
    partitions: NDArray[np.int64],
    stream_time: StreamTime,
    rules: WindowRules,
) -> Silences:
    """Return the silences that began or ended in a batch.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    slots, partitions
        Slot and partition of each record, shape (n_records,).
    stream_time
        Stream time before and after each record, and after the batch.
    rules
        `no_data_after_ms`, which is given, and `key_ttl_ms`.
    """
    assert rules.no_data_after_ms is not None  # noqa: S101  (narrows the type)
    limit_ms, ttl_ms = rules.no_data_after_ms, rules.key_ttl_ms
    order = np.argsort(slots, kind="stable")  # (n_records,), records by key
    by_key = slots[order]  # (n_records,)
    seen = np.concatenate([[-np.inf], stream_time.seen_ms[order][:-1]])  # (n_records,)
    is_first = is_group_start(by_key)  # (n_records,)
    seen[is_first] = keyed_state.columns.seen_ms[by_key[is_first]]
    before = stream_time.before_ms[order]  # (n_records,)
    over = np.flatnonzero(np.isfinite(seen) & (before > seen + limit_ms))  # (n_over,)
    last = order[is_group_end(by_key)]  # (n_keys_of_batch,), records
    lasting, seen_now, of_slots = _lasting(keyed_state, slots[last], partitions, last, stream_time)
    end_of = np.array([stream_time.ends_ms.get(each, -np.inf) for each in of_slots.tolist()])
    is_lasting = end_of > seen_now + limit_ms  # (n_slots,)
    lasting = lasting[is_lasting]
    found_slots = np.concatenate([by_key[over], lasting])  # (n_found,)
    since = np.concatenate([seen[over], seen_now[is_lasting]])  # (n_found,)
    until = np.concatenate([before[over], end_of[is_lasting]])  # (n_found,)
    was_seen_before = np.concatenate([is_first[over], ~np.isin(lasting, by_key)])  # (n_found,)
    nobody = np.full(len(lasting), NOT_HERE)
    own = np.concatenate([order[over], nobody])  # (n_found,), the key's next record
    is_expired = until > since + ttl_ms  # (n_found,)
    at = np.concatenate([partitions[order[over]], of_slots[is_lasting]])  # (n_found,)
    begins, expiries = np.empty(len(at), np.intp), np.full(len(at), NOT_HERE)  # (n_found,)
    for number in np.unique(at).tolist():
        mine, rows = np.flatnonzero(at == number), np.flatnonzero(partitions == number)
        after = stream_time.after_ms[rows]  # (n_of_partition,)
        begins[mine] = _passing(rows, after, since[mine] + limit_ms)
        gone = mine[is_expired[mine]]
        expiries[gone] = _passing(rows, after, since[gone] + ttl_ms)
        start_ms = keyed_state.stream_times_ms.get(number, -np.inf)
        begins[mine[was_seen_before[mine] & (start_ms > since[mine] + limit_ms)]] = NOT_HERE
    ends = np.where(is_expired, expiries, own)  # (n_found,)
    end_ms = np.where(is_expired, since + ttl_ms, stream_time.after_ms[own])  # (n_found,)
    here = np.flatnonzero((begins != NOT_HERE) | (ends != NOT_HERE))  # (n_silences,)
    return Silences(
        found_slots[here], since[here], begins[here], ends[here], end_ms[here], is_expired[here]
    )


def _lasting(
    keyed_state: KeyedState,
    batch_slots: Indices,
    partitions: NDArray[np.int64],
    last: Indices,
    stream_time: StreamTime,
) -> tuple[Indices, NDArray[np.float64], NDArray[np.int32]]:
    """Return the slots of the batch's partitions, when each key was seen last, and its partition.

    Parameters
    ----------
    batch_slots, last
        Slots of the keys of the batch, and the last record of each, shape (n_keys_of_batch,).
    """
    seen = keyed_state.columns.seen_ms.copy()  # (n_room,)
    of_slots = keyed_state.partitions.copy()  # (n_room,)
    seen[batch_slots] = stream_time.seen_ms[last]
    of_slots[batch_slots] = partitions[last]
    here = np.flatnonzero(np.isin(of_slots, list(stream_time.ends_ms)) & np.isfinite(seen))
    return here, seen[here], of_slots[here]


def _passing(rows: Indices, after_ms: NDArray[np.float64], at_ms: NDArray[np.float64]) -> Indices:
    """Return the first record after which the stream time is beyond each of some times.

    Parameters
    ----------
    rows, after_ms
        Records of a partition, and the stream time after each, shape (n_of_partition,).
    at_ms
        Times that the stream time passes with one of them, or has passed before, shape (n,).
    """
    falls = np.flatnonzero(after_ms[1:] < after_ms[:-1])  # at the partition's first records
    if len(falls):
        after_ms = np.where(np.arange(len(rows)) <= falls[-1], -np.inf, after_ms)
    return rows[np.searchsorted(after_ms, at_ms, side="right")]


def silent_keys(keyed_state: KeyedState, after_ms: float) -> NDArray[np.bool_]:
    """Return which slots have a key that is silent now, shape (n_slots,)."""
    times_ms, partitions = keyed_state.stream_times_ms, keyed_state.partitions
    known = np.array(sorted(times_ms), np.int32)  # (n_partitions,)
    if not known.size:
        return np.zeros(partitions.shape, dtype=np.bool_)
    now_ms = np.array([times_ms[number] for number in known.tolist()])  # (n_partitions,)
    at = np.searchsorted(known[1:], partitions, side="right")  # (n_slots,)
    seen_ms = keyed_state.columns.seen_ms
    is_silent: NDArray[np.bool_] = np.isfinite(seen_ms) & (now_ms[at] > seen_ms + after_ms)
    is_silent &= known[at] == partitions  # a free slot is in no partition
    return is_silent
