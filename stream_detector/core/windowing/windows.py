"""Windows cut from samples, batch by batch: which windows a batch completes, and what is kept.

Pure. `assign_windows` puts the samples of a batch in order (`reordering`), gives them cells
(`grid`), and returns each window all of whose cells have passed, with the record that completed it.
What the next batch needs is returned as a `WindowState`.

One key, n_steps 4, stride 2, a sample every 10 ms, no lateness allowed; two batches of one record
each::

    batch   samples at          windows that it completes      kept for the next batch
    1       0 10 20 30 40       0-30                           cells 20 30 40, starts at 20 and 40
    2       50 60               20-50                          cells 40 50 60, starts at 40 and 60

A window whose last sample is missing is completed by the first sample after its last cell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, is_group_end, runs_of
from stream_detector.core.windowing.grid import (
    ROWS_AT_ONCE,
    Aligned,
    SegmentBuffer,
    align,
    columns_after,
    lay_out_segments,
)
from stream_detector.core.windowing.key_columns import NO_WINDOW
from stream_detector.core.windowing.keyed_state import RowPart, StateDelta
from stream_detector.core.windowing.missing_features import follow_features
from stream_detector.core.windowing.reordering import InOrder, reorder_samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState


def assign_windows(state: WindowState, rules: WindowRules, arrivals: Arrivals) -> WindowBatch:
    """Cut the windows that a batch of records completes.

    Parameters
    ----------
    state
        State after the batch before; `WindowState.empty` for the first.
    rules
        How windows are cut.
    arrivals
        At least one record, in the order of arrival.
    """
    keyed_state = state.apply_delta()
    slots, added = keyed_state.find(arrivals.keys, arrivals.partitions)  # (n_records,)
    in_order = reorder_samples(keyed_state, slots, arrivals, rules)
    aligned = align(in_order, rules)
    buffer = lay_out_segments(keyed_state, in_order, aligned, rules.n_steps)
    delta = _delta(in_order, aligned, buffer, added, rules.n_steps)
    features = None
    if rules.no_data_after_ms is not None:
        features = follow_features(keyed_state, in_order, rules)
        delta.feature_ms = features.value_ms
    cells, records, end_ms = _find_complete(aligned, buffer, rules)  # (n_windows,)
    order = np.argsort(records, kind="stable")  # (n_windows,)
    segments = buffer.segments[buffer.segment_at(cells)]  # (n_windows,)
    sessions = aligned.session_of_segment[segments]  # (n_windows,)
    end_ms = end_ms[order]
    return WindowBatch(
        state=WindowState(keyed_state, delta, object(), state.token),
        records=records[order],
        slots=in_order.sessions.slots[sessions][order],
        start_ms=round_to_ms(end_ms - rules.span_ms),
        end_ms=round_to_ms(end_ms),
        n_late=in_order.followed.n_late,
        n_repeated=in_order.n_repeated,
        n_held=in_order.followed.n_held,
        n_used=len(in_order.followed.used.rows) - int(in_order.n_repeated.sum()),
        late=in_order.followed.late,
        outliers=in_order.followed.outliers,
        clock_sets=in_order.followed.clock_sets,
        is_warm=_is_warm(in_order, aligned, rules.n_steps),
        gap_slots=in_order.sessions.slots[aligned.session_of[aligned.gaps]],
        gap_records=aligned.records[aligned.gaps],
        gap_ms=aligned.times_ms[aligned.gaps],
        is_cold_gap=_spans_before_gaps(in_order, aligned) < rules.n_steps,
        expired=in_order.expired,
        silences=in_order.silences,
        missing_features=None if features is None else features.changes,
        in_order=in_order,
        aligned=aligned,
        buffer=buffer,
        cells=cells[order],
        rules=rules,
    )


def _find_complete(
    aligned: Aligned, buffer: SegmentBuffer, rules: WindowRules
) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """Return the complete windows: first cell, completing record, and time of the last cell.

    Returns
    -------
    Each of shape (n_windows,). Where the last cell has no sample, its time follows from the first
    sample after it.
    """
    last_starts = buffer.begins + buffer.lengths - rules.n_steps  # (n_complete_segments,)
    cells = np.flatnonzero(buffer.is_start)  # (n_starts,)
    cells = cells[cells <= last_starts[buffer.segment_at(cells)]]  # (n_windows,)
    needed = cells + rules.n_steps - 1  # (n_windows,), the last cell of each
    first = np.searchsorted(buffer.cells, needed)  # (n_windows,), first sample there or later
    samples = buffer.samples[first]  # (n_windows,)
    n_after = buffer.cells[first] - needed  # (n_windows,), cells from the last one to that sample
    end_ms = aligned.times_ms[samples] - n_after * rules.sample_interval_ms  # (n_windows,)
    return cells, aligned.records[samples], end_ms


def _delta(
    in_order: InOrder,
    aligned: Aligned,
    buffer: SegmentBuffer,
    added: Sequence[tuple[int, bytes, int]],
    n_steps: int,
) -> StateDelta:
    """Return what a batch changes in the keyed state.

    Of each key, the last segment of its last session is kept. If the segment completed a window,
    it is in the buffer and its row is set as a whole. If not, its samples are added to the row as
    single cells; a row without a prefix is emptied before.
    """
    sessions = in_order.sessions
    of_segments = aligned.session_of_segment  # (n_segments,)
    is_kept = is_group_end(of_segments) & sessions.is_last[of_segments]  # (n_segments,)
    last_cells = np.where(aligned.has_window, aligned.cells[aligned.lasts], NO_WINDOW)
    is_complete = np.zeros(len(of_segments), dtype=np.bool_)  # (n_segments,)
    is_complete[buffer.segments] = True
    starts, after = _incomplete_windows(buffer, n_steps)  # (n_complete_segments,)
    last_cells[buffer.segments] = after  # (n_segments,)
    kept = np.flatnonzero(is_kept[buffer.segments] & (after != NO_WINDOW))  # (n_kept,)
    is_added_to = is_kept & aligned.has_window & ~is_complete  # (n_segments,)
    blank = np.flatnonzero(is_added_to & ~aligned.has_prefix)  # (n_blank,)
    samples = np.flatnonzero(is_added_to[aligned.segments] & (aligned.cells >= 0))  # (n_added,)
    cell_slots = sessions.slots[aligned.session_of[samples]]  # (n_added,)
    is_start = aligned.is_start[samples]  # (n_added,)
    rows = _Rows(
        buffer=buffer,
        blank=sessions.slots[of_segments[blank]],
        slots=sessions.slots[of_segments[buffer.segments[kept]]],
        starts=starts[kept],
        last_cells=after[kept],
        n_steps=n_steps,
    )
    return StateDelta(
        added=added,
        stream_times_ms=in_order.stream_time.ends_ms,
        slots=sessions.slots,
        columns=columns_after(in_order, aligned, last_cells),
        rows=rows.parts,
        cell_slots=cell_slots,
        cells=aligned.cells[samples],
        values=in_order.values[aligned.rows[samples]],
        start_slots=cell_slots[is_start],
        start_cells=aligned.cells[samples][is_start],
        reorder_buffer=in_order.reorder_buffer,
        held=in_order.followed.held,
        jumps=in_order.stream_time.jumps,
        freed=in_order.expired.idle,
    )


def _incomplete_windows(buffer: SegmentBuffer, n_steps: int) -> tuple[Indices, Indices]:
    """Return where the first incomplete window of each segment starts, and its last cell so far.

    Returns
    -------
    First cells in the buffer, -1 for none, and last cells counted from there, `NO_WINDOW` for
    none; each of shape (n_complete_segments,).
    """
    n_segments = len(buffer.segments)
    starts = np.full(n_segments, -1, dtype=np.intp)  # (n_complete_segments,)
    last_cells = np.full(n_segments, NO_WINDOW, dtype=np.intp)  # (n_complete_segments,)
    cells = np.flatnonzero(buffer.is_start)[::-1]  # (n_starts,)
    segments = buffer.segment_at(cells)  # (n_starts,)
    is_incomplete = cells > (buffer.begins + buffer.lengths - n_steps)[segments]  # (n_starts,)
    starts[segments[is_incomplete]] = cells[is_incomplete]  # the first one is written last
    has_one = starts >= 0  # (n_complete_segments,)
    last_cells[has_one] = (buffer.begins + buffer.lengths - 1 - starts)[has_one]
    return starts, last_cells


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of the keyed state that a batch sets as a whole.

    Parameters
    ----------
    buffer
        Cells of segments that completed a window.
    blank
        Slots whose rows are emptied, shape (n_blank,).
    slots, starts, last_cells
        Slots whose rows come from the buffer, the cell there at which each starts, and its last
        cell counted from there, each of shape (n_kept,).
    n_steps
        Cells of a row.
    """

    buffer: SegmentBuffer
    blank: Indices
    slots: Indices
    starts: Indices
    last_cells: Indices
    n_steps: int

    def parts(self) -> Iterator[RowPart]:
        """Yield slots, rows and packed starts, some rows at a time."""
        n_features = self.buffer.values.shape[1]
        for start in range(0, len(self.blank), ROWS_AT_ONCE):
            slots = self.blank[start : start + ROWS_AT_ONCE]
            rows = np.full((len(slots), self.n_steps, n_features), np.nan, dtype=np.float32)
            yield slots, rows, np.zeros((len(slots), -(-self.n_steps // 8)), dtype=np.uint8)
        for start in range(0, len(self.slots), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            yield self.slots[some], *self._of_buffer(self.starts[some], self.last_cells[some])

    def _of_buffer(
        self, starts: Indices, last_cells: Indices
    ) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Return rows and packed starts; cells after the last one belong to another segment."""
        rows = self.buffer.gather(starts, self.n_steps)  # (n_rows, n_steps, n_features)
        is_beyond = np.arange(self.n_steps) > last_cells[:, np.newaxis]  # (n_rows, n_steps)
        rows[is_beyond] = np.nan
        begins = runs_of(self.buffer.is_start, self.n_steps)[starts] & ~is_beyond
        return rows, np.packbits(begins, axis=1)  # (n_rows, ceil(n_steps / 8))


def _is_warm(in_order: InOrder, aligned: Aligned, n_steps: int) -> NDArray[np.bool_]:
    """Return whether the key of each record had a complete window by then, shape (n_records,)."""
    sessions = in_order.sessions
    n_records = len(sessions.of_records)
    # Session and record make one number that ascends, so one search finds each record's latest
    # released sample.
    at = np.searchsorted(
        aligned.session_of * n_records + aligned.records,
        sessions.of_records * n_records + np.arange(n_records),
        side="right",
    )  # (n_records,)
    latest = np.maximum(at - 1, 0)  # (n_records,)
    spans = sessions.columns.span[sessions.of_records]  # (n_records,), where nothing was released
    if len(aligned.session_of):
        is_released = (at > 0) & (aligned.session_of[latest] == sessions.of_records)  # (n_records,)
        spans = np.where(is_released, aligned.spans[latest], spans)  # (n_records,)
    is_warm: NDArray[np.bool_] = spans >= n_steps  # (n_records,)
    return is_warm


def _spans_before_gaps(in_order: InOrder, aligned: Aligned) -> Indices:
    """Return `Aligned.spans` of the last sample before each gap, shape (n_gaps,)."""
    gaps = aligned.gaps  # (n_gaps,)
    sessions = aligned.session_of[gaps]  # (n_gaps,)
    before = np.maximum(gaps - 1, 0)  # (n_gaps,)
    is_here = (gaps > 0) & (aligned.session_of[before] == sessions)  # (n_gaps,)
    spans: Indices = np.where(
        is_here, aligned.spans[before], in_order.sessions.columns.span[sessions]
    )  # (n_gaps,)
    return spans


def round_to_ms(times_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return times in whole milliseconds, same shape; halves are rounded up."""
    return np.floor(times_ms + 0.5).astype(np.int64)
