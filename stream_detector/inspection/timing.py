"""How regularly samples come: interval, gaps, lateness, and missing values.

Everything is a quantile or a count over all series, so that jitter, losses, repeated rows and a
few odd ones change little.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.inspection.roles import Layout

_NEAR = 0.5
"""Intervals within this share of the median are jitter and no losses."""

_NEAT_MS = np.unique(
    np.concatenate(
        [
            np.outer([1, 2, 2.5, 4, 5, 8], 10.0 ** np.arange(0, 4)).ravel(),
            1_000.0 * np.array([1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 40, 45, 60, 90]),
            60_000.0 * np.array([2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 40, 45, 60]),
            3_600_000.0 * np.array([1, 2, 3, 4, 6, 8, 12, 24]),
        ]
    )
)
_NEAT_SHARE = 0.02
_ROUNDS, _SHORT_STEPS, _COARSE_MS = 10, 5, 20.0
_KEYS_SHOWN = 5
_DEAD_ROWS, _DEAD_RARE = 30, 1_000
"""So many rows without a value of a feature, no more often than once in so many values, are a dead
feature."""

_LONG_STEPS = 60
"""After a gap of more steps no window goes on, so the steps in it are none of the data."""


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """How regularly samples come.

    Parameters
    ----------
    sample_interval_ms
        Time between two samples of a series.
    regular_share
        Share of the intervals that are within half of it.
    n_samples
        Samples of all series; several of a series with the same time are one.
    n_cells
        Samples that each series would have had without losses and without times between its
        segments, shape (n_series,).
    gaps_ms
        Times between samples that are longer than one and a half intervals, ascending.
    runs_ms
        Times for which a feature had no value while others had, ascending.
    n_dead
        How often it had none for so long, and so rarely, that it must have been dead; these times
        are not among `runs_ms`.
    latest_ms
        How far the latest row is behind the newest of its series in the order of the file; 0 where
        the file is in the order of time, NaN where it is in no such order at all.
    missing_share
        Share of values that are missing, those of lost samples included.
    repeated_share
        Share of rows with the same time as another of their series.
    span_ms
        Time from the first sample of each series to its last, over all series.
    other_intervals
        Keys whose usual interval is another one, a few of them, with it.
    """

    sample_interval_ms: float
    regular_share: float
    n_samples: int
    n_cells: NDArray[np.intp]
    gaps_ms: NDArray[np.float64]
    runs_ms: NDArray[np.float64]
    latest_ms: float
    missing_share: float
    repeated_share: float
    span_ms: float
    other_intervals: tuple[tuple[str, float], ...]
    n_dead: int = 0


def measure(layout: Layout, values: NDArray[np.float64]) -> Timing | None:
    """Measure how regularly samples come.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.

    Returns
    -------
    None where no series has two samples of different times.
    """
    series, times_ms = layout.series, layout.times_ms
    order = np.lexsort((times_ms, series))  # (n_rows,), series by series, in time
    by_series, in_time = series[order], times_ms[order]
    is_same = np.diff(by_series) == 0
    apart = np.diff(in_time)  # (n_rows - 1,)
    is_later = is_same & (apart > 0)
    if not is_later.any():
        return None
    medians = _medians(apart[is_later], by_series[1:][is_later], len(layout.keys))  # (n_series,)
    middle = float(np.median(medians[np.isfinite(medians)]))
    later = apart[is_later]
    interval_ms = neat(_refine(later, middle))
    gaps_ms = np.sort(later[later > (1 + _NEAR) * interval_ms])
    n_cells = _cells(apart, is_later, by_series, interval_ms, len(layout.keys))
    runs_ms, n_dead = _runs(values[order], by_series, in_time, layout.is_normal[order])
    is_kept = np.append(True, is_later | ~is_same)  # (n_rows,), without repeated times
    n_there = int((~np.isnan(values[order][is_kept])).sum())
    n_all = int(n_cells.sum()) * values.shape[1]
    odd = np.flatnonzero(np.abs(medians / interval_ms - 1) > _NEAR)[:_KEYS_SHOWN].tolist()
    firsts = np.append(0, np.flatnonzero(~is_same) + 1)
    lasts = np.append(firsts[1:] - 1, len(order) - 1)
    return Timing(
        sample_interval_ms=interval_ms,
        regular_share=float((np.abs(later - interval_ms) <= _NEAR * interval_ms).mean()),
        n_samples=int(is_kept.sum()),
        n_cells=n_cells,
        gaps_ms=gaps_ms,
        runs_ms=runs_ms,
        n_dead=n_dead,
        latest_ms=_latest(series, times_ms),
        missing_share=max(0.0, 1 - n_there / max(n_all, 1)),
        repeated_share=float((is_same & (apart <= 0)).sum() / max(is_same.sum(), 1)),
        span_ms=float((in_time[lasts] - in_time[firsts]).sum()),
        other_intervals=tuple((layout.keys[at], float(medians[at])) for at in odd),
    )


def _refine(later: NDArray[np.float64], middle: float) -> float:
    """Return the interval of which the times between samples are multiples, near their median.

    The median itself is wrong where times are rounded, samples are lost or jitter is strong. The
    time that short gaps span, divided by the steps in it, is not. Where jitter makes the number of
    steps doubtful a gap does not count, unless times are rounded to steps nearly as long as it.
    """
    interval = middle
    for _ in range(_ROUNDS):
        parts = later / interval
        steps = np.rint(parts)
        is_clear = steps <= _SHORT_STEPS
        if middle >= _COARSE_MS:
            is_clear &= np.abs(parts - steps) <= _NEAR / 2
        n_steps = steps[is_clear].sum()
        if not n_steps:
            return middle
        interval = float(later[is_clear].sum() / n_steps)
    return interval if abs(interval - middle) <= _NEAR * middle else middle


def neat(interval_ms: float) -> float:
    """Return an interval as people set it, where one is near; else as it is.

    Examples
    --------
    >>> neat(999.6), neat(60_021.0), neat(2.7778), neat(1_020.0), neat(1_021.0)
    (1000.0, 60000.0, 2.7778, 1000.0, 1021.0)
    """
    nearest = float(_NEAT_MS[np.argmin(np.abs(_NEAT_MS - interval_ms))])
    if abs(nearest - interval_ms) <= _NEAT_SHARE * nearest:
        return nearest
    return float(f"{interval_ms:.5g}")


def _medians(
    apart: NDArray[np.float64], series: NDArray[np.intp], n_series: int
) -> NDArray[np.float64]:
    """Return the median interval of each series, shape (n_series,), NaN where it has none."""
    order = np.lexsort((apart, series))
    sizes = np.bincount(series, minlength=n_series)
    starts = np.cumsum(sizes) - sizes
    middles = np.minimum(starts + sizes // 2, max(len(apart) - 1, 0))
    return np.where(sizes > 0, apart[order][middles], np.nan)


def _cells(
    apart: NDArray[np.float64],
    is_later: NDArray[np.bool_],
    by_series: NDArray[np.intp],
    interval_ms: float,
    n_series: int,
) -> NDArray[np.intp]:
    """Return how many samples each series would have; a long gap counts as one step."""
    steps = np.rint(apart / interval_ms)
    steps = np.where(steps > _LONG_STEPS, 1, np.maximum(steps, 1)) * is_later
    counted = np.bincount(by_series[1:], steps, minlength=n_series)
    return counted.astype(np.intp) + 1


def _runs(
    values: NDArray[np.float64],
    by_series: NDArray[np.intp],
    in_time: NDArray[np.float64],
    is_normal: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], int]:
    """Return for how long each feature had no value between two of its values, ascending.

    A dead feature is a fault: times in which a row is labelled anomalous do not count, nor do long
    ones that are rare.

    Returns
    -------
    These times, and the number of long and rare ones.
    """
    n_before = np.append(0, np.cumsum(~is_normal))  # (n_rows + 1,), anomalous rows before each
    found, n_dead = [np.empty(0)], 0
    for feature in range(values.shape[1]):
        there = np.flatnonzero(~np.isnan(values[:, feature]))
        n_missing = np.diff(there) - 1
        is_run = (n_missing > 0) & (np.diff(by_series[there]) == 0)
        is_run &= np.diff(n_before[there]) == 0
        is_long = is_run & (n_missing >= _DEAD_ROWS)
        if is_long.sum() * _DEAD_RARE <= len(there):
            n_dead += int(is_long.sum())
            is_run &= ~is_long
        found.append(np.diff(in_time[there])[is_run])
    return np.sort(np.concatenate(found)), n_dead


def _latest(series: NDArray[np.intp], times_ms: NDArray[np.float64]) -> float:
    """Return how far the latest row is behind the newest before it, NaN for a file in no order."""
    order = np.argsort(series, kind="stable")  # series by series, in the order of the file
    by_series, in_file = series[order], times_ms[order]
    is_same = np.diff(by_series) == 0
    backwards = (np.diff(in_file) < 0) & is_same
    if not backwards.any():
        return 0.0
    if backwards.sum() > _UNORDERED * is_same.sum():
        return float("nan")
    # The running maximum starts again with each series: series are far apart when shifted so.
    shift = by_series * (np.ptp(in_file) + 1.0)
    newest = np.maximum.accumulate(in_file + shift) - shift
    return float((newest - in_file).max())


_UNORDERED = 0.3
"""With a larger share of steps backwards a file is not in the order in which samples came."""
