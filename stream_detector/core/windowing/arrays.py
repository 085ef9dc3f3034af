"""Array helpers for entries that stand in groups, one group after the other.

Pure. Records by key, or samples by session, are such arrays. Three groups, and what the helpers
say of them::

    groups             7  7  7  8  9  9
    is_group_start     1  0  0  1  1  0
    is_group_end       0  0  1  1  0  1
    group_ends         2        3     5     (row numbers)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def is_group_start(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries are the first of their group.

    Parameters
    ----------
    groups
        Group of each entry, shape (n_entries,); those of a group follow each other.

    Returns
    -------
    Shape (n_entries,). No entries give none.

    Examples
    --------
    >>> is_group_start(np.array([7, 7, 7, 8, 9, 9])).astype(int)
    array([1, 0, 0, 1, 1, 0])
    """
    first = np.ones(min(len(groups), 1), np.bool_)
    return np.concatenate([first, groups[1:] != groups[:-1]])  # (n_entries,)


def is_group_end(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries are the last of their group; the mirror image of `is_group_start`.

    Examples
    --------
    >>> is_group_end(np.array([7, 7, 7, 8, 9, 9])).astype(int)
    array([0, 0, 1, 1, 0, 1])
    """
    return is_group_start(groups[::-1])[::-1]  # (n_entries,)


def group_ends(is_start: NDArray[np.bool_]) -> Indices:
    """Return the row number of the last entry of each group.

    Parameters
    ----------
    is_start
        Which entries are the first of their group, shape (n_entries,), at least one entry.

    Returns
    -------
    Shape (n_groups,).

    Examples
    --------
    >>> group_ends(is_group_start(np.array([7, 7, 7, 8, 9, 9])))
    array([2, 3, 5])
    """
    before_starts = np.flatnonzero(is_start)[1:] - 1  # (n_groups - 1,)
    return np.concatenate([before_starts, [len(is_start) - 1]]).astype(np.intp)  # (n_groups,)


def join_ranges(starts: Indices, counts: Indices) -> Indices:
    """Return ranges of whole numbers, one after the other.

    Parameters
    ----------
    starts
        First number of each range, shape (n_ranges,).
    counts
        How many numbers each range has, shape (n_ranges,).

    Returns
    -------
    Shape (sum of counts,). No ranges give no numbers.

    Examples
    --------
    >>> join_ranges(np.array([10, 0]), np.array([2, 3]))
    array([10, 11,  0,  1,  2])
    """
    if not len(counts):
        return np.empty(0, dtype=np.intp)
    shift = starts - (np.cumsum(counts) - counts)  # (n_ranges,)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))  # (n_numbers,)


def running_maximum(
    values: NDArray[np.float64], is_start: NDArray[np.bool_], initial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the running maximum within each group.

    Parameters
    ----------
    values
        Shape (n_entries,), without NaN.
    is_start
        Which entries are the first of their group, shape (n_entries,).
    initial
        Maximum of each group before its first entry, shape (n_groups,).

    Returns
    -------
    Shape (n_entries,), exact: one of the given values each. No entries give none.

    Examples
    --------
    >>> values = np.array([5.0, 3.0, 6.0, 1.0, 0.0])
    >>> is_start = np.array([True, False, False, True, False])
    >>> running_maximum(values, is_start, np.array([4.0, 2.0]))
    array([5., 5., 6., 2., 2.])
    """
    running = values.copy()  # (n_entries,)
    starts = np.flatnonzero(is_start)  # (n_groups,)
    running[starts] = np.maximum(running[starts], initial)
    falls = np.concatenate([[False], running[1:] < running[:-1]]) & ~is_start  # (n_entries,)
    if not falls.any():
        return running
    # Ranks are whole numbers, so an offset can separate the groups without rounding any value.
    ranked, ranks = np.unique(running, return_inverse=True)  # (n_values,), (n_entries,)
    offset = (np.cumsum(is_start) - 1) * len(ranked)  # (n_entries,)
    peaks = np.maximum.accumulate(ranks + offset) - offset  # (n_entries,)
    result: NDArray[np.float64] = ranked[peaks]  # (n_entries,)
    return result


def runs_of(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Return all runs of some length, one beginning with each value, as a view to read and write.

    NumPy's `sliding_window_view` does the same and takes 20 times as long, which steps of a few
    records feel.

    Parameters
    ----------
    values
        C-contiguous, shape (n_values,), n_values >= length.
    length
        Values of a run, >= 1.

    Returns
    -------
    Shape (n_values - length + 1, length).

    Examples
    --------
    >>> runs_of(np.arange(4), 3)
    array([[0, 1, 2],
           [1, 2, 3]])
    """
    shape, stride = (len(values) - length + 1, length), values.itemsize
    return np.ndarray(shape, values.dtype, values, strides=(stride, stride))
