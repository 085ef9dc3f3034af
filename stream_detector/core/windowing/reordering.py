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

Two samples may belong to the same cell (`repeats`), here those from 50 to 55. The first to arrive
is kept, and the other repeats it, unless it brings values that the first one lacks (`parts`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import (
    Indices,
    is_group_end,
    is_group_start,
    join_ranges,
    running_maximum,
)
from stream_detector.core.windowing.clock_filter import follow_clocks
from stream_detector.core.windowing.key_clocks import Arrived, Followed
from stream_detector.core.windowing.keyed_state import KeyedState, ReorderBuffer
from stream_detector.core.windowing.parts import NEVER, merge_parts
from stream_detector.core.windowing.repeats import (
    FROM_BUFFER,
    Cells,
    Samples,
    find_cells,
    find_repeats_in_order,
)
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import (
    Arrivals,
    Expired,
    KeySessions,
    find_expired,
    find_sessions,
)
from stream_detector.core.windowing.silences import Silences, find_silences
from stream_detector.core.windowing.stream_time import StreamTime, advance_stream_time


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
    followed
        Samples that are used, late, held or outliers, and clocks that were set.
    n_repeated
        Samples of each record that repeated another, shape (n_records,).
    reorder_buffer
        Samples that wait after the batch; None where the rules let none wait.
    stream_time
        Stream time of each partition of the batch.
    expired
        Keys that expired.
    silences
        Keys that fell silent or sent again; None where the rules do not ask.
    """

    sessions: KeySessions
    session_of: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
    values: FloatArray
    followed: Followed
    n_repeated: Indices
    reorder_buffer: ReorderBuffer | None
    stream_time: StreamTime
    expired: Expired
    silences: Silences | None


class _Sorted(NamedTuple):
    """Samples of a batch that are released and that wait, and the records of those that repeat.

    `waiting` is None where the reorder buffer stays as it is.
    """

    released: Samples
    waiting: Samples | None
    repeating: Indices
    values: FloatArray


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
    samples = (arrivals.times_ms, arrivals.counts)
    stream_time = advance_stream_time(
        keyed_state, arrivals.keys, arrivals.partitions, samples, rules
    )
    by_key = np.argsort(slots, kind="stable")  # (n_records,), records by key
    sessions = find_sessions(keyed_state, slots, by_key, stream_time, rules.key_ttl_ms)
    expired = find_expired(
        keyed_state, arrivals.partitions, sessions, stream_time, rules.key_ttl_ms
    )
    arrived = _by_session(arrivals, sessions, by_key)
    followed = follow_clocks(
        arrived, sessions, keyed_state, stream_time.after_ms, arrivals.values, rules
    )
    followed = followed.without_expired(expired.idle, keyed_state)
    sessions, values = followed.sessions, followed.values
    in_time, newest = _with_newest(followed.used, sessions)
    if rules.allowed_lateness_ms > 0:
        found = _wait_for_late(in_time, keyed_state, sessions, values, rules)
        needed = found.released.times + rules.allowed_lateness_ms  # (n_released,)
        records = _first_newer(in_time, newest, found.released.session_of, needed)
        found = found._replace(released=replace(found.released, records=records))
    elif _may_have_parts(keyed_state, sessions, values):
        found = _wait_for_parts(in_time, keyed_state, sessions, values, rules)
    else:
        found = _without_waiting(in_time, sessions, values, rules)
    repeating = found.repeating[found.repeating >= 0]  # (n_repeats,)
    reorder_buffer = None
    if found.waiting is not None:
        reorder_buffer = _buffer_after(found.waiting, keyed_state, sessions, found.values)
    silences = None
    if rules.no_data_after_ms is not None:
        silences = find_silences(keyed_state, slots, arrivals.partitions, stream_time, rules)
    return InOrder(
        sessions=sessions,
        session_of=found.released.session_of,
        times_ms=found.released.times,
        rows=found.released.rows,
        records=found.released.records,
        values=found.values,
        followed=followed,
        n_repeated=np.bincount(repeating, minlength=n_records),  # (n_records,)
        reorder_buffer=reorder_buffer,
        stream_time=stream_time,
        expired=expired,
        silences=silences,
    )


def _without_waiting(
    samples: Samples, sessions: KeySessions, values: FloatArray, rules: WindowRules
) -> _Sorted:
    """Release every sample as it arrives: none is missing a value."""
    is_repeat = find_repeats_in_order(samples, sessions, rules.sample_interval_ms)  # (n_samples,)
    released = samples.where(~is_repeat) if is_repeat.any() else samples
    return _Sorted(released, None, samples.records[is_repeat], values)


def _wait_for_late(
    samples: Samples,
    keyed_state: KeyedState,
    sessions: KeySessions,
    values: FloatArray,
    rules: WindowRules,
) -> _Sorted:
    """Let samples wait for late ones, and merge the parts of those that wait.

    Which record releases a sample is still to be found.
    """
    lateness_ms = rules.allowed_lateness_ms
    samples, values = _with_buffered(samples, keyed_state, sessions, values)
    cells = find_cells(samples, sessions, rules.sample_interval_ms)
    samples, is_repeat, firsts = cells.samples, cells.is_repeat, cells.firsts
    was_used = is_repeat[firsts]  # (n_cells,), before the batch
    if is_repeat.any():
        cell_of = np.repeat(np.arange(len(firsts)), np.diff(np.append(firsts, len(is_repeat))))
        # A part may come after its cell was released, but not in time for an earlier cell.
        was_waiting = samples.times[firsts][cell_of] + lateness_ms >= samples.newest  # (n_samples,)
        is_usable = ~was_used[cell_of] & was_waiting  # (n_samples,)
        merged = merge_parts(values[samples.rows], firsts, is_usable)
        values[samples.rows[firsts]] = merged.values  # joined with those that waited: a copy
        is_repeat = is_repeat & ~(merged.is_new & is_usable)
    newest_now = sessions.after.newest_ms[samples.session_of[firsts]]  # (n_cells,)
    is_released = ~was_used & (samples.times[firsts] + lateness_ms < newest_now)  # (n_cells,)
    is_waiting = ~was_used & ~is_released  # (n_cells,)
    waiting = samples.where(firsts[is_waiting])
    if len(cells.joined_to):
        waiting, values = _with_joined(
            waiting, cells.joined.where(is_waiting[cells.joined_to]), values
        )
    _note_joined(cells, was_used | is_released, sessions)
    return _Sorted(samples.where(firsts[is_released]), waiting, samples.records[is_repeat], values)


def _with_joined(
    waiting: Samples, joined: Samples, values: FloatArray
) -> tuple[Samples, FloatArray]:
    """Return what waits, and the halves that belong to it, which have no values of their own.

    Only when the first sample of each half came tells what else belongs to the cell.
    """
    nothing = np.full((1, values.shape[1]), np.nan, dtype=np.float32)
    both = Samples(
        np.concatenate([waiting.session_of, joined.session_of]),
        np.concatenate([waiting.times, joined.times]),
        np.concatenate([waiting.rows, np.full(len(joined.rows), len(values))]),
        np.concatenate([waiting.records, joined.records]),
        np.concatenate([waiting.newest, joined.newest]),
    )  # (n_waiting + n_joined,)
    order = np.lexsort((both.times, both.session_of))  # (n_waiting + n_joined,)
    return both.where(order), np.concatenate([values, nothing])


def _note_joined(cells: Cells, is_used: NDArray[np.bool_], sessions: KeySessions) -> None:
    """Fill in `KeySessions.after.is_joined` by the last cell of each session that was used.

    Parameters
    ----------
    cells
        Samples in their cells.
    is_used
        Whether each cell was used before the batch or is released, shape (n_cells,).
    sessions
        Sessions of the batch.
    """
    of_cells = cells.samples.session_of[cells.firsts]  # (n_cells,)
    has_joined = cells.is_repeat[cells.firsts] & sessions.columns.is_joined[of_cells]  # (n_cells,)
    has_joined[cells.joined_to] = True
    sessions.after.is_joined[of_cells[is_used]] = has_joined[is_used]


def _may_have_parts(keyed_state: KeyedState, sessions: KeySessions, values: FloatArray) -> bool:
    """Return whether any cell of a batch may have to be merged or to wait, or end doing so."""
    has_history = len(keyed_state.reorder_buffer.slots) or sessions.columns.is_parted.any()
    return bool(has_history or np.isnan(values).any())


def _wait_for_parts(
    samples: Samples,
    keyed_state: KeyedState,
    sessions: KeySessions,
    values: FloatArray,
    rules: WindowRules,
) -> _Sorted:
    """Let a cell wait for its parts where the cell before it came in parts.

    Fills in `KeySessions.after.is_parted`.
    """
    samples, values = _with_buffered(samples, keyed_state, sessions, values)
    is_repeat = find_repeats_in_order(samples, sessions, rules.sample_interval_ms)  # (n_samples,)
    is_first = ~is_repeat | is_group_start(samples.session_of)  # (n_samples,)
    firsts = np.flatnonzero(is_first)  # (n_cells,)
    if not len(firsts):
        return _Sorted(samples, samples, samples.records, values)
    cell_of = np.cumsum(is_first) - 1  # (n_samples,)
    cells = samples.where(firsts)
    is_used = is_repeat[firsts]  # (n_cells,), released before the batch
    was_kept = cells.records == FROM_BUFFER  # (n_cells,), in the reorder buffer
    merged = merge_parts(values[samples.rows], firsts, (~is_used | was_kept)[cell_of])
    column = sessions.columns.is_parted[cells.session_of]  # (n_cells,)
    is_parted = merged.has_parts | (column & (is_used | was_kept))  # (n_cells,)
    has_next = ~is_group_end(cells.session_of)  # (n_cells,)
    before = np.where(is_group_start(cells.session_of), column, np.roll(is_parted, 1))  # (n_cells,)
    lacks_values = np.isnan(values[cells.rows]).any(axis=1)  # (n_cells,), its first sample
    is_held = ~is_used & lacks_values & (before | was_kept)  # (n_cells,)
    is_full = merged.full_at != NEVER  # (n_cells,)
    is_released = ~is_used & (~is_held | is_full | has_next)  # (n_cells,)
    ends = np.where(is_full, samples.records[merged.full_at], np.roll(cells.records, -1))
    records = np.where(is_held, ends, cells.records)  # (n_cells,)
    as_merged = np.arange(len(firsts)) + len(values)  # (n_cells,), rows
    used = replace(cells, records=records, rows=np.where(is_held, as_merged, cells.rows))
    kept = replace(cells, rows=as_merged)
    is_kept = ~has_next & ~is_full & (~is_used | was_kept)  # (n_cells,)
    sessions.after.is_parted[cells.session_of[~has_next]] = is_parted[~has_next]
    is_merged = is_held[cell_of] & merged.is_new  # (n_samples,)
    is_repeat &= ~is_merged
    return _Sorted(
        used.where(is_released),
        kept.where(is_kept),
        samples.records[is_repeat],
        np.concatenate([values, merged.values]),
    )


def _by_session(arrivals: Arrivals, sessions: KeySessions, by_key: Indices) -> Arrived:
    """Return the samples of a batch by session, and those of a session as they arrived."""
    counts = arrivals.counts[by_key]  # (n_records,)
    starts = np.cumsum(arrivals.counts)[by_key] - counts  # (n_records,), of each record's samples
    rows = join_ranges(starts, counts)  # (n_samples,)
    records = np.repeat(by_key, counts)  # (n_samples,)
    return Arrived(sessions.of_records[records], arrivals.times_ms[rows], rows, records)


def _with_newest(used: Arrived, sessions: KeySessions) -> tuple[Samples, NDArray[np.float64]]:
    """Return samples with the newest time before each one; and that after it, (n_samples,)."""
    is_first = is_group_start(used.session_of)  # (n_samples,)
    initial = sessions.columns.newest_ms[used.session_of[is_first]]  # (n_sessions_here,)
    newest = running_maximum(used.times_ms, is_first, initial)  # (n_samples,)
    newest_before = np.concatenate([[-np.inf], newest[:-1]])[: len(newest)]  # (n_samples,)
    newest_before[is_first] = initial
    return Samples(*used, newest=newest_before), newest


def _with_buffered(
    arrived: Samples, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
) -> tuple[Samples, FloatArray]:
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
    joined = Samples(
        np.concatenate([first[rows], arrived.session_of]),
        np.concatenate([waiting.times_ms[rows], arrived.times]),
        np.concatenate([rows + len(values), arrived.rows]),
        np.concatenate([np.full(len(rows), FROM_BUFFER), arrived.records]),
        np.concatenate([np.full(len(rows), -np.inf), arrived.newest]),
    )  # (n_touched + n_samples,)
    order = np.argsort(joined.session_of, kind="stable")  # (n_touched + n_samples,)
    return joined.where(order), np.concatenate([values, waiting.values])


def _buffer_after(
    waiting: Samples, keyed_state: KeyedState, sessions: KeySessions, values: FloatArray
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
    arrived: Samples,
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
