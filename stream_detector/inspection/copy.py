"""Write the samples of a file again, in the standard form, where a recipe cannot read it as it is.

That is the last resort: for a file without times, with rows that lack a time or a key, or whose key
or time is spread over two columns.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stream_detector.datasets.base import BASE_MS
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.table import RawTable
from stream_detector.recipes.columns import ColumnMap
from stream_detector.text import csv_cell


def with_equal_times(layout: Layout, interval_ms: float) -> Layout:
    """Return a layout whose rows follow each other at one interval, series by series.

    Parameters
    ----------
    layout
        Of a file without times.
    interval_ms
        Time between two rows of a series.
    """
    times_ms = np.empty(len(layout.series))
    for number in range(len(layout.keys)):
        rows = np.flatnonzero(layout.series == number)
        times_ms[rows] = BASE_MS + interval_ms * np.arange(len(rows))
    return replace(layout, times_ms=times_ms)


def why_copy(table: RawTable, layout: Layout) -> str:
    """Return why a recipe cannot read a file as it is, empty if it can."""
    if not layout.columns.time:
        return "the file has no times"
    if layout.time_of_day:
        return f"the time is in two columns, {layout.columns.time} and {layout.time_of_day}"
    n_bad = int((~np.isfinite(layout.times_ms)).sum())
    if n_bad:
        return f"{n_bad:,} rows have no time"
    key = table.named(layout.columns.key) if layout.columns.key else None
    n_bad = int(key.is_missing.sum()) if key is not None else 0
    return f"{n_bad:,} rows have no key" if n_bad else ""


def write_copy(table: RawTable, layout: Layout, out: Path) -> Layout:
    """Write a copy in the standard form, and return what its columns are.

    Parameters
    ----------
    table, layout
        The file, and what its columns are; rows without a time or a key are left out.
    out
        The file to write; what is there is replaced.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    is_kept = np.isfinite(layout.times_ms)
    key = table.named(layout.columns.key) if layout.columns.key else None
    if key is not None:
        is_kept &= ~key.is_missing
    rows = np.flatnonzero(is_kept)
    kept = replace(
        layout,
        columns=ColumnMap("key", "timestamp_ms", "ms", "label", None, layout.features),
        series=layout.series[rows],
        times_ms=layout.times_ms[rows],
        is_normal=layout.is_normal[rows],
    )
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("key", "timestamp_ms", *map(csv_cell, layout.features), "label"))
        writer.writerows(_rows(table, kept, rows.tolist()))
    return kept


def _rows(table: RawTable, kept: Layout, rows: Sequence[int]) -> Iterator[Sequence[object]]:
    """Yield the rows of a copy."""
    columns = [table.named(name) for name in kept.features]
    values = [column.numbers[rows] for column in columns if column is not None]  # type: ignore[index]
    cells = [np.where(np.isnan(each), "", each.astype(str)).tolist() for each in values]
    keys = [csv_cell(key) for key in kept.keys]
    labels = (~kept.is_normal).astype(int).tolist()
    lines = zip(kept.series.tolist(), kept.times_ms.tolist(), labels, *cells, strict=True)
    for series, time_ms, label, *row in lines:
        yield keys[series], f"{time_ms:.15g}", *row, label
