"""Find the column of times, and in which unit or form it is."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.times import EPOCHS, to_milliseconds
from stream_detector.inspection.table import RawColumn

_NAME = re.compile(
    r"time|date|ts|t|when|epoch|datum|zeit|zeitstempel|clock|utc|unix|seconds?|sec|secs|elapsed|"
    r"(date|unix|epoch|event|sample|record|measure(ment)?|local|utc|log|read(ing)?|device|gps)?"
    r"[ _-]?(time|date|time[ _-]?stamp|stamp|ts|datetime)([ _-]?(s|sec|ms|us|ns|utc|z|iso))?|"
    r"(time|elapsed)[ _-]?(s|sec|secs|seconds|ms|us|ns|min|h)|"
    r"(recorded|created|measured|sampled|observed|received|logged|read|updated)[ _-]?(at|on|time)|"
    r"(.*[ _-])(time|date|datetime|time[ _-]?stamp|ts)"
)
_PATTERNS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y",
    "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S.%f", "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S.%f", "%m/%d/%Y",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d/%m/%y %H:%M", "%m/%d/%y %H:%M",
    "%d-%b-%Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%b %d %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y",
    "%Y%m%d %H:%M:%S", "%Y.%m.%d %H:%M:%S", "%Y-%m-%d %I:%M:%S %p",
)  # fmt: skip
_N_TRIED = 400
_UNIT_IN_NAME = {
    "ns": re.compile(r".*[ _(\[-]ns[)\]]?|.*nanos(econds)?"),
    "us": re.compile(r".*[ _(\[-](us|µs)[)\]]?|.*micros(econds)?"),
    "ms": re.compile(r".*[ _(\[-]ms(ec)?[)\]]?|.*millis(econds)?|timestampms"),
    "s": re.compile(r".*[ _(\[-](s|sec|secs)[)\]]?|.*seconds?|secs?"),
}
_TIME_OF_DAY = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}(?:\.\d+)?))? ?([AaPp][Mm])?")
_HOUR_MAX, _MINUTE_MAX, _DAY_MS = 23, 59, 86_400_000.0
_MOST = 0.99
_WHOLE_SECONDS = (10, 15, 30, 60, 120, 180, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 86_400)


@dataclass(frozen=True, slots=True, eq=False)
class TimeColumn:
    """The column of times.

    Parameters
    ----------
    name, time_format
        Its name, and its unit or form as `stream_detector.recipes.columns.ColumnMap` has it.
    times_ms
        Shape (n_rows,), milliseconds since 1970-01-01 UTC; NaN where a cell holds no time.
    why
        Why it was taken.
    others
        Names of other columns that are times.
    note
        What a person should know of the times; empty if nothing.
    time_of_day
        Name of a second column with the time of day, where the first has dates only; it is added to
        the times. Empty if there is none.
    """

    name: str
    time_format: str
    times_ms: NDArray[np.float64]
    why: str
    others: tuple[str, ...] = ()
    note: str = ""
    time_of_day: str = ""


class _Form(NamedTuple):
    """A form that the times of a column may have: how sure that is, why, and what to know."""

    merit: float
    time_format: str
    why: str
    note: str = ""


def find_times(
    columns: Sequence[RawColumn], time_format: str | None, *, is_said: bool
) -> TimeColumn | None:
    """Return the column of times, None if there is none.

    Parameters
    ----------
    columns
        Those that may be it.
    time_format
        The form, where a person said it.
    is_said
        Whether a person said that this is the column.
    """
    found: list[tuple[float, RawColumn, _Form]] = []
    for column in columns:
        form = _form_of(column, time_format, is_said=is_said)
        if form is not None:
            named = 2.0 if _is_named(column.name) else 0.0
            exact = 1.0 if column.name == "timestamp_ms" else 0.0
            found.append((form.merit + named + exact, column, form))
    if not found:
        return None
    _, column, form = max(found, key=lambda each: each[0])
    cells = column.cells if column.numbers is None else column.numbers.tolist()
    best = TimeColumn(
        column.name,
        form.time_format,
        to_milliseconds(cells, form.time_format),
        form.why,
        tuple(other.name for _, other, _ in found if other is not column),
        form.note,
    )
    return _with_time_of_day(best, columns)


def _with_time_of_day(best: TimeColumn, columns: Sequence[RawColumn]) -> TimeColumn:
    """Return the times with those of a second column added, where the first has dates only."""
    there = best.times_ms[np.isfinite(best.times_ms)]
    is_dates = not (there % _DAY_MS).any() and len(np.unique(there)) < len(there)
    for column in columns if is_dates else ():
        if column.numbers is not None or column.name == best.name:
            continue
        known: dict[object, float] = {}
        for cell in column.cells:
            if cell not in known:
                known[cell] = _time_of_day_ms(cell)
        within = np.array([known[cell] for cell in column.cells])
        if np.isfinite(within).mean() > _MOST:
            others = tuple(name for name in best.others if name != column.name)
            times_ms = best.times_ms + within
            why = f"{best.why}; {column.name} has the time of day"
            return replace(best, times_ms=times_ms, why=why, others=others, time_of_day=column.name)
    return best


def _time_of_day_ms(cell: object) -> float:
    """Return milliseconds since midnight, NaN for what is no time of day.

    Examples
    --------
    >>> [_time_of_day_ms(cell) for cell in ("00:01", "1:00:00 PM", "18.00.00", "25:00", "x")]
    [60000.0, 46800000.0, 64800000.0, nan, nan]
    """
    match = _TIME_OF_DAY.fullmatch(str(cell).strip())
    if match is None:
        return math.nan
    hours, minutes, seconds, half = match.groups()
    hour = int(hours) % 12 + (12 if half.lower() == "pm" else 0) if half else int(hours)
    if hour > _HOUR_MAX or int(minutes) > _MINUTE_MAX:
        return math.nan
    return 3_600_000.0 * hour + 60_000.0 * int(minutes) + 1_000.0 * float(seconds or 0)


def _is_named(name: str) -> bool:
    """Return whether a column is called as times are."""
    without_unit = re.sub(r"[(\[].*?[)\]]", "", name).strip()
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", without_unit).lower()
    return _NAME.fullmatch(plain) is not None


def _form_of(column: RawColumn, time_format: str | None, *, is_said: bool) -> _Form | None:
    """Return the form of a column's times, None where it has none."""
    form = (
        _form_of_numbers(column, is_said) if column.numbers is not None else _form_of_text(column)
    )
    if time_format is None or (form is None and not is_said):
        return form
    why = f"read as {time_format}, as you said"
    return _Form(3.0, time_format, why) if form is None else _replace_form(form, time_format, why)


def _replace_form(form: _Form, time_format: str, why: str) -> _Form:
    """Return a form with the unit that a person said."""
    return form._replace(time_format=time_format, why=why, note="")


def _form_of_numbers(column: RawColumn, is_said: bool) -> _Form | None:
    """Return the unit of a column of numbers, None where it is no time."""
    numbers = column.numbers
    if numbers is None or len(numbers) < 2:  # noqa: PLR2004
        return None
    there = numbers[np.isfinite(numbers)]
    if not len(there) or len(there) < 0.99 * len(numbers):
        return None
    is_named = is_said or _is_named(column.name)
    steps = np.diff(there)
    rises = float((steps >= 0).mean()) if len(steps) else 0.0
    for unit, (low, high) in EPOCHS.items():
        if low <= there.min() and there.max() < high and (is_named or rises > 0.9):  # noqa: PLR2004
            return _Form(3.0 + rises, unit, f"counts {_WORDS[unit]} since 1970")
    later = steps[steps > 0]
    if not is_named or there.min() < 0 or not len(later) or rises < 0.5:  # noqa: PLR2004
        return None
    if len(np.unique(there)) < 0.01 * len(there) and not is_said:
        return None
    unit = _unit_of(column.name, float(np.median(later)), later)
    why = f"counts {_WORDS[unit]} from some beginning"
    note = (
        f"{column.name} is taken as {_WORDS[unit]} since some beginning and not since 1970; if it "
        "is another unit, say so with --time-format"
    )
    return _Form(2.0 + rises, unit, why, note)


_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _unit_of(name: str, step: float, later: NDArray[np.float64]) -> str:
    """Return the unit of times that do not count from 1970, by name and by the usual interval."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()
    for unit, pattern in _UNIT_IN_NAME.items():
        if pattern.fullmatch(plain):
            return unit
    if step < 20 or (later != np.trunc(later)).any():  # noqa: PLR2004
        return "s"
    return "s" if any(abs(step - each) < 0.01 * each for each in _WHOLE_SECONDS) else "ms"


def _form_of_text(column: RawColumn) -> _Form | None:
    """Return the form of a column of dates, None where it is none."""
    cells = column.cells
    if isinstance(next((cell for cell in cells if cell is not None), None), date):
        return _Form(4.0, "iso", "holds dates")
    places = np.unique(np.linspace(0, len(cells) - 1, _N_TRIED).astype(int)).tolist()
    tried = [
        cell for cell in (cells[at] for at in places) if isinstance(cell, str) and cell.strip()
    ]
    if len(tried) < 0.9 * len(places) or all(_is_plain_number(cell) for cell in tried):
        return None
    fitting = [form for form in ("iso", *_PATTERNS) if _fits(tried, form)]
    if not fitting:
        return None
    # Two orders of day and month may both fit the cells tried: all of them decide.
    days = [form for form in fitting if _fits(cells, form)] or fitting[:1]
    note = ""
    if len(days) > 1:
        days.sort(key=lambda form: -_evenness(tried, form))
        note = (
            f"dates such as {tried[0].strip()!r} can be read in two ways; {days[0]} was taken; if "
            f"that is wrong, give --time-format '{days[1]}'"
        )
    zone = (
        ""
        if any(re.search(r"(Z|[+-]\d\d:?\d\d)$", cell.strip()) for cell in tried)
        else ("; they name no time zone and are read as UTC")
    )
    return _Form(4.0, days[0], f"holds dates such as {tried[0].strip()[:32]}{zone}", note)


def _fits(cells: Sequence[object], time_format: str) -> bool:
    """Return whether a form reads all cells that hold something."""
    there = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    return bool(np.isfinite(to_milliseconds(there[:1], time_format)).all()) and bool(
        np.isfinite(to_milliseconds(there, time_format)).all()
    )


def _evenness(cells: Sequence[str], time_format: str) -> float:
    """Return the share of steps forwards of times read in a form."""
    steps = np.diff(to_milliseconds(cells, time_format))
    return float((steps >= 0).mean()) - float(np.ptp(steps)) / 1e15 if len(steps) else 0.0


def _is_plain_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
