"""Windows cut from samples: by key, in event time, the same offline, live and on replay.

Pure. Samples are put in order (`ordering`) and given cells (`placing`), and each window that has
all its cells behind it is handed out with the record that completed it. What is remembered between
two batches belongs to the partitions they are of (`series`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.grid import (
    ROWS_AT_ONCE,
    Aligned,
    Grid,
    SegmentBuffer,
    align,
    columns_after,
    lay_out_segments,
)
from stream_detector.core.windowing.imputation import MissingRule, impute
from stream_detector.core.windowing.keyed_state import NONE_BEGUN, KeyedState, RowPart, StateDelta
from stream_detector.core.windowing.reordering import InOrder, Limits, reorder_samples
from stream_detector.core.windowing.sessions import Arrivals, Expired

_NO_SLOTS = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How windows are cut from samples.

    Parameters
    ----------
    n_steps, n_features
        Shape of a window.
    stride
        Samples between the starts of two windows, >= 1.
    sample_interval_ms
        Time between two samples, >= 1.
    gap_ms_max
        After a longer time without a sample a series starts again.
    allowed_lateness_ms
        How far a sample may be behind the newest of its key. Samples wait so long for others.
    missing
        What is done about missing values.
    missing_share_max
        Windows with a larger share of missing values are not scored, 0 to 1.
    key_ttl_ms
        A key without a record for so long, on its partition's clock, is forgotten.
    """

    n_steps: int
    n_features: int
    stride: int
    sample_interval_ms: float
    gap_ms_max: float
    allowed_lateness_ms: float
    missing: MissingRule
    missing_share_max: float
    key_ttl_ms: float

    @property
    def span_ms(self) -> float:
        """Return the time from the first to the last sample of a window."""
        return (self.n_steps - 1) * self.sample_interval_ms

    @property
    def needed_ms(self) -> float:
        """Return how much of a key's past its windows under way can reach back at most.

        A cell is up to one and a half intervals long, and what is still late can come before it.
        """
        return 1.5 * (self.n_steps + 2) * self.sample_interval_ms + self.allowed_lateness_ms


@dataclass(frozen=True, slots=True)
class WindowState:
    """What is remembered between two batches.

    A state can be stepped from again, with the same result, until one that came from it was
    stepped from: all states of a stream share their rows.
    """

    keyed_state: KeyedState
    delta: StateDelta | None
    token: object
    before: object

    @classmethod
    def empty(cls, rules: WindowRules) -> "WindowState":
        """Return the state before the first batch."""
        return cls(KeyedState(rules.n_steps, rules.n_features), None, None, None)

    def apply_delta(self) -> KeyedState:
        """Carry out what the last batch changed, and return the rows.

        Raises
        ------
        ValueError
            If a later state was used already: the caller's mistake.
        """
        if self.keyed_state.token is self.token:
            return self.keyed_state
        if self.keyed_state.token is not self.before or self.delta is None:
            message = "this state was overtaken: step from the newest one"
            raise ValueError(message)
        self.keyed_state.apply(self.delta)
        self.keyed_state.token = self.token
        return self.keyed_state

    @property
    def n_keys(self) -> int:
        """Return how many keys are remembered."""
        if self.delta is None or self.keyed_state.token is self.token:
            return self.keyed_state.n_keys
        return self.keyed_state.n_keys + len(self.delta.added) - len(self.delta.freed)

    def keys_of(self, slots: Indices) -> list[bytes]:
        """Return the keys that are remembered in some slots, or are going to be."""
        added = {} if self.delta is None else {slot: key for _, key, slot in self.delta.added}
        n_slots, keys = self.keyed_state.n_slots, self.keyed_state.keys
        known, places = np.unique(slots, return_inverse=True)
        names = [
            (keys[slot] if slot < n_slots else None) or added.get(slot, b"")
            for slot in known.tolist()
        ]
        return [names[align] for align in places.tolist()]

    def drop_partitions(self, partitions: Sequence[int]) -> "WindowState":
        """Drop everything of partitions that are read elsewhere now."""
        self.apply_delta().drop_partitions(partitions)
        return self


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """The windows that a batch completed, in the order in which they were completed.

    Parameters
    ----------
    state
        For the next batch.
    records
        The record that completed each window, shape (n_windows,), ascending.
    slots
        Where its key is remembered; one key, one slot, while it is not idle for too long.
    start_ms, end_ms
        Times of its first and last sample, whole milliseconds.
    n_late, n_repeated
        Samples of each record that came too late, or of whose time there was one already, shape
        (n_records,).
    is_warm
        Whether the key of each record had a complete window since it (re)started, shape
        (n_records,).
    gap_slots, gap_records, gap_ms
        Keys that started again after a gap, the record that showed it, and the time at which they
        did.
    expired
        Keys that were idle for too long.
    """

    state: WindowState
    records: Indices
    slots: Indices
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    n_late: Indices
    n_repeated: Indices
    is_warm: NDArray[np.bool_]
    gap_slots: Indices
    gap_records: Indices
    gap_ms: NDArray[np.float64]
    expired: Expired
    buffer: SegmentBuffer
    cells: Indices
    rules: WindowRules

    def __len__(self) -> int:
        return len(self.records)

    def gather(self, part: slice | Indices) -> FloatArray:
        """Return some windows as they were received, NaN where a value is missing.

        Returns
        -------
        Float32, shape (n, n_steps, n_features), unit: the signal's.
        """
        return self.buffer.gather(self.cells[part], self.rules.n_steps)


def impute_windows(
    windows: FloatArray, rules: WindowRules
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Impute missing values as the rules say.

    Returns
    -------
    The windows, NaN in those that cannot be scored; and each one's share of missing values, shape
    (n_windows,). A window over `missing_share_max` is NaN throughout.
    """
    is_missing = np.isnan(windows)
    if not is_missing.any():
        return windows, np.zeros(len(windows))
    shares: NDArray[np.float64] = is_missing.mean(axis=(1, 2))
    filled = impute(windows, rules.missing)
    is_over = shares > rules.missing_share_max
    if is_over.any():
        filled = filled.copy()
        filled[is_over] = np.nan
    return filled, shares


def assign_windows(state: WindowState, rules: WindowRules, arrivals: Arrivals) -> WindowBatch:
    """Cut the windows that a batch of records completes.

    Parameters
    ----------
    state
        From the batch before, `WindowState.empty` at first.
    rules
        How windows are cut.
    arrivals
        At least one record, in the order in which they came.
    """
    keyed_state = state.apply_delta()
    slots, added = keyed_state.find(arrivals.keys, arrivals.partitions)
    limits = Limits(rules.allowed_lateness_ms, rules.key_ttl_ms)
    in_order = reorder_samples(keyed_state, slots, arrivals, rules.sample_interval_ms, limits)
    grid = Grid(rules.n_steps, rules.stride, rules.sample_interval_ms, rules.gap_ms_max)
    aligned = align(in_order, grid)
    buffer = lay_out_segments(keyed_state, in_order, aligned, rules.n_steps)
    delta = _delta(rules, in_order, aligned, buffer)
    delta.added = added
    delta.n_slots = max(keyed_state.n_slots, max((slot for *_, slot in added), default=-1) + 1)
    cells, records, end_ms = _complete(aligned, buffer, grid)
    order = np.argsort(records, kind="stable")
    of_cells = np.searchsorted(buffer.begins, cells, side="right") - 1
    sessions = aligned.sessions[aligned.firsts[buffer.segments[of_cells]]]
    end_ms = end_ms[order]
    return WindowBatch(
        state=WindowState(keyed_state, delta, object(), state.token),
        records=records[order],
        slots=in_order.sessions.slots[sessions][order],
        start_ms=_whole(end_ms - rules.span_ms),
        end_ms=_whole(end_ms),
        n_late=in_order.n_late,
        n_repeated=in_order.n_repeated,
        is_warm=_is_warm(in_order, aligned, rules.n_steps),
        gap_slots=in_order.sessions.slots[aligned.sessions[aligned.gaps]],
        gap_records=aligned.records[aligned.gaps],
        gap_ms=aligned.times_ms[aligned.gaps],
        expired=in_order.expired,
        buffer=buffer,
        cells=cells[order],
        rules=rules,
    )


def _complete(
    aligned: Aligned, buffer: SegmentBuffer, grid: Grid
) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """Return the first cell of each complete window, its record, and the time of its last cell."""
    last_starts = buffer.begins + buffer.lengths - grid.n_steps
    cells = np.flatnonzero(buffer.is_start)
    of_cells = np.searchsorted(buffer.begins, cells, side="right") - 1
    cells = cells[cells <= last_starts[of_cells]]
    needed = cells + grid.n_steps - 1
    first = np.searchsorted(buffer.cells, needed)  # the first sample at or after the last cell
    samples = buffer.samples[first]
    end_ms = aligned.times_ms[samples] - (buffer.cells[first] - needed) * grid.interval_ms
    return cells, aligned.records[samples], end_ms


def _delta(
    rules: WindowRules, in_order: InOrder, aligned: Aligned, buffer: SegmentBuffer
) -> StateDelta:
    """Return what the batch changes, but for new keys."""
    sessions = in_order.sessions
    of_segments = aligned.sessions[aligned.firsts]
    is_session_end = np.append(of_segments[1:] != of_segments[:-1], True)[: len(of_segments)]
    is_kept = is_session_end & sessions.is_last[of_segments]
    last_cells = np.where(aligned.has_window, aligned.cells[aligned.lasts], NONE_BEGUN)
    is_complete = np.zeros(len(of_segments), dtype=np.bool_)
    is_complete[buffer.segments] = True
    starts, after = _left_over(buffer, rules.n_steps)
    last_cells[buffer.segments] = after
    kept = np.flatnonzero(is_kept[buffer.segments] & (after != NONE_BEGUN))
    is_quiet = is_kept & aligned.has_window & ~is_complete
    blank = np.flatnonzero(is_quiet & ~aligned.has_prefix)
    samples = np.flatnonzero(is_quiet[aligned.segments] & (aligned.cells >= 0))
    cell_slots = sessions.slots[aligned.sessions[samples]]
    is_start = aligned.is_start[samples]
    kept_segments = buffer.segments[kept]
    rows = _Rows(
        buffer=buffer,
        blank=sessions.slots[of_segments[blank]],
        slots=sessions.slots[of_segments[kept_segments]],
        starts=starts[kept],
        last_cells=after[kept],
        n_steps=rules.n_steps,
    )
    columns = columns_after(in_order, aligned, last_cells)
    return StateDelta(
        n_slots=0,
        stream_times_ms=in_order.stream_times_ms,
        added=(),
        slots=sessions.slots,
        columns=columns,
        rows=rows.parts,
        cell_slots=cell_slots,
        cells=aligned.cells[samples],
        values=in_order.values[aligned.rows[samples]],
        start_slots=cell_slots[is_start],
        start_cells=aligned.cells[samples][is_start],
        reorder_buffer=in_order.reorder_buffer,
        freed=in_order.expired.idle,
    )


def _left_over(buffer: SegmentBuffer, n_steps: int) -> tuple[Indices, Indices]:
    """Return of each stretch the first window that is not complete, and its last cell in it."""
    n_segments = len(buffer.segments)
    starts = np.full(n_segments, -1, dtype=np.intp)
    last_cells = np.full(n_segments, NONE_BEGUN, dtype=np.intp)
    cells = np.flatnonzero(buffer.is_start)[::-1]
    of_cells = np.searchsorted(buffer.begins, cells, side="right") - 1
    is_open = cells > (buffer.begins + buffer.lengths - n_steps)[of_cells]
    starts[of_cells[is_open]] = cells[is_open]  # the first one is set last
    begun = starts >= 0
    last_cells[begun] = (buffer.begins + buffer.lengths - 1 - starts)[begun]
    return starts, last_cells


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that a batch sets as a whole: blank ones, and what a tape holds from some cells on."""

    buffer: SegmentBuffer
    blank: Indices
    slots: Indices
    starts: Indices
    last_cells: Indices
    n_steps: int

    def parts(self) -> Iterator[RowPart]:
        """Yield slots, rows and the cells in which a window starts, some at a time."""
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
        """Return rows and starts; what lies beyond the last cell belongs to another stretch."""
        rows = self.buffer.gather(starts, self.n_steps)
        is_beyond = np.arange(self.n_steps) > last_cells[:, np.newaxis]  # (n_rows, n_steps)
        rows[is_beyond] = np.nan
        begins = sliding_window_view(self.buffer.is_start, self.n_steps)[starts] & ~is_beyond
        return rows, np.packbits(begins, axis=1)


def _is_warm(in_order: InOrder, aligned: Aligned, n_steps: int) -> NDArray[np.bool_]:
    """Return whether the key of each record had a complete window by then."""
    sessions = in_order.sessions
    n_records = len(sessions.of_records)
    at = np.searchsorted(
        aligned.sessions * n_records + aligned.records,
        sessions.of_records * n_records + np.arange(n_records),
        side="right",
    )
    latest = np.maximum(at - 1, 0)
    spans = sessions.columns.span[sessions.of_records]  # where the batch settled nothing yet
    if len(aligned.sessions):
        is_mine = (at > 0) & (aligned.sessions[latest] == sessions.of_records)
        spans = np.where(is_mine, aligned.spans[latest], spans)
    is_warm: NDArray[np.bool_] = spans >= n_steps
    return is_warm


def _whole(times_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return times as whole milliseconds."""
    return np.floor(times_ms + 0.5).astype(np.int64)
