"""Samples in order to cells of a grid, and cells to windows.

Pure. A sample's cell follows from the time since the sample before it, rounded to whole intervals,
so jitter moves no sample to another cell. A longer time than `gap_ms_max` starts a new segment. A
window starts at the first sample in each stride of absolute time, and at the first of a segment.
All this depends on the recent past only: the same windows are cut wherever reading starts.

One key, n_steps 4, stride 2, a sample every 10 ms, `gap_ms_max` 40::

    sample at          0    12    19    41    100   110
    segment            0    0     0     0     1     1
    cell               0    1     2     4     0     1
    window starts      x          x     x     x

`lay_out_segments` puts the cells of every segment that completes a window side by side. Here that
is segment 0, whose first window is complete; its other two, and that of segment 1, are not::

    cells              0    12    19    NaN   41
    window at cell 0   0    12    19    NaN
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, is_group_start, runs_of
from stream_detector.core.windowing.key_columns import NO_WINDOW, KeyColumns
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.reordering import InOrder
from stream_detector.core.windowing.repeats import half_intervals
from stream_detector.core.windowing.rules import WindowRules

ROWS_AT_ONCE = 256
"""Rows copied together: they stay in the processor's cache from one array to the other."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Samples in their cells, and the segments that they form.

    Parameters
    ----------
    session_of, times_ms, rows, records
        Session, time, row in the values, and releasing record of each sample, shape (n_samples,);
        by session and then by time, as in `InOrder`.
    distances_ms
        Time since the sample before each one, shape (n_samples,); NaN at the first of a series.
    spans
        Cells from the first one after a gap (or of the series) to each sample, counted up to
        n_steps, shape (n_samples,).
    segments
        Segment of each sample, shape (n_samples,), ascending.
    cells
        Cell of each sample, shape (n_samples,), counted from the start of the oldest incomplete
        window of its segment; below 0 where no window had started yet.
    is_start
        Whether a window starts at each sample, shape (n_samples,).
    firsts
        First sample of each segment, shape (n_segments,).
    has_prefix
        Whether each segment continues cells of the key's row in the keyed state, shape
        (n_segments,).
    has_window
        Whether a window has started in each segment, shape (n_segments,).
    gaps
        Samples before which there was a gap, shape (n_gaps,).
    """

    session_of: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
    distances_ms: NDArray[np.float64]
    spans: Indices
    segments: Indices
    cells: Indices
    is_start: NDArray[np.bool_]
    firsts: Indices
    has_prefix: NDArray[np.bool_]
    has_window: NDArray[np.bool_]
    gaps: Indices

    @property
    def lasts(self) -> Indices:
        """Return the last sample of each segment, shape (n_segments,)."""
        return np.append(self.firsts[1:] - 1, len(self.session_of) - 1)[: len(self.firsts)]

    @property
    def session_of_segment(self) -> Indices:
        """Return the session of each segment, shape (n_segments,)."""
        return self.session_of[self.firsts]


def align(in_order: InOrder, rules: WindowRules) -> Aligned:
    """Give each sample its cell.

    Parameters
    ----------
    in_order
        Samples by session and time.
    rules
        Interval, stride and longest gap.
    """
    session_of, times = in_order.session_of, in_order.times_ms  # (n_samples,)
    columns = in_order.sessions.columns  # (n_sessions,)
    before = _times_before(session_of, times, columns.last_ms)  # (n_samples,)
    distance = times - before  # (n_samples,), NaN at the first sample of a series
    is_gap = distance > rules.gap_ms_max  # (n_samples,)
    is_fresh = np.isnan(before) | is_gap  # (n_samples,)
    is_first = is_fresh | is_group_start(session_of)  # (n_samples,)
    firsts = np.flatnonzero(is_first)  # (n_segments,)
    segments = np.cumsum(is_first) - 1  # (n_samples,)
    steps = np.floor(np.where(is_fresh, 0.0, distance) / rules.sample_interval_ms + 0.5)
    steps = np.where(is_fresh, 0, np.maximum(steps, 1)).astype(np.intp)  # (n_samples,)
    total = np.cumsum(steps)  # (n_samples,)
    relative = total - (total - steps)[firsts][segments]  # (n_samples,), since before the segment
    is_continued = ~is_fresh[firsts]  # (n_segments,)
    of_segments = session_of[firsts]  # (n_segments,)
    span_before = np.where(is_continued, columns.span[of_segments], 1)  # (n_segments,)
    cell_before = np.where(is_continued, columns.last_cell[of_segments], 0)  # (n_segments,)
    has_prefix = is_continued & (columns.last_cell[of_segments] != NO_WINDOW)  # (n_segments,)
    is_start = is_fresh | _starts_stride(times, before, rules)  # (n_samples,)
    cells = cell_before[segments] + relative  # (n_samples,)
    origin, has_window = _origins(cells, is_start, segments, has_prefix)  # (n_segments,)
    return Aligned(
        session_of=session_of,
        times_ms=times,
        rows=in_order.rows,
        records=in_order.records,
        distances_ms=distance,
        spans=np.minimum(span_before[segments] + relative, rules.n_steps),
        segments=segments,
        cells=cells - origin[segments],
        is_start=is_start,
        firsts=firsts,
        has_prefix=has_prefix,
        has_window=has_window,
        gaps=np.flatnonzero(is_gap),
    )


def _starts_stride(
    times: NDArray[np.float64], before: NDArray[np.float64], rules: WindowRules
) -> NDArray[np.bool_]:
    """Return which samples are the first of their key in a stride of absolute time.

    A stride starts half an interval early, so that jitter does not move samples on its very
    boundary from one stride to the other.

    Parameters
    ----------
    times, before
        Time of each sample and of the one before it, shape (n_samples,); NaN for none.
    rules
        Interval and stride.
    """
    if rules.stride == 1:
        return np.ones(len(times), dtype=np.bool_)

    def strides(times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        halves = half_intervals(times_ms, rules.sample_interval_ms)  # (n_samples,)
        found: NDArray[np.float64] = np.floor((halves + 1) / (2 * rules.stride))  # (n_samples,)
        return found

    is_first: NDArray[np.bool_] = strides(times) != strides(before)  # (n_samples,)
    return is_first


def _origins(
    cells: Indices,
    is_start: NDArray[np.bool_],
    segments: Indices,
    has_prefix: NDArray[np.bool_],
) -> tuple[Indices, NDArray[np.bool_]]:
    """Return where the oldest incomplete window of each segment starts, and whether there is one.

    Parameters
    ----------
    cells, is_start, segments
        Cell of each sample, whether a window starts there, and its segment, shape (n_samples,).
    has_prefix
        Whether each segment continues a row of the keyed state, which starts with that window,
        shape (n_segments,).

    Returns
    -------
    Cells and truth values, shape (n_segments,).
    """
    origin = np.zeros(len(has_prefix), dtype=np.intp)  # (n_segments,)
    has_window = has_prefix.copy()  # (n_segments,)
    starts = np.flatnonzero(is_start)[::-1]  # the first start of a segment is written last
    origin[segments[starts]] = cells[starts]
    has_window[segments[starts]] = True
    origin[has_prefix] = 0
    return origin, has_window


def _times_before(
    session_of: Indices, times: NDArray[np.float64], last_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the time of the sample before each one, shape (n_samples,), NaN where there is none.

    Parameters
    ----------
    session_of, times
        Session and time of each sample, shape (n_samples,).
    last_ms
        Time of each session's last sample before these, shape (n_sessions,).
    """
    before = np.concatenate([[np.nan], times[:-1]])[: len(times)]  # (n_samples,)
    firsts = np.flatnonzero(is_group_start(session_of))  # (n_sessions_here,)
    before[firsts] = last_ms[session_of[firsts]]
    return before


@dataclass(frozen=True, slots=True)
class SegmentBuffer:
    """The cells of all segments that complete a window, one segment after the other.

    Parameters
    ----------
    values
        Float32, shape (n_cells, n_features), unit: the signal's; NaN where no sample is.
    is_start
        Whether a window starts in each cell, shape (n_cells,).
    segments, begins, lengths
        Which segments these are, their first cells, and how many cells they have, each of shape
        (n_complete_segments,).
    samples, cells
        Samples that are in the buffer, ascending, and the cell of each, shape (n_buffered,).
    """

    values: FloatArray
    is_start: NDArray[np.bool_]
    segments: Indices
    begins: Indices
    lengths: Indices
    samples: Indices
    cells: Indices

    def segment_at(self, cells: Indices) -> Indices:
        """Return the index in `segments` of the segment in which each cell is, same shape."""
        return np.searchsorted(self.begins, cells, side="right") - 1

    def gather(self, cells: Indices, n_steps: int) -> FloatArray:
        """Return n_steps cells from each of the given ones, shape (n, n_steps, n_features)."""
        n_features = self.values.shape[1]
        if not len(cells):
            return np.empty((0, n_steps, n_features), dtype=np.float32)
        runs = runs_of(self.values.reshape(-1), n_steps * n_features)
        windows: FloatArray = runs[cells * n_features].reshape(-1, n_steps, n_features)
        return windows  # (n, n_steps, n_features)


def lay_out_segments(
    keyed_state: KeyedState, in_order: InOrder, aligned: Aligned, n_steps: int
) -> SegmentBuffer:
    """Put the cells of all segments that complete a window side by side.

    Parameters
    ----------
    keyed_state
        Holds the cells that segments continue; only its scratch memory is changed.
    in_order
        Holds the values of the samples.
    aligned
        The same samples in their cells.
    n_steps
        Cells of a window.
    """
    last_cells = aligned.cells[aligned.lasts]  # (n_segments,)
    segments = np.flatnonzero(aligned.has_window & (last_cells >= n_steps - 1))  # (n_complete,)
    lengths = last_cells[segments] + 1  # (n_complete,)
    begins = np.cumsum(lengths) - lengths  # (n_complete,)
    n_cells = int(lengths.sum()) + n_steps  # so that n_steps cells can be read from any cell
    begin_of = np.full(len(aligned.firsts), -1, dtype=np.intp)  # (n_segments,)
    begin_of[segments] = begins
    is_here = (begin_of[aligned.segments] >= 0) & (aligned.cells >= 0)  # (n_samples,)
    samples = np.flatnonzero(is_here)  # (n_buffered,)
    cells = begin_of[aligned.segments[samples]] + aligned.cells[samples]  # (n_buffered,)
    is_continued = aligned.has_prefix[segments]  # (n_complete,)
    sessions = aligned.session_of_segment[segments][is_continued]  # (n_continued,)
    n_known = len(samples) + int((in_order.sessions.columns.last_cell[sessions] + 1).sum())
    values = keyed_state.scratch(n_cells)  # (n_cells, n_features)
    if n_known < n_cells - n_steps:  # else every cell has its sample
        values.fill(np.nan)
    is_start = np.zeros(n_cells, dtype=np.bool_)  # (n_cells,)
    buffer = SegmentBuffer(values, is_start, segments, begins, lengths, samples, cells)
    _copy_rows(keyed_state, in_order.sessions.slots[sessions], buffer, begins[is_continued])
    values[cells] = in_order.values[aligned.rows[samples]]
    is_start[cells] = aligned.is_start[samples]
    return buffer


def _copy_rows(
    keyed_state: KeyedState, slots: Indices, buffer: SegmentBuffer, begins: Indices
) -> None:
    """Copy rows of the keyed state to the buffer, each to the first cells of its segment.

    Each row is one block of n_steps cells here and there. Some rows at a time stay in the
    processor's cache between the two.

    Parameters
    ----------
    slots, begins
        Slot of each row, and the cell to which it is copied, shape (n_continued,).
    """
    n_steps, n_features = keyed_state.rows.shape[1:]
    rows = keyed_state.rows.reshape(-1, n_steps * n_features)  # (n_slots, n_steps * n_features)
    flat = buffer.values.reshape(-1)  # (n_cells * n_features,)
    runs = runs_of(flat, n_steps * n_features)
    start_runs = runs_of(buffer.is_start, n_steps)
    for start in range(0, len(slots), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        runs[begins[some] * n_features] = rows[slots[some]]  # (n_some, n_steps * n_features)
        bits = np.unpackbits(keyed_state.starts[slots[some]], axis=1, count=n_steps)
        start_runs[begins[some]] = bits  # (n_some, n_steps)


def columns_after(in_order: InOrder, aligned: Aligned, last_cells: Indices) -> KeyColumns:
    """Return the columns of the keyed state after a batch, for each session.

    Parameters
    ----------
    in_order, aligned
        Samples of the batch.
    last_cells
        `KeyColumns.last_cell` at the end of each segment, shape (n_segments,).
    """
    after = in_order.sessions.after
    of_segments = aligned.session_of_segment  # (n_segments,); a session's last one is written last
    after.last_ms[of_segments] = aligned.times_ms[aligned.lasts]
    after.span[of_segments] = aligned.spans[aligned.lasts]
    after.last_cell[of_segments] = last_cells
    return after
