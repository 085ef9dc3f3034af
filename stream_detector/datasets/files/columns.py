"""The columns of a person's CSV or Parquet file: numbers, and three columns taken by name.

Shared by tables of windows and tables of samples. CSV is read without any extra, in blocks of
rows that are turned to numbers a column at a time; Parquet needs pandas.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.errors import DatasetError

NAMED = ("key", "timestamp_ms", "label")
"""Columns taken by name, where they are there; every other column holds values."""

_BLOCK_ROWS = 4096
_WHOLE_MAX = 2.0**53
"""Up to here every whole number is a float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns as read: values as float64, the named ones as they stand in the file.

    Parameters
    ----------
    path
        The file.
    value_names
        Headers of the value columns, their numbers counted from 1 where there are none.
    values
        Shape (n_rows, n_values), n_rows >= 1. NaN is a missing value.
    named
        Cells of the columns taken by name, those that are there.
    rows
        What each row is called in messages, shape (n_rows,): a CSV's lines, the header included,
        and the rows of a Parquet table; both counted from 1.
    """

    path: Path
    value_names: Sequence[str]
    values: NDArray[np.float64]
    named: dict[str, list[Any]]
    rows: NDArray[np.int64]

    def keys(self) -> list[str] | None:
        """Return the column `key` as text, None where there is none."""
        keys = self.named.get("key")
        if keys is None:
            return None
        # A missing key is None or NaN, and NaN differs from itself.
        return ["" if key is None or key != key else str(key) for key in keys]  # noqa: PLR0124

    def labels(self) -> NDArray[np.int8] | None:
        """Return the column `label`, None where there is none; refuse what is not 0 or 1."""
        labels = self.integers("label")
        if labels is None:
            return None
        bad = np.flatnonzero((labels != 0) & (labels != 1))
        if len(bad):
            message = (
                f"{self.path}, row {self.rows[bad[0]]}, column label: expected 0 (normal) or 1 "
                f"(anomalous), received {labels[bad[0]]}; correct the label"
            )
            raise DatasetError(message)
        return labels.astype(np.int8)

    def integers(self, name: str) -> NDArray[np.int64] | None:
        """Return a named column as whole numbers, None where there is none."""
        cells = self.named.get(name)
        if cells is None:
            return None
        numbers = _whole_numbers(cells)
        if numbers is not None:
            return numbers
        numbers = np.empty(len(cells), dtype=np.int64)
        for index, cell in enumerate(cells):
            try:
                numbers[index] = _integer(cell)
            except (TypeError, ValueError, OverflowError):
                message = (
                    f"{self.path}, row {self.rows[index]}, column {name}: expected a whole "
                    f"number, received {cell!r}; {remedy_of(cell)}"
                )
                raise DatasetError(message) from None
        return numbers


def remedy_of(cell: object) -> str:
    """Return what to do about a cell that holds no number: dates are a matter of the column."""
    is_date = isinstance(cell, date)  # a datetime is one, and pandas' own
    if isinstance(cell, str):
        try:
            datetime.fromisoformat(cell.strip())
            is_date = True
        except ValueError:
            is_date = False
    if is_date:
        return "convert the column to milliseconds since 1970-01-01 UTC"
    return "correct the cell or take the row out"


def read_columns(path: Path, *, blank_is_missing: bool = False) -> Columns:
    """Read a .csv or .parquet file.

    Parameters
    ----------
    path
        The file. A CSV may have no header.
    blank_is_missing
        Whether an empty cell of a CSV is NaN rather than a mistake.

    Raises
    ------
    DatasetError
        If the file is missing or cannot be read, has no rows or ragged ones, or a value is not a
        number. The message names file, row and column, and what to do.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    return _read_csv(path, blank_is_missing)


def _read_csv(path: Path, blank_is_missing: bool) -> Columns:
    """Read a CSV file with or without a header."""
    blocks = _csv_blocks(path)
    first = next(blocks, None)
    if first is None:
        _refuse_empty(path)
    names = _take_header(*first)
    named: dict[str, list[Any]] = {name: [] for name in NAMED if name in names}
    value_at = [at for at, name in enumerate(names) if name not in named]
    rows: list[int] = []
    values: list[NDArray[np.float64]] = []
    for block_rows, lines in chain([first], blocks):
        _check_lengths(path, block_rows, lines, len(names))
        block = np.empty((len(lines), len(value_at)))
        for number, at in enumerate(value_at):
            cells = [line[at] for line in lines]
            try:
                block[:, number] = _numbers(cells, blank_is_missing)
            except ValueError:
                bad = _first_bad(cells, blank_is_missing)
                _refuse_cell(f"{path}, row {block_rows[bad]}, column {names[at]}", cells[bad])
        for name, column in named.items():
            at = names.index(name)
            column.extend([line[at] for line in lines])
        values.append(block)
        rows.extend(block_rows)
    if not rows:
        _refuse_empty(path)
    value_names = [names[at] for at in value_at]
    return Columns(path, value_names, np.concatenate(values), named, np.array(rows))


def _take_header(rows: list[int], lines: list[list[str]]) -> list[str]:
    """Take the header out of the first block; columns without one are called by their numbers."""
    if all(_is_number(cell) for cell in lines[0]):
        return [str(number) for number in range(1, len(lines[0]) + 1)]
    del rows[0]
    return [name.strip() for name in lines.pop(0)]


def _csv_blocks(path: Path) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield blocks of line numbers and cells, of the lines that are not blank."""
    rows: list[int] = []
    lines: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    rows.append(reader.line_num)
                    lines.append(cells)
                if len(rows) == _BLOCK_ROWS:
                    yield rows, lines
                    rows, lines = [], []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} cannot be read as CSV: {error}; give a comma-separated UTF-8 file"
        raise DatasetError(message) from None
    if rows:
        yield rows, lines


def _check_lengths(
    path: Path, rows: Sequence[int], lines: Sequence[Sequence[str]], n_columns: int
) -> None:
    """Refuse a line that is not as long as the first one."""
    for row, cells in zip(rows, lines, strict=True):
        if len(cells) != n_columns:
            message = (
                f"{path}, row {row}: expected {n_columns} columns as in the first row, "
                f"received {len(cells)}; make all rows the same length"
            )
            raise DatasetError(message)


def _numbers(cells: Sequence[str], blank_is_missing: bool) -> NDArray[np.float64]:
    """Return the numbers of a column; raises ValueError where a cell holds none."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        if not blank_is_missing:
            raise
    return np.array([cell if cell.strip() else "nan" for cell in cells], dtype=np.float64)


def _first_bad(cells: Sequence[str], blank_is_missing: bool) -> int:
    """Return the place of a column's first cell that holds no number."""
    return next(
        at
        for at, cell in enumerate(cells)
        if not _is_number(cell) and not (blank_is_missing and not cell.strip())
    )


def _refuse_cell(where: str, cell: str) -> NoReturn:
    """Raise for a cell that holds no number."""
    received = repr(cell) if cell.strip() else "an empty cell"
    message = (
        f"{where}: expected a number, received {received}; correct the cell or take the row out"
    )
    raise DatasetError(message)


def _read_parquet(path: Path) -> Columns:
    """Read a Parquet file."""
    try:
        import pandas  # noqa: PLC0415  (part of the train extra)

        frame = pandas.read_parquet(path)
    except ImportError:
        message = (
            f"{path}: reading Parquet needs the train extra: pip install 'stream-detector[train]', "
            "or save the table as CSV"
        )
        raise DatasetError(message) from None
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as Parquet: {error}; give a Parquet file"
        raise DatasetError(message) from None
    if frame.empty:
        _refuse_empty(path)
    names = [str(name) for name in frame.columns if name not in NAMED]
    for name in names:
        kind = frame[name].dtype
        if not pandas.api.types.is_numeric_dtype(kind) or pandas.api.types.is_bool_dtype(kind):
            message = (
                f"{path}, row 1, column {name}: expected a column of numbers, received {kind}; "
                f"name it {' or '.join(NAMED)}, or take it out"
            )
            raise DatasetError(message)
    values = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    named = {name: frame[name].tolist() for name in NAMED if name in frame.columns}
    return Columns(path, names, values, named, np.arange(1, len(frame) + 1))


def _whole_numbers(cells: Sequence[Any]) -> NDArray[np.int64] | None:
    """Return a column of whole numbers at one go, None where that may not be exact."""
    try:
        numbers = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    is_exact = (np.abs(numbers) < _WHOLE_MAX) & (numbers == np.trunc(numbers))
    return numbers.astype(np.int64) if is_exact.all() else None


def _integer(cell: Any) -> int:
    """Return a whole number written as 3, 3.0 or 3e0."""
    if isinstance(cell, int) or (isinstance(cell, str) and cell.strip().lstrip("+-").isdecimal()):
        return int(cell)
    value = float(cell)
    if not value.is_integer():
        message = f"{value} is not whole"
        raise ValueError(message)
    return int(value)


def _is_number(cell: str) -> bool:
    """Return whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_empty(path: Path) -> NoReturn:
    """Raise for a file without rows."""
    message = f"{path} has no rows: expected at least one; check that the file is complete"
    raise DatasetError(message)
