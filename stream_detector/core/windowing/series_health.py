"""What came of each series since a window of it was scored last, as columns.

Pure. `SeriesHealth.add` takes what each batch held. A scored window sets the counts of its series
back to zero, so they stay near zero where all is well, and `diagnosis` reads from them why a series
is not scored. One key, n_steps 4, stride 4, a sample every 20 ms where the rules say 10::

    after sample   n_samples   elapsed_ms   n_unscored   last intervals
    0              1           0            0
    20             2           20           0            20
    40             3           40           1            20 20      (half of the window is missing)
    60             4           60           1            20 20 20

The counts are kept for diagnosis alone: no score, alert or checkpoint depends on them, and after a
restart they begin at zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, is_group_start
from stream_detector.core.windowing.window_batch import WindowBatch

N_INTERVALS_KEPT = 8
"""Times between samples that are kept of a series: enough for a median that an outlier or two do
not move, and little beside a row of the keyed state."""

_COUNTS = ("n_samples", "n_late", "n_repeated", "n_gaps", "n_unscored", "n_intervals")


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What a batch held of each series, for `SeriesHealth.add`.

    Parameters
    ----------
    windows
        Windows that the batch completed, with the samples in their cells.
    is_scored
        Whether each of those windows was scored, or lacks only the scale of its key, shape
        (n_windows,).
    counts
        Samples in each usable record, shape (n_records,).
    values
        Values of all samples, shape (n_samples, n_features); NaN is a missing value.
    """

    windows: WindowBatch
    is_scored: NDArray[np.bool_]
    counts: Indices
    values: FloatArray


class SeriesHealth:
    """Counts by slot of the keyed state, each of shape (n_slots,), since the last scored window.

    Parameters
    ----------
    n_features
        Values of a sample.

    Attributes
    ----------
    was_scored
        Whether any window of the series was scored since it has been counted.
    n_samples, n_late, n_repeated
        Samples received, and those of them that were late or repeated another.
    n_gaps
        How often the series started again after a gap.
    n_unscored
        Complete windows that could not be scored.
    elapsed_ms
        Event time from sample to sample, without gaps.
    n_intervals, intervals_ms
        How many times between two samples there were, and the last of them, shape
        (n_slots, N_INTERVALS_KEPT); NaN where there were fewer. Gaps are among them.
    n_missing
        Missing values of each feature, shape (n_slots, n_features).
    """

    def __init__(self, n_features: int) -> None:
        self.was_scored = np.zeros(0, dtype=np.bool_)
        self.n_samples, self.n_late, self.n_repeated = (np.zeros(0, np.int64) for _ in range(3))
        self.n_gaps, self.n_unscored, self.n_intervals = (np.zeros(0, np.int64) for _ in range(3))
        self.elapsed_ms = np.zeros(0)
        self.intervals_ms = np.zeros((0, N_INTERVALS_KEPT))
        self.n_missing = np.zeros((0, n_features), np.int64)

    @property
    def n_slots(self) -> int:
        """Return for how many slots there is room."""
        return len(self.was_scored)

    def add(self, facts: SeriesFacts) -> None:
        """Count what a batch held, record by record after the last scored window of each series."""
        windows = facts.windows
        sessions, records = windows.in_order.sessions, windows.in_order.sessions.of_records
        slots = sessions.slots[records]  # (n_records,)
        self._reserve(int(sessions.slots[-1]) + 1)
        self._clear(sessions.slots[np.isneginf(sessions.columns.seen_ms)], was_scored=False)
        last = self._last_scored(facts)  # (n_sessions,)
        is_after = np.arange(len(slots)) > last[records]  # (n_records,)
        np.add.at(self.n_samples, slots[is_after], facts.counts[is_after])
        for counts, numbers in (
            (self.n_late, windows.n_late),
            (self.n_repeated, windows.n_repeated),
        ):
            if numbers.any():
                np.add.at(counts, slots[is_after], numbers[is_after])
        self._add_missing(facts, slots, is_after)
        self._add_intervals(windows, last)

    def _last_scored(self, facts: SeriesFacts) -> Indices:
        """Return the record that completed the last scored window of each session, -1 for none.

        Of a session that has ended no record is to be counted: it is the batch's last one. The
        counts of series that were scored are set back, and the windows after that which could not
        be scored are counted.
        """
        windows, sessions = facts.windows, facts.windows.in_order.sessions
        last = np.where(sessions.is_last, -1, len(facts.counts) - 1)  # (n_sessions,)
        if not len(windows):
            return last
        of_windows = sessions.of_records[windows.records]  # (n_windows,)
        is_scored = facts.is_scored & sessions.is_last[of_windows]  # (n_windows,)
        scored = of_windows[is_scored]  # (n_scored,)
        last[scored] = windows.records[is_scored]  # ascending: the last one is written last
        self._clear(sessions.slots[scored], was_scored=True)
        if not facts.is_scored.all():
            is_later = ~facts.is_scored & (windows.records > last[of_windows])  # (n_windows,)
            np.add.at(self.n_unscored, windows.slots[is_later], 1)
        return last

    def _add_missing(self, facts: SeriesFacts, slots: Indices, is_after: NDArray[np.bool_]) -> None:
        """Count missing values by feature."""
        is_missing = np.isnan(facts.values)  # (n_samples, n_features)
        if not is_missing.any():
            return
        rows, features = np.nonzero(is_missing)  # (n_missing,)
        of_samples = np.repeat(np.arange(len(slots)), facts.counts)  # (n_samples,)
        records = of_samples[rows]  # (n_missing,)
        is_counted = is_after[records]  # (n_missing,)
        np.add.at(self.n_missing, (slots[records[is_counted]], features[is_counted]), 1)

    def _add_intervals(self, windows: WindowBatch, last: Indices) -> None:
        """Keep the times between the samples that were put in order, and count gaps."""
        aligned, slots = windows.aligned, windows.in_order.sessions.slots
        is_counted = ~np.isnan(aligned.distances_ms) & (
            aligned.records > last[aligned.session_of]
        )  # (n_samples,)
        of_slots = slots[aligned.session_of[is_counted]]  # (n_intervals,), ascending
        if not len(of_slots):
            return
        distances = aligned.distances_ms[is_counted]  # (n_intervals,)
        is_gap = distances > windows.rules.gap_ms_max  # (n_intervals,)
        if is_gap.any():
            np.add.at(self.n_gaps, of_slots[is_gap], 1)
        np.add.at(self.elapsed_ms, of_slots, np.where(is_gap, 0.0, distances))
        firsts = np.flatnonzero(is_group_start(of_slots))  # (n_slots_here,)
        counts = np.diff(np.append(firsts, len(of_slots)))  # (n_slots_here,)
        within = np.arange(len(of_slots)) - np.repeat(firsts, counts)  # (n_intervals,)
        places = (self.n_intervals[of_slots] + within) % N_INTERVALS_KEPT  # (n_intervals,)
        self.intervals_ms[of_slots, places] = distances
        self.n_intervals[of_slots[firsts]] += counts

    def _clear(self, slots: Indices, *, was_scored: bool) -> None:
        """Set the counts of some slots back to zero."""
        self.was_scored[slots] = was_scored
        for name in _COUNTS:
            getattr(self, name)[slots] = 0
        self.elapsed_ms[slots] = 0.0
        self.intervals_ms[slots] = np.nan
        self.n_missing[slots] = 0

    def _reserve(self, n_slots: int) -> None:
        """Make room for so many slots, and for more than that, so that it is seldom done."""
        if n_slots <= self.n_slots:
            return
        n_more = n_slots + n_slots // 8 - self.n_slots
        for name, values in vars(self).items():
            more = np.zeros((n_more, *values.shape[1:]), values.dtype)
            setattr(self, name, np.concatenate([values, more]))
        self.intervals_ms[-n_more:] = np.nan
