"""A person's own windows: CSV or Parquet, one window a row.

Value columns may have any header, and a CSV may have none. Three columns are taken by name, where
they are there: key, timestamp_ms and label. CSV is read without any extra; Parquet needs pandas.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.errors import DatasetError

_NAMED = ("key", "timestamp_ms", "label")
_TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class WindowTable:
    """The windows of one file, in its order.

    Parameters
    ----------
    windows
        Float32, C-contiguous, shape (n_windows, n_steps, n_features), finite, n_windows >= 1.
    keys
        Series key of each window, None where there is no column `key`.
    timestamps_ms
        Int64, time of each first step, None where there is no column `timestamp_ms`.
    labels
        Int8, 0 normal and 1 anomalous, None where there is no column `label`.
    """

    windows: FloatArray
    keys: tuple[str, ...] | None
    timestamps_ms: NDArray[np.int64] | None
    labels: NDArray[np.int8] | None


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns as read: values as float64, the named ones as they stand in the file."""

    path: Path
    value_names: Sequence[str]
    values: NDArray[np.float64]  # (n_windows, n_values)
    named: Mapping[str, Sequence[Any]]
    rows: Sequence[int]
    """What each window's row is called in messages, counted from 1."""


def read_windows(path: Path, n_steps: int | None = None, n_features: int = 1) -> WindowTable:
    """Read windows from a .csv or .parquet file.

    A value becomes float32 by way of float64, exactly as a JSON record's does, so that a window
    scores the same from a file and from a stream.

    Parameters
    ----------
    path
        The file. In a row, all features of the first step come first.
    n_steps
        Steps of a window; None takes as many as the columns give.
    n_features
        Values at each step.

    Raises
    ------
    DatasetError
        If the file is missing, has no rows, the wrong number of columns, a ragged row, or a cell
        that is no finite number. The message names file, row and column, and what to do. Rows
        are counted from 1; in a CSV these are the lines of the file, the header included.
    """
    columns = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    n_values = columns.values.shape[1]
    expected = n_values // n_features if n_steps is None else n_steps
    if n_values == 0 or n_values != expected * n_features:
        wanted = f"{expected} steps x {n_features} features = {expected * n_features}"
        if n_steps is None:
            wanted = f"a multiple of {n_features}"
        message = (
            f"{path}: expected {wanted} value columns, received {n_values}; one row is one whole "
            f"window, beside the optional columns {', '.join(_NAMED)}"
        )
        raise DatasetError(message)
    return WindowTable(
        windows=_to_windows(columns, expected, n_features),
        keys=_keys(columns),
        timestamps_ms=_integers(columns, "timestamp_ms"),
        labels=_labels(columns),
    )


def load(path: Path, n_features: int = 1) -> Dataset:
    """Return a file as a data set: where it has labels, the last fifth is the test part.

    The last in file order, since rows are often in the order of time and a test must not lie
    before what was trained on.
    """
    table = read_windows(path, n_features=n_features)
    n_windows = len(table.windows)
    n_train = n_windows if table.labels is None else n_windows - int(_TEST_SHARE * n_windows)
    train, test = slice(0, n_train), slice(n_train, n_windows)
    labels, keys, times = table.labels, table.keys, table.timestamps_ms
    return Dataset(
        name=path.name,
        split="",
        train=table.windows[train],
        train_labels=None if labels is None else labels[train],
        test=table.windows[test],
        test_labels=None if labels is None else labels[test],
        train_keys=None if keys is None else keys[train],
        test_keys=None if keys is None else keys[test],
        train_timestamps_ms=None if times is None else times[train],
        test_timestamps_ms=None if times is None else times[test],
    )


def _read_csv(path: Path) -> _Columns:
    """Read a CSV file with or without a header."""
    lines = list(_csv_lines(path))
    has_header = bool(lines) and not all(_is_number(cell) for cell in lines[0][1])
    names = [name.strip() for name in lines[0][1]] if has_header else []
    lines = lines[1:] if has_header else lines
    if not lines:
        _refuse_empty(path)
    names = names or [str(number) for number in range(1, len(lines[0][1]) + 1)]
    named_at = {name: names.index(name) for name in _NAMED if name in names}
    value_at = [index for index in range(len(names)) if index not in named_at.values()]
    value_names = [names[index] for index in value_at]
    values = np.empty((len(lines), len(value_at)))
    for number, (row, cells) in enumerate(lines):
        if len(cells) != len(names):
            message = (
                f"{path}, row {row}: expected {len(names)} columns as in the first row, "
                f"received {len(cells)}; make all rows the same length"
            )
            raise DatasetError(message)
        values[number] = _parse(path, row, [cells[index] for index in value_at], value_names)
    named = {name: [cells[at] for _, cells in lines] for name, at in named_at.items()}
    return _Columns(path, value_names, values, named, [row for row, _ in lines])


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} cannot be read as CSV: {error}; give a comma-separated UTF-8 file"
        raise DatasetError(message) from None


def _parse(path: Path, row: int, cells: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers of one row."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        at = next(index for index, cell in enumerate(cells) if not _is_number(cell))
        received = repr(cells[at]) if cells[at].strip() else "an empty cell"
        message = (
            f"{path}, row {row}, column {names[at]}: expected a number, received {received}; "
            "correct the cell or take the row out"
        )
        raise DatasetError(message) from None


def _read_parquet(path: Path) -> _Columns:
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
    names = [str(name) for name in frame.columns if name not in _NAMED]
    for name in names:
        kind = frame[name].dtype
        if not pandas.api.types.is_numeric_dtype(kind) or pandas.api.types.is_bool_dtype(kind):
            message = (
                f"{path}, row 1, column {name}: expected a column of numbers, received {kind}; "
                f"name it {' or '.join(_NAMED)}, or take it out"
            )
            raise DatasetError(message)
    # A missing value becomes NaN, and is refused with the others that are not finite.
    values = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    named = {name: frame[name].tolist() for name in _NAMED if name in frame.columns}
    return _Columns(path, names, values, named, range(1, len(frame) + 1))


def _to_windows(columns: _Columns, n_steps: int, n_features: int) -> FloatArray:
    """Return values as float32 windows, refusing what is not finite."""
    with np.errstate(over="ignore"):
        values = columns.values.astype(np.float32)  # (n_windows, n_values)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        message = (
            f"{columns.path}, row {columns.rows[row]}, column {columns.value_names[column]}: "
            f"expected a finite number that fits float32, received "
            f"{columns.values[row, column]}; correct the cell or take the row out"
        )
        raise DatasetError(message)
    return values.reshape(-1, n_steps, n_features)


def _keys(columns: _Columns) -> tuple[str, ...] | None:
    """Return the column `key` as text."""
    keys = columns.named.get("key")
    if keys is None:
        return None
    # A missing key is None or NaN, and NaN differs from itself.
    return tuple("" if key is None or key != key else str(key) for key in keys)  # noqa: PLR0124


def _labels(columns: _Columns) -> NDArray[np.int8] | None:
    """Return the column `label`."""
    labels = _integers(columns, "label")
    if labels is None:
        return None
    bad = np.flatnonzero((labels != 0) & (labels != 1))
    if len(bad):
        message = (
            f"{columns.path}, row {columns.rows[bad[0]]}, column label: expected 0 (normal) or 1 "
            f"(anomalous), received {labels[bad[0]]}; correct the label"
        )
        raise DatasetError(message)
    return labels.astype(np.int8)


def _integers(columns: _Columns, name: str) -> NDArray[np.int64] | None:
    """Return a named column as whole numbers."""
    cells = columns.named.get(name)
    if cells is None:
        return None
    numbers = np.empty(len(cells), dtype=np.int64)
    for index, cell in enumerate(cells):
        try:
            numbers[index] = _integer(cell)
        except (TypeError, ValueError, OverflowError):
            message = (
                f"{columns.path}, row {columns.rows[index]}, column {name}: expected a whole "
                f"number, received {cell!r}; correct the cell or take the row out"
            )
            raise DatasetError(message) from None
    return numbers


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
    """Raise for a file without windows."""
    message = f"{path} has no rows: expected at least one window; check that the file is complete"
    raise DatasetError(message)
