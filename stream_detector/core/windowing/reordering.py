"""Samples in the order of their times: late and repeated ones dropped, early ones made to wait.

Pure. A sample waits in the reorder buffer until no sample that is still in time can come before it:
until the newest sample of its key is more than `allowed_lateness_ms` ahead. That is decided by the
samples of the key alone, record by record, so it does not depend on where a stream was cut into
batches, and no key waits for another.

One key, a sample every 10 ms, `allowed_lateness_ms` 20::

    record   samples at   newest   released   waiting afterwards
    0        0 10 30      30       0          10 30
    1        20           30                  10 20 30
    2        50           50       10 20      30 50
    3        51           51       30         50         51 repeats 50
    4        25           51                  50         25 is late: 26 ms behind

Two samples are repeats of each other if they lie in the same half interval of absolute time, here
50 to 55. The first to arrive is kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import (
    Indices,
    group_ends,
    is_group_start,
    join_ranges,
    running_maximum,
)
from stream_detector.core.windowing.keyed_state import KeyedState, ReorderBuffer
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import (
    Arrivals,
    Expired,
    KeySessions,
    advance_stream_time,
    find_expired,
    find_sessions,
)


@dataclass(frozen=True, slots=True)
class InOrder:
    """The samples that a batch released, by session and then by time.

    Parameters
    ----------
    sessions
        Sessions of the batch.
    session_of
        Session of each released sample, shape (n_released,), ascending.
    times_ms
        Its time, shape (n_released,), strictly increasing within a session.
    rows
        Its row in `values`, shape (n_released,).
    records
        The record whose arrival released it, shape (n_released,).
    values
        Values of all samples of the batch, and of those that waited before it, shape
        (n_values, n_features).
    n_late, n_repeated
        Samples of each record that were late, or repeated another, shape (n_records,).
    reorder_buffer
        Samples that wait after the batch; None where the rules let none wait.
    stream_times_ms
        Stream time of each partition of the batch after it.
    expired
        Keys that expired.
    """

    sessions: KeySessions
    session_of: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
    values: FloatArray
    n_late: Indices
    n_repeated: Indices
    reorder_buffer: ReorderBuffer | None
    stream_times_ms: dict[int, float]
    expired: Expired


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples as columns: session, time, row in the values and record, each (n_samples,)."""

    session_of: Indices
    times: NDArray[np.float64]
    rows: Indices
    records: Indices

    def where(self, mask: NDArray[np.bool_] | Indices) -> "_Samples":
        """Return some of the samples."""
        return _Samples(
            self.session_of[mask], self.times[mask], self.rows[mask], self.records[mask]
        )


def half_intervals(times_ms: NDArray[np.float64], interval_ms: float) -> NDArray[np.float64]:
    """Return the number of the half interval of absolute time in which each time lies.

    Parameters
    ----------
    times_ms
        Any shape, milliseconds since 1970-01-01 UTC; NaN stays NaN.
    interval_ms
        Time between two samples.

    Returns
    -------
    Whole numbers as float64, same shape.

    Examples
    --------
    >>> half_intervals(np.array([0.0, 4.9, 5.0, 51.0]), 10.0)
    array([ 0.,  0.,  1., 10.])
    """
    halves: NDArray[np.float64] = np.floor(times_ms / (interval_ms / 2))
    return halves


def reorder_samples(
    keyed_state: KeyedState, slots: Indices, arrivals: Arrivals, rules: WindowRules
) -> InOrder:
    """Put the samples of a batch in the order of their times.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    slots
        Slot of each record's key, shape (n_records,).
    arrivals
        At least one record.
    rules
        How late a sample may be, and when a key expires.
    """
    n_records = len(slots)
    stream_time = advance_stream_time(keyed_state, arrivals)
    by_key = np.argsort(slots, kind="stable")  # (n_records,), records by key
    sessions = find_sessions(keyed_state, slots, by_key, stream_time, rules.key_ttl_ms)
    arrived = _by_session(arrivals, sessions, by_key)
    newest, is_late = _find_late(arrived, sessions, rules.allowed_lateness_ms)  # (n_samples,)
    n_late = np.bincount(arrived.records[is_late], minlength=n_records)  # (n_records,)
    waiting = arrived.where(~is_late) if is_late.any() else arrived
    values, reorder_buffer = arrivals.values, None  # (n_values, n_features)
    last_ms = sessions.columns.newest_ms  # (n_sessions,)
    if rules.allowed_lateness_ms > 0:
        waiting, values = _with_buffered(waiting, keyed_state, sessions, values)
        last_ms = sessions.columns.last_ms
    waiting, is_repeat = _find_repeats(waiting, last_ms, rules.sample_interval_ms)
    repeating = waiting.records[is_repeat]  # (n_repeats,), -1 for one that waited before the batch
    n_repeated = np.bincount(repeating[repeating >= 0], minlength=n_records)  # (n_records,)
    released = waiting.where(~is_repeat) if is_repeat.any() else waiting
    if rules.allowed_lateness_ms > 0:
        newest_now = sessions.newest_ms[released.session_of]  # (n_waiting,)
        is_released = released.times + rules.allowed_lateness_ms < newest_now  # (n_waiting,)
        still_waiting = released.where(~is_released)
        reorder_buffer = _buffer_after(still_waiting, keyed_state, sessions, values)
        released = released.where(is_released)
        needed = released.times + rules.allowed_lateness_ms  # (n_released,)
        released.records[:] = _first_newer(arrived, newest, released.session_of, needed)
    return InOrder(
        sessions=sessions,
        session_of=released.session_of,
        times_ms=released.times,
        rows=released.rows,
        records=released.records,
        values=values,
        n_late=n_late,
        n_repeated=n_repeated,
        reorder_buffer=reorder_buffer,
        stream_times_ms=stream_time.ends_ms,
        expired=find_expired(
            keyed_state, arrivals.partitions, sessions, stream_time, rules.key_ttl_ms
        ),
    )


def _by_session(arrivals: Arrivals, sessions: KeySessions, by_key: Indices) -> _Samples:
    """Return the samples of a batch by session, and those of a session as they arrived."""
    counts = arrivals.counts[by_key]  # (n_records,)
    starts = np.cumsum(arrivals.counts)[by_key] - counts  # (n_records,), of each record's samples
    rows = join_ranges(starts, counts)  # (n_samples,)
    records = np.repeat(by_key, counts)  # (n_samples,)
    return _Samples(sessions.of_records[records], arrivals.times_ms[rows], rows, records)


def _find_late(
    arrived: _Samples, sessions: KeySessions, lateness_ms: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the newest time of the session at each sample, and which samples are late.

    Fills in `KeySessions.newest_ms`.
    """
    is_first = is_group_start(arrived.session_of)  # (n_samples,)
    newest = running_maximum(arrived.times, is_first, sessions.columns.newest_ms)  # (n_samples,)
    newest_before = np.concatenate([[-np.inf], newest[:-1]])  # (n_samples,)
    newest_before[is_first] = sessions.columns.newest_ms
    sessions.newest_ms[:] = newest[group_ends(is_first)]
    is_late: NDArray[np.bool_] = arrived.times + lateness_ms < newest_before  # (n_samples,)
    return newest, is_late


def _with_buffered(
    arrived: _Samples, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
) -> tuple[_Samples, FloatArray]:
    """Return the samples of the batch and those that waited before it, by session.

    Within a session those that waited come first, and then the others as they arrived. The values
    are those of both.
    """
    waiting = keyed_state.reorder_buffer
    first = np.searchsorted(sessions.slots, waiting.slots)  # (n_waiting,), a slot's first session
    first = np.minimum(first, max(len(sessions.slots) - 1, 0))
    # What an expired session left waiting is dropped.
    is_continued = np.isfinite(sessions.columns.seen_ms[first])  # (n_waiting,)
    rows = np.flatnonzero((sessions.slots[first] == waiting.slots) & is_continued)  # (n_touched,)
    joined = _Samples(
        np.concatenate([first[rows], arrived.session_of]),
        np.concatenate([waiting.times_ms[rows], arrived.times]),
        np.concatenate([rows + len(values), arrived.rows]),
        np.concatenate([np.full(len(rows), -1), arrived.records]),
    )  # (n_touched + n_samples,)
    order = np.argsort(joined.session_of, kind="stable")  # (n_touched + n_samples,)
    return joined.where(order), np.concatenate([values, waiting.values])


def _buffer_after(
    waiting: _Samples, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
) -> ReorderBuffer:
    """Return the reorder buffer after the batch, without samples of sessions that have ended."""
    waiting = waiting.where(sessions.is_last[waiting.session_of])
    before = keyed_state.reorder_buffer
    is_kept = ~np.isin(before.slots, sessions.slots)  # (n_before,)
    slots = np.concatenate([before.slots[is_kept], sessions.slots[waiting.session_of]])
    times = np.concatenate([before.times_ms[is_kept], waiting.times])  # (n_buffered,)
    kept = np.concatenate([before.values[is_kept], values[waiting.rows]])
    order = np.argsort(slots, kind="stable")  # (n_buffered,)
    return ReorderBuffer(slots[order], times[order], kept[order])


def _first_newer(
    arrived: _Samples,
    newest: NDArray[np.float64],
    session_of: Indices,
    times_ms: NDArray[np.float64],
) -> Indices:
    """Return for each time the first record of its session with which newest went beyond it.

    Parameters
    ----------
    arrived
        Samples of the batch, by session.
    newest
        Newest time of the session at each of them, shape (n_samples,).
    session_of, times_ms
        Session and time to look for, shape (n_wanted,).
    """
    # Session and rank of the newest time make one number that ascends, so one search finds all.
    ranked, ranks = np.unique(newest, return_inverse=True)  # (n_times,), (n_samples,)
    factor = len(ranked) + 1
    wanted = np.searchsorted(ranked, times_ms, side="right")  # (n_wanted,)
    at = np.searchsorted(arrived.session_of * factor + ranks, session_of * factor + wanted)
    return arrived.records[at]  # (n_wanted,)


def _find_repeats(
    samples: _Samples, last_ms: NDArray[np.float64], interval_ms: float
) -> tuple[_Samples, NDArray[np.bool_]]:
    """Return the samples by session and time, and which of them repeat an earlier one.

    Parameters
    ----------
    samples
        By session, and those of a session in the order of arrival.
    last_ms
        Time of each session's last sample that is not among `samples`, shape (n_sessions,); NaN or
        -inf where there is none.
    interval_ms
        Time between two samples.
    """
    halves = half_intervals(samples.times, interval_ms)  # (n_samples,)
    is_first = is_group_start(samples.session_of)  # (n_samples,)
    falls = (halves[1:] < halves[:-1]) & ~is_first[1:]  # (n_samples - 1,)
    if falls.any():
        order = np.lexsort((halves, samples.session_of))  # stable: the first to arrive stays first
        samples, halves = samples.where(order), halves[order]
    before = np.concatenate([[np.nan], halves[:-1]])[: len(halves)]  # (n_samples,)
    before[is_first] = half_intervals(last_ms, interval_ms)[samples.session_of[is_first]]
    is_repeat: NDArray[np.bool_] = halves == before  # (n_samples,)
    return samples, is_repeat
