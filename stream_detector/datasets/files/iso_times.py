"""Times of ISO 8601 that are written as programs write them, a whole column at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHARACTERS_MAX = 32
"""Of 2026-01-01T00:00:00.000000+01:00: longer cells are not looked at."""

_MARKS = {4: "-", 7: "-", 10: "T ", 13: ":", 16: ":"}
"""What stands between the digits of 2026-01-01T00:00:00, by place."""

_N_DATE_AND_TIME = 19
_N_OFFSET = 6
_N_FRACTION_MAX = 6
_EXACT_MAX = 2**53
"""Below this, a number of microseconds is one of float64 too."""

Codes = NDArray[np.uint32]
"""The code of each character of texts of one length, shape (n_texts, n_characters)."""


def iso_at_once(cells: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return times as milliseconds since 1970-01-01 UTC.

    Parameters
    ----------
    cells
        A date and a time of day to the second, with a `T` or a blank between them, then up to six
        digits of a fraction, and `Z` or an offset from UTC such as +01:00.

    Returns
    -------
    Float64, shape (n_cells,), the bits that `datetime` gives; None where a cell is anything else.

    Examples
    --------
    >>> iso_at_once(["2026-01-01T00:00:00Z", "2026-01-01 01:00:00.5+01:00"])
    array([1.7672256e+12, 1.7672256e+12])
    >>> iso_at_once(["2026-01-01T00:00:00Z", "2026-02-29T00:00:00Z"]) is None
    True
    """
    if {*map(type, cells)} != {str} or max(map(len, cells)) > _CHARACTERS_MAX:
        return None
    texts = np.array(cells)
    lengths = np.fromiter(map(len, cells), np.intp, len(cells))
    times_us = np.empty(len(cells), np.int64)
    for length in np.unique(lengths).tolist():
        is_here = lengths == length
        codes = texts[is_here].astype(f"U{max(length, 1)}").view(np.uint32)
        found = _times_us(codes.reshape(-1, max(length, 1)))
        if found is None:
            return None
        times_us[is_here] = found
    if (np.abs(times_us) >= _EXACT_MAX).any():
        return None
    return times_us / 1e6 * 1e3  # as `datetime.timestamp`, which counts seconds


def _times_us(codes: Codes) -> NDArray[np.int64] | None:
    """Return the times of texts of one length in microseconds; None where one is none."""
    if codes.shape[1] < _N_DATE_AND_TIME:
        return None
    is_right = np.ones(len(codes), dtype=np.bool_)
    for at, marks in _MARKS.items():
        is_right &= np.isin(codes[:, at], [*map(ord, marks)])
    year, month, day = (_number(codes[:, slice(*at)]) for at in ((0, 4), (5, 7), (8, 10)))
    hour, minute, second = (_number(codes[:, slice(*at)]) for at in ((11, 13), (14, 16), (17, 19)))
    is_right &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)  # noqa: PLR2004
    is_right &= (hour >= 0) & (hour < 24) & (minute >= 0) & (minute < 60)  # noqa: PLR2004
    is_right &= (second >= 0) & (second < 60)  # noqa: PLR2004
    rest = _rest_us(codes[:, _N_DATE_AND_TIME:])
    if rest is None or not is_right.all():
        return None
    months = (12 * (year - 1970) + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    if (days.astype("datetime64[M]") != months).any():  # such as February 30
        return None
    seconds = 86_400 * days.astype(np.int64) + 3_600 * hour + 60 * minute + second
    times_us: NDArray[np.int64] = 1_000_000 * seconds + rest
    return times_us


def _rest_us(codes: Codes) -> NDArray[np.int64] | None:
    """Return what stands behind the seconds, as microseconds to add; None where it is unknown."""
    offset_us = np.zeros(len(codes), np.int64)
    if codes.shape[1] and (codes[:, -1] == ord("Z")).all():
        codes = codes[:, :-1]
    elif codes.shape[1] >= _N_OFFSET and np.isin(codes[:, -_N_OFFSET], [ord("+"), ord("-")]).all():
        hours, minutes = _number(codes[:, -5:-3]), _number(codes[:, -2:])
        is_right = (codes[:, -3] == ord(":")) & (hours >= 0) & (hours < 24)  # noqa: PLR2004
        if not (is_right & (minutes >= 0) & (minutes < 60)).all():  # noqa: PLR2004
            return None
        sign = np.where(codes[:, -_N_OFFSET] == ord("+"), 1, -1)
        offset_us = 60_000_000 * sign * (60 * hours + minutes)
        codes = codes[:, :-_N_OFFSET]
    n_digits = codes.shape[1] - 1
    if n_digits < 0:
        return -offset_us
    fraction = _number(codes[:, 1:])
    is_right = (codes[:, 0] == ord(".")) & (fraction >= 0)
    if not 1 <= n_digits <= _N_FRACTION_MAX or not is_right.all():
        return None
    times_us: NDArray[np.int64] = fraction * 10 ** (_N_FRACTION_MAX - n_digits) - offset_us
    return times_us


def _number(codes: Codes) -> NDArray[np.int64]:
    """Return the numbers that digits make, -1 where there is anything else."""
    digits = codes.astype(np.int64) - ord("0")
    numbers: NDArray[np.int64] = digits @ 10 ** np.arange(digits.shape[1])[::-1]
    is_number = ((digits >= 0) & (digits <= 9)).all(axis=1)  # noqa: PLR2004
    return np.where(is_number, numbers, -1)
