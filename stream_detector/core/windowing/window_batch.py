"""The windows that a batch of records completes, and the state from which the next one goes on.

Pure. `windows.assign_windows` makes them, and `peak_windows.cut_windows` those round peaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.timestamps import SECONDS_MIN
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.grid import Aligned, SegmentBuffer
from stream_detector.core.windowing.key_clocks import NO_RECORD, ClockEvent
from stream_detector.core.windowing.keyed_state import KeyedState, StateDelta
from stream_detector.core.windowing.missing_features import MissingFeatures
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.core.windowing.reordering import InOrder
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Expired
from stream_detector.core.windowing.silences import Silences


@dataclass(frozen=True, slots=True)
class WindowState:
    """What is kept between two batches: the keyed state, and the last batch's changes to it.

    A batch can be processed again from the same state, with the same result, until a state that
    came from it has been used: all states of a stream share their arrays.

    Parameters
    ----------
    keyed_state
        State of all keys.
    delta
        Changes of the last batch, None before the first.
    token, before
        Identify this state and the one to which `delta` applies.
    """

    keyed_state: KeyedState
    delta: StateDelta | None
    token: object
    before: object

    @classmethod
    def empty(cls, rules: WindowRules) -> "WindowState":
        """Return the state before the first batch."""
        keyed_state = KeyedState(rules.frame.n_steps, rules.n_features, rules.n_followed)
        return cls(keyed_state, None, None, None)

    def apply_delta(self) -> KeyedState:
        """Apply the last batch's changes, if they are not applied yet, and return the keyed state.

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
        """Return how many keys have state."""
        if self.delta is None or self.keyed_state.token is self.token:
            return self.keyed_state.n_keys
        return self.keyed_state.n_keys + len(self.delta.added) - len(self.delta.freed)

    def keys_of(self, slots: Indices) -> list[bytes]:
        """Return the keys of some slots, new keys of the last batch included.

        Parameters
        ----------
        slots
            Shape (n,), any order.
        """
        added = {} if self.delta is None else {slot: key for _, key, slot in self.delta.added}
        n_slots, keys = self.keyed_state.n_slots, self.keyed_state.keys
        unique, inverse = np.unique(slots, return_inverse=True)  # (n_unique,), (n,)
        names = [
            (keys[slot] if slot < n_slots else None) or added.get(slot, b"")
            for slot in unique.tolist()
        ]
        return [names[at] for at in inverse.tolist()]

    def drop_partitions(self, partitions: Sequence[int]) -> "WindowState":
        """Drop the state of partitions that another member reads now."""
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
        Slot of its key, shape (n_windows,). A key has the same slot until it expires.
    start_ms, end_ms
        Times of its first and last sample, whole milliseconds, shape (n_windows,).
    n_late, n_repeated, n_held
        Samples of each record that were late, or repeated another, or are held at first, shape
        (n_records,).
    n_used
        Samples that were used, those confirmed among them.
    late
        The first late sample of each record that has one, by record.
    outliers, clock_sets
        Held samples that were dropped, and clocks that were set back.
    is_warm
        Whether the key of each record has had a complete window since its series started or
        started again, shape (n_records,).
    gap_slots, gap_records, gap_ms
        Slots of keys whose series started again after a gap, the record that released the first
        sample after it, and the time of that sample, each of shape (n_gaps,).
    expired
        Keys that expired.
    silences, missing_features
        Keys that fell silent or sent again, and features that began or ended to be missing; None
        where the rules do not ask.
    in_order, aligned
        Samples of the batch in the order of their times, and in their cells.
    buffer, cells
        Cells of the windows, and where each one starts, shape (n_windows,).
    rules
        How the windows were cut.
    filtered, intervals
        Of windows round peaks: the values of their signal within the band that is asked for, shape
        (n_windows, n_steps, n_filtered), and how far the peaks are apart, where the rules ask for
        that. None of other windows.
    """

    state: WindowState
    records: Indices
    slots: Indices
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    n_late: Indices
    n_repeated: Indices
    n_held: Indices
    n_used: int
    late: Sequence[ClockEvent]
    outliers: Sequence[ClockEvent]
    clock_sets: Sequence[ClockEvent]
    is_warm: NDArray[np.bool_]
    gap_slots: Indices
    gap_records: Indices
    gap_ms: NDArray[np.float64]
    is_cold_gap: NDArray[np.bool_]
    expired: Expired
    silences: Silences | None
    missing_features: MissingFeatures | None
    in_order: InOrder
    aligned: Aligned
    buffer: SegmentBuffer
    cells: Indices
    rules: WindowRules
    filtered: FloatArray | None = None
    intervals: PeakIntervals | None = None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def early_starts(self) -> list[ClockEvent]:
        """Return the sessions that begin with times that look like milliseconds since boot."""
        sessions = self.in_order.sessions
        newest_ms = sessions.after.newest_ms  # (n_sessions,)
        is_early = np.isneginf(sessions.columns.newest_ms) & (newest_ms < SECONDS_MIN)
        return [
            ClockEvent(int(sessions.slots[at]), NO_RECORD, float(newest_ms[at]), np.nan)
            for at in np.flatnonzero(is_early).tolist()
        ]

    def gather(self, part: slice | Indices) -> FloatArray:
        """Return some windows as they were received, NaN where a value is missing.

        Parameters
        ----------
        part
            Which windows.

        Returns
        -------
        Float32, shape (n, n_steps, n_features), unit: the signal's.
        """
        received = self.buffer.gather(self.cells[part], self.rules.n_steps)
        if self.filtered is not None:
            filtered = self.filtered[part]  # (n, n_steps, n_filtered)
            signal = received[:, :, : filtered.shape[2]]
            signal[...] = np.where(np.isnan(signal), signal, filtered)
        return received

    def n_to_next(self, n_max: int) -> Indices:
        """Return how many cells after each window the next one starts, shape (n_windows,).

        Parameters
        ----------
        n_max
            Of a window after which none starts in the samples that have come.
        """
        starts = np.flatnonzero(self.buffer.is_start)  # (n_starts,)
        following = np.append(starts, len(self.buffer.is_start) + n_max)
        distances = following[np.searchsorted(starts, self.cells, side="right")] - self.cells
        n_to_next: Indices = np.minimum(distances, n_max)
        return n_to_next
