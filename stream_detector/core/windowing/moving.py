"""Moving means and maxima along the last axis.

Pure: arrays in, arrays out. Of five values, the mean of three of them and the largest of two::

    values              1  3  2  0  0
    moving_mean, 3         2  1.67  0.67
    trailing_max, 2     1  3  3  2  0
"""

import numpy as np

from stream_detector.core.records import FloatArray


def trailing_max(values: FloatArray, n: int) -> FloatArray:
    """Return the largest of the last n values up to each one, along the last axis.

    Examples
    --------
    >>> trailing_max(np.float32([1, 3, 2, 0, 0]), 2)
    array([1., 3., 3., 2., 0.], dtype=float32)
    """
    found, width = values, 1
    while width < n:
        step = min(width, n - width)
        wider = found.copy()
        np.maximum(found[..., step:], found[..., :-step], out=wider[..., step:])
        found, width = wider, width + step
    return found


def moving_mean(values: FloatArray, n: int) -> FloatArray:
    """Return the mean of each n values in a row, shape (..., n_values - n + 1).

    Each sum is put together in the same order from its own n values, so a mean has the same bits
    wherever reading starts: of 13 values, from one, the four after it and the eight after these,
    each of them a sum of halves.

    Parameters
    ----------
    values
        Float32; at least n along the last axis.
    n
        Values of each mean, > 0.

    Examples
    --------
    >>> moving_mean(np.float32([1, 3, 2, 1]), 3)
    array([2., 2.], dtype=float32)
    """
    n_means = values.shape[-1] - n + 1
    total = np.zeros((*values.shape[:-1], n_means))
    sums, width, n_in = values.astype(np.float64), 1, 0  # of `width` values from each one on
    while width <= n:
        if n & width:
            total += sums[..., n_in : n_in + n_means]
            n_in += width
        if 2 * width <= n:
            sums = sums[..., :-width] + sums[..., width:]
        width *= 2
    total /= n
    return total.astype(np.float32)
