"""Times of samples: how exactly they are kept, and what one time of a record implies for the rest.

Pure. Float64 resolves times of this century to a quarter of a microsecond, so the same sample can
get slightly different times when it is counted from the first time of one record or of another.
All times are therefore rounded to a sixteenth of a millisecond, a fraction that float64 holds
exactly: the same samples have the same times, bit for bit, in whatever records they are sent.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stream_detector.errors import RecordValueError
from stream_detector.text import brief

STEP_MS = 1 / 16
"""Resolution of times in milliseconds: far more than the rounding of float64, far less than the
shortest interval between two samples."""

TIMESTAMP_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: a larger number is not a time in milliseconds."""

AHEAD_MS_MAX = 3_600_000
"""A time that is further ahead of the clock it is compared with is of a wrong clock, which must not
decide for others: it would expire all other keys of its partition, and empty a page of newest
events. Newer brokers take no record that is an hour ahead (`message.timestamp.after.max.ms`)."""

SECONDS_MIN, SECONDS_MAX = 1_000_000_000, 10_000_000_000
"""Seconds since 1970 from 2001 to 2286; as milliseconds they would all lie in early 1970. A smaller
number is milliseconds since a device started (up to 11 days), or counts from another beginning."""

_UNITS = (
    (SECONDS_MIN, SECONDS_MAX, "seconds; multiply it by 1,000"),
    (SECONDS_MIN * 10**6, SECONDS_MAX * 10**6, "microseconds; divide it by 1,000"),
    (SECONDS_MIN * 10**9, SECONDS_MAX * 10**9, "nanoseconds; divide it by 1,000,000"),
    (1, SECONDS_MIN, "milliseconds since boot; add the time at which the device started"),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def describe_time(time_ms: float) -> str:
    """Return a time as ISO 8601, in UTC and to the millisecond.

    Parameters
    ----------
    time_ms
        Milliseconds since 1970-01-01 UTC; one that no date has is returned as the number.

    Examples
    --------
    >>> describe_time(1767225600002.75)
    '2026-01-01T00:00:00.002Z'
    """
    if not 0 <= time_ms <= TIMESTAMP_MS_MAX:
        return f"{time_ms:.16g}"
    date = _EPOCH + timedelta(milliseconds=int(time_ms))
    return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def looks_like(time_ms: float) -> str:
    """Return what a number seems to be that is no time of today in milliseconds, and what to do.

    Parameters
    ----------
    time_ms
        The number.

    Returns
    -------
    A clause that begins with a comma; nothing where the number may be right, or may be anything.

    Examples
    --------
    >>> looks_like(1_767_225_600)
    ', which looks like seconds; multiply it by 1,000'
    >>> looks_like(1_767_225_600_000)
    ''
    """
    if time_ms == 0:
        return ", which is no time; leave it out where there is none"
    for least, end, words in _UNITS:
        if least <= time_ms < end:
            return f", which looks like {words}"
    return ""


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
    timestamp_ms: expected milliseconds since 1970 up to the year 9999, received the text 'noon'
    """
    shown = brief(received, 80)
    try:
        words = looks_like(float(shown))
    except ValueError:
        words = ""
    return RecordValueError(
        f"{name}: expected {unit} since 1970 up to the year 9999, received "
        f"{f'the text {shown!r}' if isinstance(received, str) else shown}{words}"
    )
