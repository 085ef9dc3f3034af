"""Times of samples: what a record's one time implies for the samples that follow it.

Pure. Float64 tells times of this century apart by a quarter of a microsecond, so the same sample,
counted from one record's first time or another's, comes out a bit earlier or later. All times are
therefore kept to a sixteenth of a millisecond, a fraction that float64 holds exactly: the same
samples in other records have the same times, bit for bit.
"""

import numpy as np
from numpy.typing import NDArray

STEP_MS = 1 / 16
"""What times are kept to, in milliseconds: far more than float64's rounding, far less than the
shortest interval between two samples."""


def keep(times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times rounded to what is kept of them.

    Parameters
    ----------
    times_ms
        Float64, any shape, milliseconds since 1970-01-01 UTC up to the year 9999.

    Returns
    -------
    Same shape. NaN stays NaN.

    Examples
    --------
    >>> keep(np.array([0.0, 2.7778, 5.5556]))
    array([0.    , 2.75  , 5.5625])
    """
    kept: NDArray[np.float64] = times_ms * (1 / STEP_MS)
    np.rint(kept, out=kept)
    kept *= STEP_MS
    return kept


def follow(
    first_ms: NDArray[np.float64], steps: NDArray[np.intp], interval_ms: float
) -> NDArray[np.float64]:
    """Return the times of samples of records that say when their first one was taken.

    Parameters
    ----------
    first_ms
        For each sample, the time of its record's first one.
    steps
        Which sample of its record each is, counted from 0, same shape.
    interval_ms
        Time between two samples.

    Returns
    -------
    Times as they are kept, same shape.

    Examples
    --------
    >>> follow(np.zeros(4), np.arange(4), 1000 / 360)
    array([0.    , 2.75  , 5.5625, 8.3125])
    """
    return keep(first_ms + steps * interval_ms)
