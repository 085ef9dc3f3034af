"""Settled samples to cells, cells to windows.

Pure. A sample's cell follows from the sample before it, and a window begins at the first sample in
each stride of absolute time: both depend on the recent past only, so that the same windows are cut
wherever one begins to read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.keyed_state import NONE_BEGUN, KeyColumns, KeyedState
from stream_detector.core.windowing.reordering import InOrder, half_intervals

ROWS_AT_ONCE = 256
"""Rows copied together: they stay in the processor's cache from one array to the other."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How time is divided: window length, stride (both in cells), interval and longest gap."""

    n_steps: int
    stride: int
    interval_ms: float
    gap_ms_max: float


@dataclass(frozen=True, slots=True)
class Aligned:
    """Samples in their cells, and the stretches without a gap they form.

    Parameters
    ----------
    sessions, times_ms, rows, records
        Of each sample, as in `InOrder`.
    spans
        Cells since the series began or began again, up to a window's length.
    segments
        Stretch of each sample, ascending.
    cells
        Cell of each sample, counted from the start of its stretch's oldest window under way;
        below 0 where none was under way yet.
    is_start
        Whether a window begins at it.
    firsts
        First sample of each stretch, shape (n_stretches,).
    has_prefix
        Whether a stretch goes on from cells that the key's row holds.
    has_window
        Whether a window is under way in a stretch.
    gaps
        Samples before which there was a gap.
    """

    sessions: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices
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
        """Return the last sample of each stretch."""
        return np.append(self.firsts[1:] - 1, len(self.sessions) - 1)[: len(self.firsts)]


def align(in_order: InOrder, grid: Grid) -> Aligned:
    """Give each sample its cell."""
    sessions, times = in_order.of_samples, in_order.times_ms
    columns = in_order.sessions.columns
    before = _times_before(sessions, times, columns.last_ms)
    distance = times - before  # NaN at the first sample of a series
    is_gap = distance > grid.gap_ms_max
    is_fresh = np.isnan(before) | is_gap
    is_session = np.concatenate(
        [np.ones(min(len(sessions), 1), np.bool_), sessions[1:] != sessions[:-1]]
    )
    is_first = is_fresh | is_session
    firsts = np.flatnonzero(is_first)
    segments = np.cumsum(is_first) - 1
    steps = np.floor(np.where(is_fresh, 0.0, distance) / grid.interval_ms + 0.5)
    steps = np.where(is_fresh, 0, np.maximum(steps, 1)).astype(np.intp)
    is_continued = ~is_fresh[firsts]
    total = np.cumsum(steps)
    relative = total - (total - steps)[firsts][segments]  # steps since before the stretch
    of_firsts = sessions[firsts]
    span_before = np.where(is_continued, columns.span[of_firsts], 1)
    cell_before = np.where(is_continued, columns.last_cell[of_firsts], 0)
    has_prefix = is_continued & (columns.last_cell[of_firsts] != NONE_BEGUN)
    is_start = is_fresh | _begins_stride(times, before, grid)
    cells = cell_before[segments] + relative
    origin, has_window = _origins(cells, is_start, segments, has_prefix)
    return Aligned(
        sessions=sessions,
        times_ms=times,
        rows=in_order.rows,
        records=in_order.records,
        spans=np.minimum(span_before[segments] + relative, grid.n_steps),
        segments=segments,
        cells=cells - origin[segments],
        is_start=is_start,
        firsts=firsts,
        has_prefix=has_prefix,
        has_window=has_window,
        gaps=np.flatnonzero(is_gap),
    )


def _begins_stride(
    times: NDArray[np.float64], before: NDArray[np.float64], grid: Grid
) -> NDArray[np.bool_]:
    """Return which samples are the first of their key in a stride of absolute time.

    A stride begins half an interval early, so that samples on the very boundary do not fall now
    before and now after it.
    """
    if grid.stride == 1:
        return np.ones(len(times), dtype=np.bool_)

    def strides(times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.floor(
            (half_intervals(times_ms, grid.interval_ms) + 1) / (2 * grid.stride)
        )
        return found

    begins: NDArray[np.bool_] = strides(times) != strides(before)
    return begins


def _origins(
    cells: Indices,
    is_start: NDArray[np.bool_],
    segments: Indices,
    has_prefix: NDArray[np.bool_],
) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the cell of each stretch's oldest window under way, and whether there is one."""
    origin = np.zeros(len(has_prefix), dtype=np.intp)
    has_window = has_prefix.copy()
    starts = np.flatnonzero(is_start)[::-1]  # the first start of a stretch is set last
    origin[segments[starts]] = cells[starts]
    has_window[segments[starts]] = True
    origin[has_prefix] = 0
    return origin, has_window


def _times_before(
    sessions: Indices, times: NDArray[np.float64], last_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the time of the sample before each one, NaN where there is none."""
    before = np.concatenate([[np.nan], times[:-1]])[: len(times)]
    firsts = np.flatnonzero(
        np.concatenate([[True], sessions[1:] != sessions[:-1]])[: len(sessions)]
    )
    before[firsts] = last_ms[sessions[firsts]]
    return before


@dataclass(frozen=True, slots=True)
class SegmentBuffer:
    """The cells of stretches that complete a window, one stretch after the other.

    Parameters
    ----------
    values
        Float32, shape (n_cells, n_features), NaN where no sample is.
    is_start
        Whether a window begins in a cell, shape (n_cells,).
    segments, begins, lengths
        Which stretches are here, where each begins, and how many cells it has.
    samples, cells
        Samples that are here, ascending, and the cell of each.
    """

    values: FloatArray
    is_start: NDArray[np.bool_]
    segments: Indices
    begins: Indices
    lengths: Indices
    samples: Indices
    cells: Indices

    def gather(self, cells: Indices, n_steps: int) -> FloatArray:
        """Return the cells from each of some cells on, shape (n, n_steps, n_features)."""
        n_features = self.values.shape[1]
        if not len(cells):
            return np.empty((0, n_steps, n_features), dtype=np.float32)
        runs = sliding_window_view(self.values.reshape(-1), n_steps * n_features)
        windows: FloatArray = runs[cells * n_features].reshape(-1, n_steps, n_features)
        return windows


def lay_out_segments(
    keyed_state: KeyedState, in_order: InOrder, aligned: Aligned, n_steps: int
) -> SegmentBuffer:
    """Lay the cells of all stretches that complete a window side by side."""
    last_cells = aligned.cells[aligned.lasts]
    segments = np.flatnonzero(aligned.has_window & (last_cells >= n_steps - 1))
    lengths = last_cells[segments] + 1
    begins = np.cumsum(lengths) - lengths
    n_cells = int(lengths.sum()) + n_steps  # so that a row can be read from any cell
    begin_of = np.full(len(aligned.firsts), -1, dtype=np.intp)
    begin_of[segments] = begins
    samples = np.flatnonzero((begin_of[aligned.segments] >= 0) & (aligned.cells >= 0))
    cells = begin_of[aligned.segments[samples]] + aligned.cells[samples]
    is_continued = aligned.has_prefix[segments]
    sessions = aligned.sessions[aligned.firsts[segments]][is_continued]
    n_known = len(samples) + int((in_order.sessions.columns.last_cell[sessions] + 1).sum())
    values = keyed_state.scratch(n_cells)
    if n_known < n_cells - n_steps:  # else every cell has its sample
        values.fill(np.nan)
    is_start = np.zeros(n_cells, dtype=np.bool_)
    _copy_rows(
        keyed_state, in_order.sessions.slots[sessions], values, is_start, begins[is_continued]
    )
    values[cells] = in_order.values[aligned.rows[samples]]
    is_start[cells] = aligned.is_start[samples]
    return SegmentBuffer(values, is_start, segments, begins, lengths, samples, cells)


def _copy_rows(
    keyed_state: KeyedState,
    slots: Indices,
    values: FloatArray,
    is_start: NDArray[np.bool_],
    begins: Indices,
) -> None:
    """Copy rows of the pool to the tape, each from its stretch's first cell on.

    A row is n_steps cells in one piece, here and there; some rows at a time stay in the
    processor's cache between the two.
    """
    n_steps, n_features = keyed_state.rows.shape[1:]
    rows = keyed_state.rows.reshape(-1, n_steps * n_features)
    runs = sliding_window_view(values.reshape(-1), n_steps * n_features, writeable=True)
    start_runs = sliding_window_view(is_start, n_steps, writeable=True)
    for start in range(0, len(slots), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        runs[begins[some] * n_features] = rows[slots[some]]
        bits = np.unpackbits(keyed_state.starts[slots[some]], axis=1, count=n_steps)
        start_runs[begins[some]] = bits


def columns_after(in_order: InOrder, aligned: Aligned, last_cells: Indices) -> KeyColumns:
    """Return what is to be remembered of each life; `last_cells` is one a stretch."""
    sessions = in_order.sessions
    after = sessions.columns.take(np.arange(len(sessions.slots)))
    of_segments = aligned.sessions[aligned.firsts]
    # The last stretch of a life is set last.
    after.last_ms[of_segments] = aligned.times_ms[aligned.lasts]
    after.span[of_segments] = aligned.spans[aligned.lasts]
    after.last_cell[of_segments] = last_cells
    after.newest_ms[:] = sessions.newest_ms
    after.seen_ms[:] = sessions.seen_ms
    # The first sample of a generation that is newer than all before it.
    rises = np.isposinf(after.mark_ms) & (sessions.newest_ms > sessions.columns.newest_ms)
    after.mark_ms[rises] = sessions.columns.newest_ms[rises]
    return after
