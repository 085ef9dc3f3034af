"""Times of samples: how exactly they are kept, and what one time of a record implies for the rest.

Pure. Float64 resolves times of this century to a quarter of a microsecond, so the same sample can
get slightly different times when it is counted from the first time of one record or of another.
All times are therefore rounded to a sixteenth of a millisecond, a fraction that float64 holds
exactly: the same samples have the same times, bit for bit, in whatever records they are sent.
"""

import numpy as np
from numpy.typing import NDArray

from stream_detector.errors import RecordValueError

STEP_MS = 1 / 16
"""Resolution of times in milliseconds: far more than the rounding of float64, far less than the
shortest interval between two samples."""

TIMESTAMP_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: a larger number is not a time in milliseconds."""


def keep(times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times rounded to the resolution in which they are kept.

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
    """Return the times of samples of records that give the time of their first sample.

    Parameters
    ----------
    first_ms
        For each sample, the time of its record's first sample, shape (n_samples,).
    steps
        Which sample of its record each one is, counted from 0, shape (n_samples,).
    interval_ms
        Time between two samples.

    Returns
    -------
    Rounded times, shape (n_samples,). No samples give none.

    Examples
    --------
    >>> follow(np.zeros(4), np.arange(4), 1000 / 360)
    array([0.    , 2.75  , 5.5625, 8.3125])
    """
    return keep(first_ms + steps * interval_ms)


def invalid_time(name: str, received: object, unit: str = "milliseconds") -> RecordValueError:
    """Return the error for a value that is not a time in milliseconds.

    Parameters
    ----------
    name
        Where the value stands in the record.
    received
        The value.
    unit
        What was expected.

    Examples
    --------
    >>> print(invalid_time("timestamp_ms", "noon"))
    timestamp_ms: expected milliseconds since 1970 up to the year 9999, received 'noon'
    """
    return RecordValueError(
        f"{name}: expected {unit} since 1970 up to the year 9999, received {str(received)[:80]!r}"
    )
