"""Times and labels of a user's file in any of the usual forms, as milliseconds and as 0 and 1."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.iso_times import iso_at_once
from stream_detector.datasets.files.remedies import is_date
from stream_detector.recipes.columns import TIME_UNITS_MS, ColumnMap

MISSING_WORDS = frozenset(
    (
        *("", "#n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "nat", "null", "none", "nil"),
        *("-", "--", "?", "unavailable", "unknown"),
    )
)
"""Words in lower case that stand for a missing value: those of pandas and of Home Assistant."""


_TIME = re.compile(r"time|date|ts|(date_?time|time_?stamp|epoch)(_?(s|ms|us|ns|utc))?")

EPOCHS = {"s": (6e8, 6e9), "ms": (6e11, 6e12), "us": (6e14, 6e15), "ns": (6e17, 6e18)}
"""Numbers since 1970 of the years 1989 to 2160, by unit."""

FORMAT_NAMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "iso": "ISO 8601",
}
"""What a format is called."""


def epoch_unit(number: float) -> str | None:
    """Return the unit in which a number counts from 1970, None where it is none of our days.

    Examples
    --------
    >>> epoch_unit(1_767_225_600), epoch_unit(1.7672256e18), epoch_unit(60.0)
    ('s', 'ns', None)
    """
    return next((unit for unit, (low, high) in EPOCHS.items() if low <= number < high), None)


def decide_format(cells: Sequence[Any]) -> str:
    """Return the format of a column of times, of which nothing is said.

    Parameters
    ----------
    cells
        Numbers, text or dates, as the file has them.

    Returns
    -------
    The unit in which the first number counts from 1970, and milliseconds where it is none of our
    days; "iso" where the first cell is no number.

    Examples
    --------
    >>> [decide_format(cells) for cells in (["", "1767225600.5"], ["2026-01-01"], [0, 5], [])]
    ['s', 'iso', 'ms', 'ms']
    """
    first = next((cell for cell in cells if label_text(cell)), None)
    if first is None:
        return "ms"
    number = _number(first) if not isinstance(first, date) else math.nan
    return "iso" if math.isnan(number) else epoch_unit(number) or "ms"


def is_time_name(name: str) -> bool:
    """Return whether a column is called as times are.

    Examples
    --------
    >>> is_time_name("Time"), is_time_name("time_stamp"), is_time_name("runtime")
    (True, True, False)
    """
    return _TIME.fullmatch(re.sub(r"[ -]+", "_", name.strip().lower())) is not None


def find_time(names: Sequence[str], cells: Sequence[object], columns: ColumnMap) -> ColumnMap:
    """Return which column is what, with the time where nothing says it and one column looks so.

    Parameters
    ----------
    names
        Headers of the columns.
    cells
        The first cell of each.
    columns
        What is said.

    Examples
    --------
    >>> find_time(["ts", "flow"], ["2026-01-01", "5"], ColumnMap()).time
    'ts'
    >>> find_time(["flow", "runtime"], ["5", "1767225600"], ColumnMap()).time is None
    True
    """
    if columns.names_time_of(names) or "timestamp_ms" in names:
        return columns
    known = (columns.key, columns.label, *columns.features)
    likely = [
        name
        for name, cell in zip(names, cells, strict=True)
        if name not in known and _is_time(name, cell)
    ]
    named = [name for name in likely if is_time_name(name)]
    chosen = named if len(named) == 1 else likely
    if len(chosen) != 1:
        return columns
    # The format that is said is that of the column that is named.
    time_format = columns.time_format if columns.time is None else None
    return replace(columns, time=chosen[0], time_format=time_format)


def _is_time(name: str, cell: object) -> bool:
    """Return whether a column with this name and first cell holds times."""
    if is_date(cell):
        return math.isfinite(_iso_ms(cell))
    return is_time_name(name) and epoch_unit(_number(cell)) is not None


def to_milliseconds(cells: Sequence[Any], time_format: str) -> NDArray[np.float64]:
    """Return a column of times as milliseconds since 1970-01-01 UTC.

    Parameters
    ----------
    cells
        Numbers, text or dates, as the file has them. A date without a time zone is UTC.
    time_format
        See `stream_detector.recipes.columns.ColumnMap`.

    Returns
    -------
    Shape (n_cells,), float64; NaN for a cell that holds no such time.

    Examples
    --------
    >>> to_milliseconds(["1767225600", "1767225600.5", "?"], "s").tolist()
    [1767225600000.0, 1767225600500.0, nan]
    >>> to_milliseconds(["2026-01-01T01:00:00+01:00", "2026-01-01 00:00:01"], "iso").tolist()
    [1767225600000.0, 1767225601000.0]
    >>> to_milliseconds(["01.02.2026 00:00"], "%d.%m.%Y %H:%M").tolist()
    [1769904000000.0]
    """
    if isinstance(next((cell for cell in cells if cell is not None), None), date):
        return np.array([_date_ms(cell) for cell in cells], dtype=np.float64)
    factor = TIME_UNITS_MS.get(time_format)
    if factor is not None:
        try:
            numbers = np.array(cells, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.array([_number(cell) for cell in cells], dtype=np.float64)
        # Divided, since 1e-3 is no exact number.
        return numbers * factor if factor >= 1 else numbers / round(1 / factor)
    if time_format == "iso":
        times_ms = iso_at_once(cells)
        if times_ms is not None:
            return times_ms
        return np.array([_iso_ms(cell) for cell in cells], dtype=np.float64)
    return np.array([_pattern_ms(cell, time_format) for cell in cells], dtype=np.float64)


def to_labels(cells: Sequence[Any], normal: str) -> NDArray[np.int8]:
    """Return a column of labels: 0 where the cell is the normal one or missing, else 1.

    Parameters
    ----------
    cells
        As the file has them.
    normal
        What the label of normal rows is; 0, 0.0 and "0" are the same, so are words in any case.

    Examples
    --------
    >>> to_labels(["ok", "Ok", "", "leak"], "ok").tolist(), to_labels([1.0, -1, None], "1").tolist()
    ([0, 0, 0, 1], [0, 1, 0])
    """
    wanted = label_text(normal)
    known: dict[Any, int] = {}
    found = np.empty(len(cells), dtype=np.int8)
    for at, cell in enumerate(cells):
        if cell not in known:
            known[cell] = int(label_text(cell) not in (wanted, ""))
        found[at] = known[cell]
    return found


def label_text(cell: object) -> str:
    """Return a label as text that is the same for 1, 1.0, "1" and "1.0"; "" for a missing one.

    Examples
    --------
    >>> [label_text(cell) for cell in (1.0, " 1 ", "Leak", None, True)]
    ['1', '1', 'leak', '', 'true']
    """
    text = "" if cell is None else str(cell).strip().lower()
    if text in MISSING_WORDS:
        return "none" if text == "none" and isinstance(cell, str) else ""
    number = _number(text)
    return f"{number:g}" if math.isfinite(number) else text


def _number(cell: object) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _date_ms(cell: Any) -> float:
    """Return the time of a date, NaN where it is none."""
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
    try:
        if cell.tzinfo is None:
            cell = cell.replace(tzinfo=UTC)
        return float(cell.timestamp()) * 1_000.0
    except (AttributeError, ValueError, TypeError, OverflowError):
        return math.nan


def _iso_ms(cell: object) -> float:
    """Return the time in a cell of ISO 8601, NaN where it is none."""
    if isinstance(cell, date):
        return _date_ms(cell)
    if not isinstance(cell, str):
        return math.nan
    text = cell.strip().replace("/", "-").removesuffix(" UTC").removesuffix(" GMT")
    try:
        return _date_ms(datetime.fromisoformat(text))
    except ValueError:
        return math.nan


def _pattern_ms(cell: object, pattern: str) -> float:
    """Return the time in a cell that a pattern describes, NaN where it does not."""
    try:
        return _date_ms(datetime.strptime(str(cell).strip(), pattern))  # noqa: DTZ007  (or UTC)
    except (ValueError, TypeError):
        return math.nan
