"""Find windows that look like faults among the training windows of a fleet without labels.

What is normal shows in most machines of a fleet, if rarely: a change of load, a start. A fault
shows in one of them. So for each number that a check looks at, the farthest window of each key is
found, and a window that is much farther from normal than those of most keys is left out::

    farthest windows of 8 keys    1.1 0.9 1.0 4.2 1.3 0.8 1.0 1.2
    their median                  1.05
    left out beyond               1.58, so in one key only

With few keys nothing can be said: there, what is rare in one key may be rare in all.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import SPREAD_MIN, Looks
from stream_detector.core.timestamps import describe_time
from stream_detector.text import printable, shorten

N_KEYS_MIN = 8
"""Fewest keys of which most say what is normal."""

FAR = 1.5
"""How many times as far from normal as the farthest windows of most keys a fault is at least. On
a simulated fleet of 20 without faults, one window of 2,000 was beyond 1.5."""

_N_SHOWN = 5


def find_faults(
    looks: Looks, values: NDArray[np.float64], series: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which windows look like faults, shape (n_windows,).

    Parameters
    ----------
    looks
        Say on which side of normal each number is anomalous; they need not be calibrated.
    values
        Numbers of the windows, shape (n_windows, n_looks); see `Looks.values`.
    series
        Number of each window's key, from 0, shape (n_windows,).

    Returns
    -------
    False for all where there are fewer than `N_KEYS_MIN` keys.

    Examples
    --------
    >>> from stream_detector.core.scoring.checks import looks_of
    >>> looks = looks_of(("flat",), 1, has_courses=False)
    >>> values = np.zeros((24, len(looks)))  # three windows of each of eight keys
    >>> values[::3] = -1.0  # in each key one window varies less than the others
    >>> values[9] = [-1.6, -1.0]  # and in the fourth key much less
    >>> np.flatnonzero(find_faults(looks, values, np.repeat(np.arange(8), 3)))
    array([9])
    """
    keys = np.unique(series)
    if len(keys) < N_KEYS_MIN:
        return np.zeros(len(values), dtype=np.bool_)
    distances = (values - np.median(values, axis=0)) * looks.signs  # (n_windows, n_looks)
    farthest = np.stack([distances[series == key].max(axis=0) for key in keys])
    usual = np.maximum(np.median(farthest, axis=0), SPREAD_MIN)  # (n_looks,)
    is_far: NDArray[np.bool_] = (distances > FAR * usual).any(axis=1)
    return is_far


def describe_faults(
    is_fault: NDArray[np.bool_],
    keys: Sequence[str],
    start_ms: NDArray[np.int64],
    end_ms: NDArray[np.float64],
) -> str:
    """Say which windows were left out, and what to do about it.

    Parameters
    ----------
    is_fault
        From `find_faults`, at least one is.
    keys, start_ms, end_ms
        Of the same windows.
    """
    rows = np.flatnonzero(is_fault)
    rows = rows[np.lexsort((start_ms[rows], np.array(keys)[rows]))]
    names = [keys[row] for row in rows.tolist()]
    is_new = np.array([True, *(one != other for one, other in pairwise(names))])
    is_new[1:] |= start_ms[rows[1:]] > end_ms[rows[:-1]]
    firsts = np.flatnonzero(is_new)  # (n_spans,)
    lasts = np.append(firsts[1:], len(rows)) - 1
    spans = [
        f"{shorten(printable(names[first]), 64)} from "
        f"{describe_time(float(start_ms[rows[first]]))} to "
        f"{describe_time(float(end_ms[rows[last]]))}"
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]
    more = f", and {len(spans) - _N_SHOWN} more spans" if len(spans) > _N_SHOWN else ""
    return (
        f"{len(rows):,} of {len(is_fault):,} training windows ({len(rows) / len(is_fault):.1%}) "
        "look like faults, since most keys show nothing like them, and were left out: "
        f"{'; '.join(spans[:_N_SHOWN])}{more}; if they are normal, set scorer.trim = false"
    )
