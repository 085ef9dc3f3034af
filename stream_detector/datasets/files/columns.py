"""Read the columns of a user's CSV or Parquet file: values, and three columns found by name.

Tables of windows and of samples share this code. CSV needs no extra package; it is read in blocks
of rows, which are converted to numbers column by column. Parquet needs pandas.
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
"""Optional columns found by name; every other column holds values."""

_BLOCK_ROWS = 4096
_WHOLE_MAX = 2.0**53
"""Up to here float64 holds every integer exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns as read: values as float64, named columns as the cells of the file.

    Parameters
    ----------
    path
        The file.
    value_names
        Headers of the value columns, or their numbers from 1 if there is no header.
    values
        Shape (n_rows, n_values), n_rows >= 1. NaN is a missing value.
    named
        Cells of those columns of `NAMED` that the file has.
    rows
        Number of each row in messages, shape (n_rows,), counted from 1: the line of a CSV file,
        the header included, or the row of a Parquet table.
    """

    path: Path
    value_names: Sequence[str]
    values: NDArray[np.float64]
    named: dict[str, list[Any]]
    rows: NDArray[np.int64]

    def keys(self) -> list[str] | None:
        """Return the column `key` as text, None if there is none."""
        keys = self.named.get("key")
        if keys is None:
            return None
        # A missing key is None or NaN, and NaN differs from itself.
        return ["" if key is None or key != key else str(key) for key in keys]  # noqa: PLR0124

    def labels(self) -> NDArray[np.int8] | None:
        """Return the column `label`, None if there is none; refuse values other than 0 and 1."""
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
        """Return a named column as integers, None if there is none."""
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
    """Return what to do about a cell without a number: dates concern the whole column."""
    is_date = isinstance(cell, date)  # includes datetime and pandas.Timestamp
    if isinstance(cell, str):
        try:
            datetime.fromisoformat(cell.strip())
            is_date = True
        except ValueError:
            is_date = False
    if is_date:
        return "convert the column to milliseconds since 1970-01-01 UTC"
    return "correct the cell or remove the row"


def read_columns(path: Path, *, blank_is_missing: bool = False) -> Columns:
    """Read a .csv or .parquet file.

    Parameters
    ----------
    path
        The file. A CSV file may have no header.
    blank_is_missing
        Whether an empty cell of a CSV file is read as NaN instead of refused.

    Raises
    ------
    DatasetError
        If the file is missing or cannot be read, has no rows or ragged ones, or a value is not a
        number. The message has file, row and column, and says what to do.
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
    """Remove the header from the first block and return it; without one, number the columns."""
    if all(_is_number(cell) for cell in lines[0]):
        return [str(number) for number in range(1, len(lines[0]) + 1)]
    del rows[0]
    return [name.strip() for name in lines.pop(0)]


def _csv_blocks(path: Path) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield blocks of line numbers and cells of all lines that are not blank."""
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
    """Refuse a line with another number of cells than the first one."""
    for row, cells in zip(rows, lines, strict=True):
        if len(cells) != n_columns:
            message = (
                f"{path}, row {row}: expected {n_columns} columns as in the first row, "
                f"received {len(cells)}; make all rows the same length"
            )
            raise DatasetError(message)


def _numbers(cells: Sequence[str], blank_is_missing: bool) -> NDArray[np.float64]:
    """Return the numbers of a column; raise ValueError if a cell holds none."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        if not blank_is_missing:
            raise
    return np.array([cell if cell.strip() else "nan" for cell in cells], dtype=np.float64)


def _first_bad(cells: Sequence[str], blank_is_missing: bool) -> int:
    """Return the index of a column's first cell that holds no number."""
    return next(
        at
        for at, cell in enumerate(cells)
        if not _is_number(cell) and not (blank_is_missing and not cell.strip())
    )


def _refuse_cell(where: str, cell: str) -> NoReturn:
    """Raise for a cell that holds no number."""
    received = repr(cell) if cell.strip() else "an empty cell"
    message = f"{where}: expected a number, received {received}; correct the cell or remove the row"
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
                f"name it {' or '.join(NAMED)}, or remove it"
            )
            raise DatasetError(message)
    values = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    named = {name: frame[name].tolist() for name in NAMED if name in frame.columns}
    return Columns(path, names, values, named, np.arange(1, len(frame) + 1))


def _whole_numbers(cells: Sequence[Any]) -> NDArray[np.int64] | None:
    """Return a whole column as integers, None if that may not be exact."""
    try:
        numbers = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    is_exact = (np.abs(numbers) < _WHOLE_MAX) & (numbers == np.trunc(numbers))
    return numbers.astype(np.int64) if is_exact.all() else None


def _integer(cell: Any) -> int:
    """Return the integer in a cell such as 3, 3.0 or 3e0."""
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
