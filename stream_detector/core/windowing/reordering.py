"""Samples as they arrive, put in the order of their times: late ones and repeated ones.

Pure. Everything here is decided by the samples of one key and by the clock of its partition,
record by record, so it does not depend on where a stream was cut into batches, nor on the other
partitions at hand, and no key waits for another.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, changes, expand, lasts, running_maximum
from stream_detector.core.windowing.keyed_state import KeyedState, ReorderBuffer
from stream_detector.core.windowing.sessions import (
    Arrivals,
    Expired,
    KeySessions,
    advance_stream_time,
    find_expired,
    find_sessions,
)


class Limits(NamedTuple):
    """How far a sample may be behind its key's newest, and when a key is forgotten.

    Parameters
    ----------
    lateness_ms
        A sample may be so far behind the newest of its key; so long it waits for others.
    key_ttl_ms
        How long, on its partition's clock, a key is remembered without a record.
    """

    lateness_ms: float
    key_ttl_ms: float


@dataclass(frozen=True, slots=True)
class InOrder:
    """The samples of a batch that have found their place, by life and then by time.

    Parameters
    ----------
    sessions
        The stretches of records.
    of_samples
        Life of each settled sample, shape (n_settled,), ascending.
    times_ms
        Its time, strictly rising within a life.
    rows
        Its row in `values`.
    records
        The record whose arrival settled it.
    values
        Values of all samples of the batch, and of those that waited.
    n_late, n_repeated
        Samples of each record that came too late, or of whose time there was one already, shape
        (n_records,).
    reorder_buffer
        Samples that wait from now on; None where none may wait.
    stream_times_ms
        Newest event time of each partition.
    expired
        Keys that were idle for too long.
    """

    sessions: KeySessions
    of_samples: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
    values: FloatArray
    n_late: Indices
    n_repeated: Indices
    reorder_buffer: ReorderBuffer | None
    stream_times_ms: dict[int, float]
    expired: Expired


def half_intervals(times_ms: NDArray[np.float64], interval_ms: float) -> NDArray[np.float64]:
    """Return in which half interval of absolute time each time lies, a whole number; NaN stays."""
    halves: NDArray[np.float64] = np.floor(times_ms / (interval_ms / 2))
    return halves


def reorder_samples(
    keyed_state: KeyedState, slots: Indices, arrivals: Arrivals, interval_ms: float, limits: Limits
) -> InOrder:
    """Put the samples of a batch in the order of their times.

    Of two samples of a key in the same half interval of absolute time, the first to come wins:
    which ones are kept depends on nothing further back.

    Parameters
    ----------
    keyed_state
        What is remembered of each key; not changed.
    slots
        Slot of each record's key, shape (n_records,).
    arrivals
        The records.
    interval_ms
        Time between two samples.
    limits
        How late a sample may be, and when a key is forgotten.
    """
    lateness_ms, key_ttl_ms = limits
    n_records = len(slots)
    before, after, stream_times_ms = advance_stream_time(keyed_state, arrivals)
    order = np.argsort(slots, kind="stable")  # records by key
    sessions, expired_at = find_sessions(keyed_state, slots, order, (before, after), key_ttl_ms)
    counts = arrivals.counts[order]
    rows = expand(np.cumsum(arrivals.counts)[order] - counts, counts)  # samples by key
    records = np.repeat(order, counts)
    of_samples = sessions.of_records[records]
    times = arrivals.times_ms[rows]
    is_first = changes(of_samples)
    newest = running_maximum(times, is_first, sessions.columns.newest_ms)
    newest_before = np.concatenate([[-np.inf], newest[:-1]])
    newest_before[is_first] = sessions.columns.newest_ms
    is_late = times + lateness_ms < newest_before
    sessions.newest_ms[:] = newest[lasts(is_first)]
    n_late = np.bincount(records[is_late], minlength=n_records)
    arrived = _Sequence(of_samples, times, rows, records)
    waiting = arrived.where(~is_late) if is_late.any() else arrived
    values, reorder_buffer = arrivals.values, None
    if lateness_ms > 0:
        waiting, values = _with_buffered(waiting, keyed_state, sessions, values)
    last_ms = sessions.columns.last_ms if lateness_ms > 0 else sessions.columns.newest_ms
    waiting, is_repeat = _repeats(waiting, last_ms, interval_ms)
    own = waiting.records[is_repeat]
    n_repeated = np.bincount(own[own >= 0], minlength=n_records)
    waiting = waiting.where(~is_repeat) if is_repeat.any() else waiting
    if lateness_ms > 0:
        # What may not be late any more has nothing to wait for.
        is_released = waiting.times + lateness_ms < sessions.newest_ms[waiting.sessions]
        reorder_buffer = _buffered(waiting.where(~is_released), keyed_state, sessions, values)
        waiting = waiting.where(is_released)
        waiting.records[:] = _releasing_records(waiting, arrived, newest, lateness_ms)
    return InOrder(
        sessions=sessions,
        of_samples=waiting.sessions,
        times_ms=waiting.times,
        rows=waiting.rows,
        records=waiting.records,
        values=values,
        n_late=n_late,
        n_repeated=n_repeated,
        reorder_buffer=reorder_buffer,
        stream_times_ms=stream_times_ms,
        expired=find_expired(
            keyed_state,
            sessions,
            (arrivals.partitions, after, stream_times_ms),
            expired_at,
            key_ttl_ms,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Samples as columns: life, time, row in the values, record."""

    sessions: Indices
    times: NDArray[np.float64]
    rows: Indices
    records: Indices

    def where(self, mask: NDArray[np.bool_] | Indices) -> "_Sequence":
        """Return some of the samples."""
        return _Sequence(self.sessions[mask], self.times[mask], self.rows[mask], self.records[mask])


def _with_buffered(
    arrived: _Sequence, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
) -> tuple[_Sequence, FloatArray]:
    """Return the samples with those that waited, by life and time, first come first."""
    waiting = keyed_state.reorder_buffer
    at = np.searchsorted(sessions.slots, waiting.slots)  # the first life of each slot
    at = np.minimum(at, max(len(sessions.slots) - 1, 0))
    is_touched = (sessions.slots[at] == waiting.slots) & np.isfinite(sessions.columns.seen_ms[at])
    rows = np.flatnonzero(is_touched)
    joined = _Sequence(
        np.concatenate([at[rows], arrived.sessions]),
        np.concatenate([waiting.times_ms[rows], arrived.times]),
        np.concatenate([rows + len(values), arrived.rows]),
        np.concatenate([np.full(len(rows), -1), arrived.records]),
    )
    # By life, and then those that waited before those that came: `arrived` is in that order too.
    order = np.argsort(joined.sessions, kind="stable")
    return joined.where(order), np.concatenate([values, waiting.values])


def _buffered(
    buffered: _Sequence, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
) -> ReorderBuffer:
    """Return the samples that wait after the batch; those of a life that is over are gone."""
    buffered = buffered.where(sessions.is_last[buffered.sessions])
    waiting = keyed_state.reorder_buffer
    stays = ~np.isin(waiting.slots, sessions.slots)
    slots = np.concatenate([waiting.slots[stays], sessions.slots[buffered.sessions]])
    times = np.concatenate([waiting.times_ms[stays], buffered.times])
    kept = np.concatenate([waiting.values[stays], values[buffered.rows]])
    order = np.argsort(slots, kind="stable")
    return ReorderBuffer(slots[order], times[order], kept[order])


def _releasing_records(
    released: _Sequence, arrived: _Sequence, newest: NDArray[np.float64], lateness_ms: float
) -> Indices:
    """Return for each settled sample the record that made it too old for another before it."""
    ranked, ranks = np.unique(newest, return_inverse=True)
    factor = len(ranked) + 1
    needed = np.searchsorted(ranked, released.times + lateness_ms, side="right")
    at = np.searchsorted(arrived.sessions * factor + ranks, released.sessions * factor + needed)
    return arrived.records[at]


def _repeats(
    samples: _Sequence, last_ms: NDArray[np.float64], interval_ms: float
) -> tuple[_Sequence, NDArray[np.bool_]]:
    """Return the samples by life and time, and which of them have a time that is taken.

    Parameters
    ----------
    samples
        By life, and those of a life in the order in which they came.
    last_ms
        The time before which nothing of a life is among `samples`, shape (n_lives,); NaN for none.
    interval_ms
        Time between two samples.
    """
    halves = half_intervals(samples.times, interval_ms)
    is_first = changes(samples.sessions)
    falls = (halves[1:] < halves[:-1]) & ~is_first[1:]
    if falls.any():
        order = np.lexsort((halves, samples.sessions))  # stable: the first to come stays first
        samples, halves = samples.where(order), halves[order]
    before = np.concatenate([[np.nan], halves[:-1]])[: len(halves)]
    before[is_first] = half_intervals(last_ms, interval_ms)[samples.sessions[is_first]]
    is_repeat: NDArray[np.bool_] = halves == before
    return samples, is_repeat
