"""Samples that come in parts: each feature in a record of its own, the others missing there.

Pure. Samples that lie close together belong to one cell (`repeats`). The first to arrive
gives the cell its time, and of each feature the first value that is not missing counts. A sample
that brings no value that the cell lacks is a repeat.

Where `allowed_lateness_ms` is above 0, every cell waits for its parts as it waits for late samples.
Where it is 0, a sample is used as soon as it arrives, and what comes for its cell afterwards is a
repeat. But it shows that the key sends its samples in parts. Therefore the next cell is held until
it has all its values, or until the cell after it begins. One key with two features,
`allowed_lateness_ms` 0::

    record   sample          released           why
    0        0: [1, NaN]     0: [1, NaN]        every sample is released at once, until...
    1        0: [NaN, 5]                        ... this one comes too late for its cell
    2        10: [2, NaN]                       held: the cell before came in parts
    3        10: [NaN, 6]    10: [2, 6]         has all its values
    4        20: [3, NaN]                       held: the cell before came in parts
    5        30: [4, 8]      20: [3, NaN]       the next cell has begun,
                             30: [4, 8]         and has all its values

Whether a cell is held follows from the cell before it, and so from a bounded past.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, join_ranges

NEVER = -1
"""`Merged.full_at` of a cell that has not all its values."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The values of cells, each of one or more samples.

    Parameters
    ----------
    values
        Of each feature the first value that is not missing, float32, shape (n_cells, n_features).
    is_new
        Whether each sample brought a value that its cell lacked, shape (n_samples,); the first
        sample of a cell always counts as new.
    has_parts
        Whether a later sample brought something to each cell, shape (n_cells,).
    full_at
        The sample with which each cell had all its values, `NEVER` where it has not, shape
        (n_cells,).
    """

    values: FloatArray
    is_new: NDArray[np.bool_]
    has_parts: NDArray[np.bool_]
    full_at: Indices


def merge_parts(values: FloatArray, firsts: Indices, is_usable: NDArray[np.bool_]) -> Merged:
    """Merge the samples of each cell.

    Parameters
    ----------
    values
        Values of the samples, by cell and those of a cell as they arrived, shape (n_samples,
        n_features); NaN is missing.
    firsts
        First sample of each cell, ascending from 0, shape (n_cells,).
    is_usable
        Which samples may bring something, shape (n_samples,).

    Examples
    --------
    >>> nan = np.nan
    >>> values = np.float32([[1, nan], [1, nan], [7, 5], [2, 6]])
    >>> merged = merge_parts(values, np.array([0, 3]), np.ones(4, np.bool_))
    >>> merged.values.tolist(), merged.is_new.tolist(), merged.full_at.tolist()
    ([[1.0, 5.0], [2.0, 6.0]], [True, False, True, True], [2, 3])
    """
    counts = np.diff(np.append(firsts, len(values)))  # (n_cells,)
    merged = values[firsts]  # (n_cells, n_features), a copy
    is_new = np.zeros(len(values), dtype=np.bool_)  # (n_samples,)
    is_new[firsts] = True
    has_parts = np.zeros(len(firsts), dtype=np.bool_)  # (n_cells,)
    full_at = np.where(np.isnan(merged).any(axis=1), NEVER, firsts)  # (n_cells,)
    shared = np.flatnonzero((counts > 1) & (full_at == NEVER))  # (n_shared,), cells to look into
    if len(shared):
        rows = join_ranges(firsts[shared], counts[shared])  # (n_parts,), their samples
        begins = np.cumsum(counts[shared]) - counts[shared]  # (n_shared,), cells among these
        is_present = ~np.isnan(values[rows]) & is_usable[rows, np.newaxis]  # (n_parts, n_features)
        at = np.where(is_present, rows[:, np.newaxis], len(values))  # (n_parts, n_features)
        first_at = np.minimum.reduceat(at, begins, axis=0)  # (n_shared, n_features)
        has_value = first_at < len(values)  # (n_shared, n_features)
        found = values[np.minimum(first_at, len(values) - 1), np.arange(values.shape[1])]
        merged[shared] = np.where(has_value, found, np.float32(np.nan))
        is_new[first_at[has_value]] = True
        has_parts[shared] = (has_value & (first_at > firsts[shared, np.newaxis])).any(axis=1)
        full_at[shared] = np.where(has_value.all(axis=1), first_at.max(axis=1), NEVER)
    return Merged(merged, is_new, has_parts, full_at)
