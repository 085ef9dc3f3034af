"""Samples as they arrive, put in the order of their times: late ones and repeated ones.

Pure. Everything here is decided by the samples of one key and by the clock of its partition,
record by record, so it does not depend on where a stream was cut into batches, nor on the other
partitions at hand, and no key waits for another.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.groups import Indices, changes, expand, lasts, running_maximum
from stream_detector.core.lives import (
    Arrivals,
    Expired,
    Lives,
    find_expired,
    find_lives,
    run_clocks,
)
from stream_detector.core.records import FloatArray
from stream_detector.core.series import Pending, SeriesPool


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
class Ordered:
    """The samples of a batch that have found their place, by life and then by time.

    Parameters
    ----------
    lives
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
    pending
        Samples that wait from now on; None where none may wait.
    clocks
        Newest event time of each partition.
    expired
        Keys that were idle for too long.
    """

    lives: Lives
    of_samples: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
    values: FloatArray
    n_late: Indices
    n_repeated: Indices
    pending: Pending | None
    clocks: dict[int, float]
    expired: Expired


def half_intervals(times_ms: NDArray[np.float64], interval_ms: float) -> NDArray[np.float64]:
    """Return in which half interval of absolute time each time lies, a whole number; NaN stays."""
    halves: NDArray[np.float64] = np.floor(times_ms / (interval_ms / 2))
    return halves


def order_samples(
    pool: SeriesPool, slots: Indices, arrivals: Arrivals, interval_ms: float, limits: Limits
) -> Ordered:
    """Put the samples of a batch in the order of their times.

    Of two samples of a key in the same half interval of absolute time, the first to come wins:
    which ones are kept depends on nothing further back.

    Parameters
    ----------
    pool
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
    before, after, clocks = run_clocks(pool, arrivals)
    order = np.argsort(slots, kind="stable")  # records by key
    lives, expired_at = find_lives(pool, slots, order, (before, after), key_ttl_ms)
    counts = arrivals.counts[order]
    rows = expand(np.cumsum(arrivals.counts)[order] - counts, counts)  # samples by key
    records = np.repeat(order, counts)
    of_samples = lives.of_records[records]
    times = arrivals.times_ms[rows]
    is_first = changes(of_samples)
    newest = running_maximum(times, is_first, lives.scalars.newest_ms)
    newest_before = np.concatenate([[-np.inf], newest[:-1]])
    newest_before[is_first] = lives.scalars.newest_ms
    is_late = times + lateness_ms < newest_before
    lives.newest_ms[:] = newest[lasts(is_first)]
    n_late = np.bincount(records[is_late], minlength=n_records)
    arrived = _Sequence(of_samples, times, rows, records)
    waiting = arrived.where(~is_late) if is_late.any() else arrived
    values, pending = arrivals.values, None
    if lateness_ms > 0:
        waiting, values = _with_pending(waiting, pool, lives, values)
    last_ms = lives.scalars.last_ms if lateness_ms > 0 else lives.scalars.newest_ms
    waiting, is_repeat = _repeats(waiting, last_ms, interval_ms)
    own = waiting.records[is_repeat]
    n_repeated = np.bincount(own[own >= 0], minlength=n_records)
    waiting = waiting.where(~is_repeat) if is_repeat.any() else waiting
    if lateness_ms > 0:
        # What may not be late any more has nothing to wait for.
        is_settled = waiting.times + lateness_ms < lives.newest_ms[waiting.lives]
        pending = _pending(waiting.where(~is_settled), pool, lives, values)
        waiting = waiting.where(is_settled)
        waiting.records[:] = _settling_records(waiting, arrived, newest, lateness_ms)
    return Ordered(
        lives=lives,
        of_samples=waiting.lives,
        times_ms=waiting.times,
        rows=waiting.rows,
        records=waiting.records,
        values=values,
        n_late=n_late,
        n_repeated=n_repeated,
        pending=pending,
        clocks=clocks,
        expired=find_expired(
            pool, lives, (arrivals.partitions, after, clocks), expired_at, key_ttl_ms
        ),
    )


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Samples as columns: life, time, row in the values, record."""

    lives: Indices
    times: NDArray[np.float64]
    rows: Indices
    records: Indices

    def where(self, mask: NDArray[np.bool_] | Indices) -> "_Sequence":
        """Return some of the samples."""
        return _Sequence(self.lives[mask], self.times[mask], self.rows[mask], self.records[mask])


def _with_pending(
    arrived: _Sequence, pool: SeriesPool, lives: Lives, values: FloatArray
) -> tuple[_Sequence, FloatArray]:
    """Return the samples with those that waited, by life and time, first come first."""
    waiting = pool.pending
    at = np.searchsorted(lives.slots, waiting.slots)  # the first life of each slot
    at = np.minimum(at, max(len(lives.slots) - 1, 0))
    is_touched = (lives.slots[at] == waiting.slots) & np.isfinite(lives.scalars.seen_ms[at])
    rows = np.flatnonzero(is_touched)
    joined = _Sequence(
        np.concatenate([at[rows], arrived.lives]),
        np.concatenate([waiting.times_ms[rows], arrived.times]),
        np.concatenate([rows + len(values), arrived.rows]),
        np.concatenate([np.full(len(rows), -1), arrived.records]),
    )
    # By life, and then those that waited before those that came: `arrived` is in that order too.
    order = np.argsort(joined.lives, kind="stable")
    return joined.where(order), np.concatenate([values, waiting.values])


def _pending(unsettled: _Sequence, pool: SeriesPool, lives: Lives, values: FloatArray) -> Pending:
    """Return the samples that wait after the batch; those of a life that is over are gone."""
    unsettled = unsettled.where(lives.is_last[unsettled.lives])
    waiting = pool.pending
    stays = ~np.isin(waiting.slots, lives.slots)
    slots = np.concatenate([waiting.slots[stays], lives.slots[unsettled.lives]])
    times = np.concatenate([waiting.times_ms[stays], unsettled.times])
    kept = np.concatenate([waiting.values[stays], values[unsettled.rows]])
    order = np.argsort(slots, kind="stable")
    return Pending(slots[order], times[order], kept[order])


def _settling_records(
    settled: _Sequence, arrived: _Sequence, newest: NDArray[np.float64], lateness_ms: float
) -> Indices:
    """Return for each settled sample the record that made it too old for another before it."""
    ranked, ranks = np.unique(newest, return_inverse=True)
    factor = len(ranked) + 1
    needed = np.searchsorted(ranked, settled.times + lateness_ms, side="right")
    at = np.searchsorted(arrived.lives * factor + ranks, settled.lives * factor + needed)
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
    is_first = changes(samples.lives)
    falls = (halves[1:] < halves[:-1]) & ~is_first[1:]
    if falls.any():
        order = np.lexsort((halves, samples.lives))  # stable: the first to come stays first
        samples, halves = samples.where(order), halves[order]
    before = np.concatenate([[np.nan], halves[:-1]])[: len(halves)]
    before[is_first] = half_intervals(last_ms, interval_ms)[samples.lives[is_first]]
    is_repeat: NDArray[np.bool_] = halves == before
    return samples, is_repeat
