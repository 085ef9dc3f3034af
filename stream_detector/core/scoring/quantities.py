"""Numbers and durations as text, with the digits that a person reads."""

from math import floor, inf, isfinite, log10

PART = 15
"""A number is written to a fifteenth of the difference that matters or less, in powers of ten: of
0.18 to 0.01, of 13 to 0.1. More digits nobody reads."""

_DIGITS = 3
"""Digits of a number where nothing says which difference matters."""

_DECIMALS_MAX, _FIXED_MAX, _DIGITS_MAX = 9, 1e12, 15
"""Numbers with more decimals, or as large, are written with an exponent and so many digits."""

NOTHING = 1e-6
"""Part of the difference that matters below which a number is rounding, and written as 0."""

_TENTHS = 1.5
"""A difference beside which numbers are written to a tenth."""

_UNITS = (("ms", 1.0, 1e3), ("s", 1e3, 120e3), ("min", 60e3, 7_200e3))
"""Units of durations, their milliseconds, and below how many milliseconds they are used."""


def duration_text(duration_ms: float) -> str:
    """Return a duration in the unit in which a person reads it.

    Examples
    --------
    >>> [duration_text(each) for each in (2.78, 999.9, 1_000, 119_600, 301_000, 5_400_000, 1e8)]
    ['2.78 ms', '1000 ms', '1 s', '120 s', '5 min', '90 min', '27.8 h']
    """
    unit, size_ms = duration_unit(duration_ms)
    beside = _TENTHS if unit in ("min", "h") else 0.0
    return f"{number_text(duration_ms / size_ms, beside)} {unit}"


def duration_unit(duration_ms: float) -> tuple[str, float]:
    """Return the unit in which a duration is read, and its milliseconds."""
    found = (each for each in _UNITS if duration_ms < each[2])
    unit, size_ms, _ = next(found, ("h", 3_600e3, inf))
    return unit, size_ms


def number_text(value: float, beside: float) -> str:
    """Return a number with the digits that matter.

    Parameters
    ----------
    value
        The number, finite.
    beside
        A difference that matters, such as the width of what is normal. 0 gives the value itself
        three digits.

    Examples
    --------
    >>> [number_text(1013.2546, each) for each in (13.0, 0.18, 250.0, 0.0)]
    ['1013.3', '1013.25', '1010', '1010']
    >>> number_text(0.0312, 0.18), number_text(0.00004, 0.18), number_text(71_234.0, 90_000.0)
    ('0.03', '4e-05', '71000')
    >>> number_text(86.0, 5_200.0)
    '90'
    """
    if not isfinite(value):
        return str(value)
    if not value or abs(value) < NOTHING * abs(beside) < inf:
        return "0"
    if isfinite(beside) and beside:
        n_decimals = -floor(log10(abs(beside) / PART))
    else:
        n_decimals = _DIGITS - 1 - floor(log10(abs(value)))
    if abs(value) >= 1:  # one digit at least, in front of the point
        n_decimals = max(n_decimals, -floor(log10(abs(value))))
    n_digits = floor(log10(abs(value))) + 1 + n_decimals
    if n_digits < 1 or abs(value) >= _FIXED_MAX or n_decimals > _DECIMALS_MAX:
        return f"{value:.{min(max(n_digits, 1), _DIGITS_MAX)}g}"
    text = f"{round(value, n_decimals):.{max(n_decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
