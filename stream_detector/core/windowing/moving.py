"""Moving means and maxima along the last axis.

Pure: arrays in, arrays out. Of five values, the mean of three of them and the largest of two::

    values              1  3  2  0  0
    mean_of, 3             2  1.67  0.67
    trailing_max, 2     1  3  3  2  0
"""

import numpy as np
from numpy.typing import NDArray

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


def running_sums(values: FloatArray) -> NDArray[np.float64]:
    """Return sums of the values before each place along the last axis, shape (..., n + 1)."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    # As float64 first: a sum that converts on its way takes three times as long.
    sums[..., 1:] = values
    np.cumsum(sums, axis=-1, out=sums)
    return sums


def mean_of(sums: NDArray[np.float64], n: int, first: int, width: int) -> FloatArray:
    """Return moving means from running sums.

    Parameters
    ----------
    sums
        From `running_sums`.
    n
        Values of each mean, odd.
    first, width
        Middle of the first mean, and how many there are.
    """
    begin = first - n // 2
    totals = sums[..., begin + n : begin + n + width] - sums[..., begin : begin + width]
    return (totals / n).astype(np.float32)
