"""Features whose level says nothing, since it goes on to what it never was: counters and trends.

Of such a feature every window is unlike all that training has shown, whatever is normal. Counted
from the mean of its own window (`scaling.relative`) it is like others: how it moves is judged.

A counter never falls, but where it starts again. A trend goes one way from each fifth of the time
to the next, and so far that the last fifth shares no level with the first: disk in use, a battery.
A temperature that rises from morning to noon does so, too; hence the two days.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.roles import Layout

_COUNTERS = (
    "only rise, but where they start again: how fast they do is judged, and not how high they are"
)
_TRENDS = (
    "go one way all the time, to levels that they never had: how they move within a window is "
    "judged, and not how high they are"
)

DAYS_MIN = 2
"""Shortest time in which a trend is told from a daily pattern."""

_DAY_MS = 86_400_000
_RISES_MIN, _FALLS_MAX = 0.02, 0.002
"""A counter rises in so many of its steps at least, and falls in so many at most."""

_N_PARTS = 5
_PART_WINDOWS_MIN = 10
"""Fewest windows of a fifth, for its level to be known."""


def choose_relative(layout: Layout, values: NDArray[np.float64], n_steps: int) -> dict[str, Chosen]:
    """Return which features are counters, and which others relative, where some are.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.
    n_steps
        Samples of a window.
    """
    series = [_Series(layout.times_ms[rows], values[rows]) for rows in layout.normal_rows()]
    is_counter, is_trend = _counters(series), _trends(series, n_steps)
    found = {
        "counters": Chosen(_named(layout.features, is_counter), _COUNTERS),
        "relative": Chosen(_named(layout.features, is_trend & ~is_counter), _TRENDS),
    }
    return {key: chosen for key, chosen in found.items() if chosen.value}


def _named(names: Sequence[str], is_wanted: NDArray[np.bool_]) -> list[str]:
    """Return some of the names."""
    return [name for name, wanted in zip(names, is_wanted.tolist(), strict=True) if wanted]


class _Series(NamedTuple):
    """Times, shape (n_samples,), in order, and values, shape (n_samples, n_features), of a key."""

    times_ms: NDArray[np.float64]
    values: NDArray[np.float64]


def _counters(series: Sequence[_Series]) -> NDArray[np.bool_]:
    """Return which features are counters, shape (n_features,)."""
    counts = []
    for _, values in series:
        steps = [np.diff(column[~np.isnan(column)]) for column in values.T]
        counts.append([((each > 0).sum(), (each < 0).sum(), len(each)) for each in steps])
    n_rises, n_falls, n_steps = np.sum(counts, axis=0).T  # (n_features,) each
    found: NDArray[np.bool_] = (
        (n_rises > 0) & (n_rises >= _RISES_MIN * n_steps) & (n_falls <= _FALLS_MAX * n_steps)
    )
    return found


def _trends(series: Sequence[_Series], n_steps: int) -> NDArray[np.bool_]:
    """Return which features have a trend in more than half of the series, shape (n_features,)."""
    has_trend = np.array([_has_trend(each, n_steps) for each in series])  # (n_series, n_features)
    found: NDArray[np.bool_] = has_trend.mean(axis=0) > 0.5  # noqa: PLR2004
    return found


def _has_trend(series: _Series, n_steps: int) -> NDArray[np.bool_]:
    """Return which features of one series have a trend: none where it is too short to tell."""
    times_ms, values = series
    n_windows = len(values) // n_steps
    if not n_windows or np.nanmax(times_ms) - np.nanmin(times_ms) < DAYS_MIN * _DAY_MS:
        return np.zeros(values.shape[1], dtype=np.bool_)
    windows = values[: n_windows * n_steps].reshape(n_windows, n_steps, -1)
    n_present = (~np.isnan(windows)).sum(axis=1)  # (n_windows, n_features)
    sums = np.nansum(windows, axis=1)
    columns = zip(sums.T, n_present.T, strict=True)
    return np.array([_goes_one_way(each[n > 0] / n[n > 0]) for each, n in columns])


def _goes_one_way(means: NDArray[np.float64]) -> bool:
    """Return whether the means of windows, in order, go one way, and far; False where too few."""
    if len(means) < _N_PARTS * _PART_WINDOWS_MIN:
        return False
    parts = np.array_split(means, _N_PARTS)
    moves = np.diff([np.median(part) for part in parts])  # (n_parts - 1,)
    first, last = parts[0], parts[-1]
    rises = (moves > 0).all() and last.min() > first.max()
    falls = (moves < 0).all() and last.max() < first.min()
    return bool(rises or falls)
