"""Single numbers and times of records that other programs write, in whatever way these write them.

Pure.
"""

import math
from datetime import UTC, datetime
from typing import Any

from stream_detector.core.codec.mapping import TO_MS, Place, TimeUnit
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.errors import RecordValueError
from stream_detector.text import brief

MISSING_WORDS = frozenset(
    ("", "-", "na", "n/a", "nan", "null", "none", "unavailable", "unknown", "offline")
)
"""Texts, in lower case, that stand for a missing value where numbers are text."""


def read_number(value: Any, *, is_text: bool) -> float | None:
    """Return the number that a value is, NaN where it is missing, None where it is none.

    Parameters
    ----------
    value
        From a document.
    is_text
        Whether text that holds a number, or one of `MISSING_WORDS`, is one.

    Examples
    --------
    >>> read_number(3, is_text=False), read_number("21.5", is_text=True)
    (3.0, 21.5)
    >>> read_number(None, is_text=False), read_number("unavailable", is_text=True)
    (nan, nan)
    >>> read_number("21.5", is_text=False) is None, read_number(True, is_text=True) is None
    (True, True)
    """
    if value is None:
        return math.nan
    if type(value) in (int, float):
        return float(value)
    if not is_text or type(value) is not str:
        return None
    text = value.strip()
    if text.lower() in MISSING_WORDS:
        return math.nan
    try:
        # Python's own notation, 1_000, is nobody's.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def read_time(value: Any, unit: TimeUnit) -> float | None:
    """Return a time in milliseconds since 1970-01-01 UTC, None for what is no time in that unit.

    Parameters
    ----------
    value
        From a document or a header. Numbers may be text.
    unit
        Its unit, or "iso8601".

    Examples
    --------
    >>> read_time(1767225600, "s"), read_time("1767225600000000000", "ns")
    (1767225600000.0, 1767225600000.0)
    >>> read_time("2026-01-01T01:00:00.125+01:00", "iso8601")
    1767225600125.0
    >>> read_time("2026-01-01 00:00:00", "iso8601")  # without a zone: UTC
    1767225600000.0
    >>> read_time("noon", "iso8601") is None, read_time(-1, "s") is None
    (True, True)
    """
    if unit == "iso8601":
        try:
            date = datetime.fromisoformat(value)
            time_ms = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1e3
        except (ValueError, TypeError, OverflowError):
            return None
    else:
        number = read_number(value, is_text=True)
        if number is None:
            return None
        multiply, divide = TO_MS[unit]
        time_ms = number * multiply / divide
    return time_ms if 0 <= time_ms <= TIMESTAMP_MS_MAX else None


def invalid_place(place: Place, unit: TimeUnit, received: object) -> RecordValueError:
    """Return the error for a value that is no time in the unit of the mapping."""
    what = "a date as ISO 8601 writes it" if unit == "iso8601" else f"a number in {unit} since 1970"
    return RecordValueError(
        f"time: expected {what} at {shown(place)}, received {brief(received, 80)!r}; see "
        "input.time_unit"
    )


def shown(place: Place | None) -> str:
    """Return a place as messages show it.

    Parameters
    ----------
    place
        None for the document itself.
    """
    text = place.text if place is not None else ""
    return repr(text) if text else "the top level"
