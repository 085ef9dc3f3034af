"""Windows round the peaks of a series, cut from frames that are themselves windows.

Pure. Frames are cut as any windows are (`windows`), so what is said there of gaps, late samples,
expiry and restoring holds here too: the keyed state holds the samples of a frame, and nothing else.
The windows of a batch are those round the peaks that its frames find (`peaks`)::

    batch   frames completed    peaks in their own parts    windows
    1       1, 2                one in 1, none in 2         1
    2       3                   two                         2

A window is complete with the frame that finds its peak, so with the record that completes that.
"""

from dataclasses import replace

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.pauses import PeakIntervals, Peaks
from stream_detector.core.windowing.peaks import PeakRules, find_peaks, window_values
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows, round_to_ms

_FRAMES_AT_ONCE = 64
"""Frames held at once: of 2,000 steps and two features, a megabyte."""


def cut_windows(state: WindowState, rules: WindowRules, arrivals: Arrivals) -> WindowBatch:
    """Cut the windows that a batch of records completes, each stride or round peaks.

    Parameters
    ----------
    state, arrivals
        See `assign_windows`.
    rules
        How windows are cut; with `peaks`, round these.
    """
    batch = assign_windows(state, rules.frame, arrivals)
    if rules.peaks is None:
        return batch
    return _round_peaks(batch, rules, rules.peaks)


def _round_peaks(batch: WindowBatch, rules: WindowRules, peaks: PeakRules) -> WindowBatch:
    """Return the windows round the peaks of frames in place of the frames."""
    n_own = batch.n_to_next(peaks.n_search + peaks.n_slack)  # (n_frames,)
    none = np.empty(0, np.intp)
    found = [Peaks.without_intervals(none, none)]
    values = [np.empty((0, rules.n_steps, peaks.n_features), np.float32)]
    for start in range(0, len(batch), _FRAMES_AT_ONCE):
        received = batch.gather(slice(start, start + _FRAMES_AT_ONCE))[:, :, : peaks.n_features]
        filled, _ = impute_windows(np.ascontiguousarray(received), rules)
        here, windows = _search(filled, peaks, n_own[start : start + len(filled)])
        found.append(replace(here, frames=here.frames + start))
        values.append(windows)
    joined = Peaks.joined(found)
    frames = joined.frames  # (n_windows,)
    first = joined.steps - peaks.n_before  # (n_windows,), of each window in its frame
    n_after = peaks.n_frame - (first + rules.n_steps)  # (n_windows,), steps after the last
    end_ms = batch.end_ms[frames] - n_after * rules.sample_interval_ms  # (n_windows,)
    intervals = PeakIntervals.of_peaks(joined, rules.sample_interval_ms)
    return replace(
        batch,
        records=batch.records[frames],
        slots=batch.slots[frames],
        start_ms=round_to_ms(end_ms - rules.span_ms),
        end_ms=round_to_ms(end_ms),
        cells=batch.cells[frames] + first,
        rules=rules,
        filtered=np.concatenate(values),
        intervals=intervals if peaks.n_pause else None,
    )


def _search(frames: FloatArray, peaks: PeakRules, n_own: Indices) -> tuple[Peaks, FloatArray]:
    """Return the peaks of frames, and the windows round them.

    For a frame of which too much is missing stands one window that is missing throughout.
    """
    is_whole = ~np.isnan(frames).any(axis=(1, 2))  # (n_frames,)
    whole, rest = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
    searched = frames if not len(rest) else frames[whole]
    found = find_peaks(searched, peaks, n_own[whole])
    windows = window_values(searched, found, peaks)  # (n_peaks, n_steps, n_features)
    if not len(rest):
        return found, windows
    blank = np.full((len(rest), *windows.shape[1:]), np.nan, np.float32)
    missing = Peaks.without_intervals(rest, np.full(len(rest), peaks.n_context))
    both = Peaks.joined([replace(found, frames=whole[found.frames]), missing])
    order = np.argsort(both.frames, kind="stable")
    return both.of(order), np.concatenate([windows, blank])[order]
