"""Entries that stand in groups, one group after the other: where groups begin and end.

Pure array helpers of `sessions`, `ordering` and `placing`.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def changes(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries begin a group."""
    return np.concatenate([np.ones(min(len(groups), 1), np.bool_), groups[1:] != groups[:-1]])


def lasts(is_first: NDArray[np.bool_]) -> Indices:
    """Return the last entry of each group."""
    return np.concatenate([np.flatnonzero(is_first)[1:] - 1, [len(is_first) - 1]]).astype(np.intp)


def lasts_mask(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which entries end a group."""
    return changes(groups[::-1])[::-1]


def expand(starts: Indices, counts: Indices) -> Indices:
    """Return the numbers from each start, as many as its count, one after the other."""
    if not len(counts):
        return np.empty(0, dtype=np.intp)
    shift = starts - (np.cumsum(counts) - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))


def running_maximum(
    values: NDArray[np.float64], is_first: NDArray[np.bool_], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the running maximum of each group, of which `start` counts from the beginning."""
    running = values.copy()
    firsts = np.flatnonzero(is_first)
    running[firsts] = np.maximum(running[firsts], start)
    falls = np.concatenate([[False], running[1:] < running[:-1]]) & ~is_first
    if not falls.any():
        return running
    # Ranks are whole numbers, so the groups can be told apart by an offset without rounding.
    ranked, ranks = np.unique(running, return_inverse=True)
    offset = (np.cumsum(is_first) - 1) * len(ranked)
    peaks = np.maximum.accumulate(ranks + offset) - offset
    result: NDArray[np.float64] = ranked[peaks]
    return result
