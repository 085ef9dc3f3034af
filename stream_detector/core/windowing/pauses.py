"""How far the peaks of a series are apart, and where there was none for long.

Pure. What a peak is compared with lies at most `n_pause` steps before it, so the answer is the same
wherever reading starts. With `n_pause` 100, of which `.` are 20 steps each::

    peaks      A . . B . C . . . . . . . . . . D . . E
    pause                        ^
    interval   -     40  20                    100   40
    before     -     -   40                    -     -

C came 20 steps after B, and B 40 after A. After C there is a pause, so D came 100 steps or more
after the peak before it. What is unknown before A and D is not asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import Indices


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Peaks of some frames, by frame and then by step.

    Parameters
    ----------
    frames, steps
        Frame of each peak, and its step in there, shape (n_found,).
    middles
        Step of the middle of the burst that each was found by, shape (n_found,).
    """

    frames: Indices
    steps: Indices
    middles: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """Peaks and pauses of some frames, by frame and then by step.

    Parameters
    ----------
    frames, steps
        Frame of each peak, and its step in there, shape (n_peaks,).
    intervals
        Steps since the peak before, shape (n_peaks,); `n_pause` where there was none so long. 0
        where the rules do not ask.
    before
        The same of the peak before, shape (n_peaks,); 0 where both together are longer than
        `n_pause`, or the rules do not ask.
    is_pause
        Which of them are pauses, shape (n_peaks,): there was no peak for `n_pause` steps.
    """

    frames: Indices
    steps: Indices
    intervals: Indices
    before: Indices
    is_pause: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def without_intervals(cls, frames: Indices, steps: Indices) -> "Peaks":
        """Return peaks of which no distance is asked."""
        none = np.zeros_like(steps)
        return cls(frames, steps, none, none, none.astype(np.bool_))

    @classmethod
    def joined(cls, parts: Sequence["Peaks"]) -> "Peaks":
        """Return the peaks of several parts, one part after the other; at least one."""
        columns = [np.concatenate([getattr(each, name) for each in parts]) for name in _COLUMNS]
        return cls(*columns)

    def of(self, rows: Indices) -> "Peaks":
        """Return some of the peaks."""
        return Peaks(*(getattr(self, name)[rows] for name in _COLUMNS))


@dataclass(frozen=True, slots=True, eq=False)
class PeakIntervals:
    """How far the peaks that windows are cut round are from those before them.

    Parameters
    ----------
    since_ms
        Time since the peak before, shape (n_windows,); the length of a pause where there was none
        so long.
    before_ms
        The same of the peak before, shape (n_windows,); 0 where it is not known.
    is_pause
        Which windows stand for a pause, shape (n_windows,).
    """

    since_ms: NDArray[np.float64]
    before_ms: NDArray[np.float64]
    is_pause: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.since_ms)

    @classmethod
    def of_peaks(cls, peaks: Peaks, sample_interval_ms: float) -> "PeakIntervals":
        """Return the intervals of peaks in milliseconds."""
        return cls(
            peaks.intervals.astype(np.float64) * sample_interval_ms,
            peaks.before.astype(np.float64) * sample_interval_ms,
            peaks.is_pause,
        )

    @classmethod
    def joined(cls, parts: Sequence["PeakIntervals"]) -> "PeakIntervals":
        """Return the intervals of several parts, one part after the other; at least one."""
        return cls(
            np.concatenate([each.since_ms for each in parts]),
            np.concatenate([each.before_ms for each in parts]),
            np.concatenate([each.is_pause for each in parts]),
        )

    def of(self, rows: slice | Indices | NDArray[np.bool_]) -> "PeakIntervals":
        """Return the intervals of some windows."""
        return PeakIntervals(self.since_ms[rows], self.before_ms[rows], self.is_pause[rows])


_COLUMNS = tuple(each.name for each in fields(Peaks))


def with_pauses(
    found: Found, is_own: NDArray[np.bool_], n_own: Indices, n_context: int, n_pause: int
) -> Peaks:
    """Return the peaks of each frame's own part with their intervals, and its pause, if any.

    Parameters
    ----------
    found
        Peaks of the own parts of frames, and of the `n_pause` steps before these.
    is_own
        Which of them are in the own part, shape (n_found,).
    n_own
        Steps of the own part of each frame, shape (n_frames,).
    n_context
        Where it begins.
    n_pause
        Steps without a peak that are a pause, > 0.

    Returns
    -------
    A frame has one pause at most: where it begins, or, of one that began earlier, at the beginning
    of the own part.

    Examples
    --------
    One frame whose own part is the 60 steps from 100 on:

    >>> steps = np.array([60, 100, 120])
    >>> peaks = with_pauses(Found(np.zeros(3, int), steps, steps), steps >= 100, [60], 100, 100)
    >>> peaks.steps, peaks.intervals, peaks.before
    (array([100, 120]), array([40, 20]), array([ 0, 40]))
    """
    intervals, before = _intervals(found, n_pause)
    until = n_context + np.asarray(n_own)  # (n_frames,)
    # A pause begins n_pause steps after a peak, or before the frame's own part.
    last = np.full(len(until), -n_pause)
    is_before = found.middles < n_context
    last[found.frames[is_before]] = found.middles[is_before]  # the last one is written last
    first_own = until.copy()
    own = np.flatnonzero(is_own)[::-1]  # the first one is written last
    first_own[found.frames[own]] = found.middles[own]
    begin = np.maximum(last + n_pause, n_context)  # (n_frames,)
    paused = np.flatnonzero(begin < first_own)  # (n_pauses,)
    frames = np.concatenate([found.frames[is_own], paused])
    steps = np.concatenate([found.steps[is_own], begin[paused]])
    nothing = np.zeros_like(paused)
    found_all = Peaks(
        frames,
        steps,
        np.concatenate([intervals[is_own], nothing + n_pause]),
        np.concatenate([before[is_own], nothing]),
        np.concatenate([np.zeros(len(own), np.bool_), np.ones(len(paused), np.bool_)]),
    )
    return found_all.of(np.lexsort((steps, frames)))


def _intervals(found: Found, n_pause: int) -> tuple[Indices, Indices]:
    """Return `Peaks.intervals` and `Peaks.before` of peaks, each of shape (n_found,)."""

    def since(n: int) -> tuple[Indices, NDArray[np.bool_]]:
        """Return the distance to the n-th peak before, and whether it is known."""
        distances, is_known = np.zeros_like(found.steps), np.zeros(len(found.steps), np.bool_)
        distances[n:] = found.steps[n:] - found.steps[:-n]
        is_known[n:] = (found.frames[n:] == found.frames[:-n]) & (
            found.middles[n:] - found.middles[:-n] <= n_pause
        )
        return distances, is_known

    intervals, is_known = since(1)
    to_second, is_second = since(2)
    before = np.where(is_second, to_second - intervals, 0)
    return np.where(is_known, intervals, n_pause), before
