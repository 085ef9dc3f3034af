"""The times of samples in a user's file, in milliseconds."""

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.datasets.files.columns import Columns, canonical
from stream_detector.errors import DatasetError

_SECONDS_LIKE = (1e9, 1e10)
"""Seconds of the years 2001 to 2286; as milliseconds they would be days of early 1970."""


def times_of(columns: Columns) -> NDArray[np.float64]:
    """Return the column timestamp_ms, refusing values that are not times in milliseconds."""
    cells = columns.named["timestamp_ms"]
    try:
        times_ms = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError):
        times_ms = np.array([_number(cell) for cell in cells])
    bad = np.flatnonzero(~np.isfinite(times_ms))
    if len(bad):
        cell = cells[bad[0]]
        _refuse_time(
            columns,
            bad[0],
            f"expected a number, received {cell!r}; {columns.remedy('timestamp_ms', cell)}",
        )
    bad = np.flatnonzero((times_ms < 0) | (times_ms > TIMESTAMP_MS_MAX))
    if len(bad):
        what = (
            "expected milliseconds since 1970-01-01 UTC up to the year 9999, received "
            f"{times_ms[bad[0]]:.16g}; correct the cell, or convert the column to milliseconds"
        )
        _refuse_time(columns, bad[0], what)
    low, high = _SECONDS_LIKE
    bad = np.flatnonzero((times_ms >= low) & (times_ms < high))
    if len(bad):
        what = (
            f"expected milliseconds since 1970-01-01 UTC, received {times_ms[bad[0]]:.0f}, which "
            "looks like seconds; multiply the column by 1000"
        )
        _refuse_time(columns, bad[0], what)
    return times_ms


def _number(cell: object) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def _refuse_time(columns: Columns, row: int, what: str) -> NoReturn:
    """Raise for one cell of the column of times."""
    header = columns.headers.get("timestamp_ms", "timestamp_ms")
    name = header if isinstance(header, int) else canonical(header)
    message = f"{columns.path}, row {columns.rows[row]}, column {name}: {what}"
    raise DatasetError(message)
