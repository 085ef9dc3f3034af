"""Windows round the peaks of a series, cut from frames that are themselves windows.

Pure. Frames are cut as any windows are (`windows`), so what is said there of gaps, late samples,
expiry and restoring holds here too: the keyed state holds the samples of a frame, and nothing else.
The windows of a batch are those round the peaks that its frames find (`peaks`)::

    batch   frames completed    peaks in their own parts    windows
    1       1, 2                one in 1, none in 2         1
    2       3                   two                         2

A window is complete with the frame that finds its peak, so with the record that completes that.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, join_ranges
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.pauses import PeakIntervals, Peaks
from stream_detector.core.windowing.peaks import Frames, PeakRules, find_peaks, window_values
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows, round_to_ms

_STEPS_HELD = 130_000
"""Steps held at once: of two features, a megabyte."""

_FRAMES_A_STRETCH = 32
"""Frames that share their signal at most, so that stretches stay in the processor's cache."""


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
    is_whole = _is_whole(batch, peaks)  # (n_frames,)
    parts = [
        *_search_stretches(batch, peaks, n_own, np.flatnonzero(is_whole)),
        *_search_filled(batch, rules, peaks, n_own, np.flatnonzero(~is_whole)),
    ]
    none = np.empty(0, np.intp)
    nothing = np.empty((0, rules.n_steps, peaks.n_features), np.float32)
    joined = Peaks.joined([Peaks.without_intervals(none, none), *(found for found, _ in parts)])
    values = np.concatenate([nothing, *(windows for _, windows in parts)])
    order = np.argsort(joined.frames, kind="stable")
    joined = joined.of(order)
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
        filtered=values[order],
        intervals=intervals if peaks.n_pause else None,
    )


def _is_whole(batch: WindowBatch, peaks: PeakRules) -> NDArray[np.bool_]:
    """Return of which frames no value is missing, shape (n_frames,)."""
    is_missing = np.isnan(batch.buffer.values[:, : peaks.n_features]).any(axis=1)  # (n_cells,)
    n_missing = np.concatenate([[0], np.cumsum(is_missing)])  # before each cell
    is_whole: NDArray[np.bool_] = n_missing[batch.cells] == n_missing[batch.cells + peaks.n_frame]
    return is_whole


_Part = tuple[Peaks, FloatArray]
"""Peaks by the frame of the batch, and the windows round them."""


def _search_stretches(
    batch: WindowBatch, peaks: PeakRules, n_own: Indices, whole: Indices
) -> Iterator[_Part]:
    """Search frames of which nothing is missing; those that overlap share their signal.

    Parameters
    ----------
    n_own
        Of all frames of the batch, shape (n_frames,).
    whole
        Which frames to search, shape (n_whole,).
    """
    if not len(whole):
        return
    whole = whole[np.argsort(batch.cells[whole])]  # frames of a series follow each other
    cells = batch.cells[whole]  # (n_whole,)
    firsts = _stretch_starts(np.diff(cells) == n_own[whole[:-1]])  # (n_stretches,)
    counts = np.diff(np.append(firsts, len(whole)))  # (n_stretches,), frames of each
    lengths = cells[firsts + counts - 1] - cells[firsts] + peaks.n_frame  # (n_stretches,), steps
    for length in np.unique(lengths).tolist():
        alike = np.flatnonzero(lengths == length)
        n_at_once = max(1, _STEPS_HELD // length)
        for start in range(0, len(alike), n_at_once):
            here = alike[start : start + n_at_once]
            rows = join_ranges(firsts[here], counts[here])  # (n_frames_here,)
            stretches = np.repeat(np.arange(len(here)), counts[here])
            begins = cells[firsts[here]]
            frames = Frames(stretches, cells[rows] - begins[stretches], n_own[whole[rows]])
            received = batch.buffer.gather(begins, length)[:, :, : peaks.n_features]
            found = find_peaks(received, peaks, frames)
            windows = window_values(received, frames.places(found), peaks)
            yield replace(found, frames=whole[rows][found.frames]), windows


def _stretch_starts(is_joined: NDArray[np.bool_]) -> Indices:
    """Return which frames begin a stretch, shape (n_stretches,).

    Parameters
    ----------
    is_joined
        Whether each frame but the first begins where the one before it has searched, shape
        (n_frames - 1,).
    """
    starts = np.flatnonzero(np.concatenate([[True], ~is_joined]))
    counts = np.diff(np.append(starts, len(is_joined) + 1))
    place = join_ranges(np.zeros_like(starts), counts)  # (n_frames,), of each frame
    return np.flatnonzero(place % _FRAMES_A_STRETCH == 0)


def _search_filled(
    batch: WindowBatch, rules: WindowRules, peaks: PeakRules, n_own: Indices, rows: Indices
) -> Iterator[_Part]:
    """Search frames of which values are missing, each with what is filled in for it alone.

    For a frame of which too much is missing stands one window that is missing throughout.
    """
    n_at_once = max(1, _STEPS_HELD // peaks.n_frame)
    for start in range(0, len(rows), n_at_once):
        here = rows[start : start + n_at_once]
        received = batch.gather(here)[:, :, : peaks.n_features]
        filled, _ = impute_windows(np.ascontiguousarray(received), rules)
        is_whole = ~np.isnan(filled).any(axis=(1, 2))  # (n_here,)
        whole, rest = here[is_whole], here[~is_whole]
        frames = Frames.apart(n_own[whole])
        found = find_peaks(filled[is_whole], peaks, frames)
        windows = window_values(filled[is_whole], frames.places(found), peaks)
        yield replace(found, frames=whole[found.frames]), windows
        blank = np.full((len(rest), *windows.shape[1:]), np.nan, np.float32)
        yield Peaks.without_intervals(rest, np.full(len(rest), peaks.n_context)), blank
