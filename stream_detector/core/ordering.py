"""Samples as they arrive, put in the order of their times: late ones, repeated ones, idle keys.

Pure. Everything here is decided by the samples of one key and by the clock of its partition,
record by record, so it does not depend on where a stream was cut into batches, nor on the other
partitions at hand, and no key waits for another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.series import Pending, Scalars, SeriesPool

Indices = NDArray[np.intp]


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
class Lives:
    """Stretches of records of one key between which it was not idle for too long.

    Parameters
    ----------
    slots
        Slot of each life, shape (n_lives,), ascending.
    scalars
        What was remembered of its key; fresh where it is new or was idle for too long.
    is_last
        Whether no further life of the same slot is in the batch.
    of_records
        Life of each record, in the order of arrival, shape (n_records,).
    newest_ms, seen_ms
        What is to be remembered after the batch, shape (n_lives,).
    """

    slots: Indices
    scalars: Scalars
    is_last: NDArray[np.bool_]
    of_records: Indices
    newest_ms: NDArray[np.float64]
    seen_ms: NDArray[np.float64]


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
        Samples of each record that came too late, or whose time was there already, shape
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


def order_samples(
    pool: SeriesPool, slots: Indices, arrivals: Arrivals, lateness_ms: float, key_ttl_ms: float
) -> Ordered:
    """Put the samples of a batch in the order of their times.

    Parameters
    ----------
    pool
        What is remembered of each key; not changed.
    slots
        Slot of each record's key, shape (n_records,).
    arrivals
        The records.
    lateness_ms
        How far a sample may be behind the newest of its key; so long a sample waits.
    key_ttl_ms
        How long, on its partition's clock, a key is remembered without a record.
    """
    n_records = len(slots)
    before, after, clocks = _clock(pool, arrivals)
    order = np.argsort(slots, kind="stable")  # records by key
    lives, expired_at = _lives(pool, slots, order, (before, after), key_ttl_ms)
    counts = arrivals.counts[order]
    rows = _expand(np.cumsum(arrivals.counts)[order] - counts, counts)  # samples by key
    records = np.repeat(order, counts)
    of_samples = lives.of_records[records]
    times = arrivals.times_ms[rows]
    is_first = _changes(of_samples)
    newest = _running_maximum(times, is_first, lives.scalars.newest_ms)
    newest_before = np.concatenate([[-np.inf], newest[:-1]])
    newest_before[is_first] = lives.scalars.newest_ms
    is_late = times + lateness_ms < newest_before
    lives.newest_ms[:] = newest[_lasts(is_first)]
    n_late = np.bincount(records[is_late], minlength=n_records)
    arrived = _Sequence(of_samples, times, rows, records)
    waiting = arrived.where(~is_late) if is_late.any() else arrived
    values, pending = arrivals.values, None
    if lateness_ms > 0:
        waiting, values = _with_pending(waiting, pool, lives, values)
    is_repeat = _repeats(waiting, None if lateness_ms > 0 else lives.scalars.newest_ms)
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
        expired=_expired(pool, lives, (arrivals.partitions, after, clocks), expired_at, key_ttl_ms),
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


def _clock(
    pool: SeriesPool, arrivals: Arrivals
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, float]]:
    """Return the clock of each record's partition before and after it, and where it ends."""
    newest = arrivals.times_ms[np.cumsum(arrivals.counts) - 1]  # (n_records,)
    order = np.argsort(arrivals.partitions, kind="stable")
    numbers = arrivals.partitions[order]
    is_first = _changes(numbers)
    partitions = numbers[is_first].tolist()
    start = np.array([pool.clocks.get(partition, -np.inf) for partition in partitions])
    running = _running_maximum(newest[order], is_first, start)
    shifted = np.concatenate([[-np.inf], running[:-1]])
    shifted[is_first] = start
    before, after = np.empty_like(running), np.empty_like(running)
    before[order], after[order] = shifted, running
    ends = dict(zip(partitions, running[_lasts(is_first)].tolist(), strict=True))
    return before, after, ends


def _lives(
    pool: SeriesPool,
    slots: Indices,
    order: Indices,
    clock: tuple[NDArray[np.float64], NDArray[np.float64]],
    key_ttl_ms: float,
) -> tuple[Lives, NDArray[np.float64]]:
    """Return the lives, and since when the one before each was over (NaN where none was)."""
    before, after = clock[0][order], clock[1][order]
    by_key = slots[order]
    is_key = _changes(by_key)
    seen = np.concatenate([[-np.inf], after[:-1]])
    seen[is_key] = pool.scalars.seen_ms[by_key[is_key]]
    is_over = np.isfinite(seen) & (before > seen + key_ttl_ms)
    is_life = is_key | is_over
    life = np.cumsum(is_life) - 1
    of_records = np.empty(len(slots), dtype=np.intp)
    of_records[order] = life
    life_slots = by_key[is_life]
    scalars = pool.scalars.take(life_slots)
    is_new = is_over[is_life]
    scalars.put(np.flatnonzero(is_new), Scalars.fresh(int(is_new.sum())))
    lives = Lives(
        slots=life_slots,
        scalars=scalars,
        is_last=_lasts_mask(life_slots),
        of_records=of_records,
        newest_ms=np.empty(len(life_slots)),
        seen_ms=after[_lasts(is_life)],
    )
    return lives, np.where(is_new, seen[is_life] + key_ttl_ms, np.nan)


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
    joined = joined.where(np.lexsort((joined.times, joined.lives)))
    return joined, np.concatenate([values, waiting.values])


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


def _repeats(samples: _Sequence, newest_ms: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Return which samples have a time that their key has already.

    Where samples wait, all that could repeat are among `samples`; else it is the newest only.
    """
    before = np.concatenate([[np.nan], samples.times[:-1]])[: len(samples.times)]
    is_first = _changes(samples.lives)
    before[is_first] = np.nan if newest_ms is None else newest_ms[samples.lives[is_first]]
    is_repeat: NDArray[np.bool_] = samples.times == before
    return is_repeat


def _expired(
    pool: SeriesPool,
    lives: Lives,
    clock: tuple[NDArray[np.int64], NDArray[np.float64], dict[int, float]],
    expired_at: NDArray[np.float64],
    key_ttl_ms: float,
) -> Expired:
    """Return the keys that were idle for too long, within the batch and at its end."""
    partitions, after, ends = clock
    seen = pool.scalars.seen_ms.copy()
    of_slots = pool.partitions.copy()
    of_slots[lives.slots] = partitions[_first_records(lives)]
    seen[lives.slots] = lives.seen_ms  # the last life of a slot is set last
    numbers = np.array(sorted(ends), dtype=np.int64)
    at = np.minimum(np.searchsorted(numbers, of_slots), len(numbers) - 1)
    end_ms = np.array([ends[number] for number in numbers.tolist()])[at]
    is_idle = (numbers[at] == of_slots) & (end_ms > seen + key_ttl_ms)
    idle, over = np.flatnonzero(is_idle), np.flatnonzero(np.isfinite(expired_at))
    all_slots = np.concatenate([lives.slots[over], idle])
    all_at = np.concatenate([expired_at[over], seen[idle] + key_ttl_ms])
    records = np.empty(len(all_slots), dtype=np.intp)
    for number in np.unique(of_slots[all_slots]).tolist():
        mine = np.flatnonzero(of_slots[all_slots] == number)
        rows = np.flatnonzero(partitions == number)
        records[mine] = rows[np.searchsorted(after[rows], all_at[mine], side="right")]
    return Expired(all_slots, records, all_at, idle)


def _first_records(lives: Lives) -> Indices:
    """Return one record of each life."""
    first = np.empty(len(lives.slots), dtype=np.intp)
    first[lives.of_records] = np.arange(len(lives.of_records))
    return first


def _running_maximum(
    values: NDArray[np.float64], is_first: NDArray[np.bool_], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the running maximum of each group, of which `start` counts from the beginning."""
    running = values.copy()
    firsts = np.flatnonzero(is_first)
    running[firsts] = np.maximum(running[firsts], start)
    falls = np.concatenate([[False], running[1:] < running[:-1]]) & ~is_first
    if not falls.any():
        return running
    # Ranks are whole numbers, so the groups can be told apart by an offset without rounding.
    ranked, ranks = np.unique(running, return_inverse=True)
    offset = (np.cumsum(is_first) - 1) * len(ranked)
    peaks = np.maximum.accumulate(ranks + offset) - offset
    result: NDArray[np.float64] = ranked[peaks]
    return result


def _changes(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries begin a group."""
    return np.concatenate([np.ones(min(len(groups), 1), np.bool_), groups[1:] != groups[:-1]])


def _lasts_mask(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries end a group."""
    return _changes(groups[::-1])[::-1]


def _lasts(is_first: NDArray[np.bool_]) -> Indices:
    """Return the last entry of each group."""
    return np.concatenate([np.flatnonzero(is_first)[1:] - 1, [len(is_first) - 1]]).astype(np.intp)


def _expand(starts: Indices, counts: Indices) -> Indices:
    """Return the numbers from each start, as many as its count, one after the other."""
    if not len(counts):
        return np.empty(0, dtype=np.intp)
    shift = starts - (np.cumsum(counts) - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))
