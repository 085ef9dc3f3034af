"""From how many first samples a key can get its scale that training does not know."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.roles import Layout

SIZES = (600, 1_200, 2_500, 5_000, 10_000)
"""Lengths of a warm-up that are tried, in samples; the last one is the longest that may be."""

ALIKE_SHARE = 0.9
"""A length is enough if so many of the stretches of that length are like the rest of their key."""

_BLOCKS_MAX = 200
_SHIFT_MAX, _NARROW_MAX = 0.5, 1.5
"""How far, in deviations of its key, the median of a stretch may be from that of the key, and how
many times narrower the stretch may be. Farther off, what is normal would look anomalous."""

_MAD_TO_SD = 1.4826


def choose_warm_up(layout: Layout, values: NDArray[np.float64]) -> Chosen:
    """Return how long the warm-up of a new key is, and why.

    Keys of the file stand for keys to come: it is the shortest stretch that mostly shows what is
    normal for the rest of its key. A level that wanders, or a cycle of hours, needs a longer one.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.
    """
    parts = [values[rows] for rows in layout.normal_rows()]
    what = "a key that is not in the data is not scored before so many samples"
    for n_samples in SIZES:
        found = _are_alike(parts, n_samples)
        if not len(found):
            why = "the data hold too few to tell whether they show what is normal"
            return Chosen(n_samples, f"{what}; {why}")
        if found.mean() >= ALIKE_SHARE:
            why = f"{found.mean():.0%} of stretches of so many are like the rest of their key"
            return Chosen(n_samples, f"{what}; {why}")
    return Chosen(SIZES[-1], f"{what}, the most there may be: what is normal here changes slowly")


def _are_alike(parts: list[NDArray[np.float64]], n_samples: int) -> NDArray[np.bool_]:
    """Return which stretches of a length are like the rest of their key, shape (n_stretches,)."""
    found = []
    long = [part for part in parts if len(part) >= 2 * n_samples]
    for part in long:
        middle, spread = _middle_and_spread(part[np.newaxis])  # (1, n_features)
        n_blocks = len(part) // n_samples
        n_kept = min(n_blocks, max(_BLOCKS_MAX // len(long), 2))
        kept = np.linspace(0, n_blocks - 1, n_kept).astype(np.intp)
        blocks = part[: n_blocks * n_samples].reshape(n_blocks, n_samples, -1)[kept]
        middles, spreads = _middle_and_spread(blocks)  # (n_kept, n_features)
        is_off = np.greater(np.abs(middles - middle), _SHIFT_MAX * spread)
        is_narrow = np.less(spreads * _NARROW_MAX, spread)  # (n_kept, n_features); NaN is neither
        found.append(np.logical_not(np.logical_or(is_off, is_narrow).any(axis=1)))
    return np.concatenate([np.empty(0, np.bool_), *found])


def _middle_and_spread(
    blocks: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median and robust deviation of each block and feature; NaN where it has no value."""
    is_empty = np.asarray(np.isnan(blocks).all(axis=1), np.bool_)  # (n_blocks, n_features)
    there = np.where(is_empty[:, np.newaxis], 0.0, blocks)
    middles = np.nanmedian(there, axis=1)  # (n_blocks, n_features)
    distances = np.abs(there - middles[:, np.newaxis])
    spreads = _MAD_TO_SD * np.nanmedian(distances, axis=1)
    return np.where(is_empty, np.nan, middles), np.where(is_empty, np.nan, spreads)
