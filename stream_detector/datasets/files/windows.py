"""Read a user's windows from CSV or Parquet, one window in each row.

Value columns may have any header, and a CSV file may have none. Three optional columns are found by
name: key, timestamp_ms and label. CSV needs no extra package; Parquet needs pyarrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import to_float32
from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.files.columns import NAMED, Columns
from stream_detector.datasets.files.extra import N_ROWS_MIN, refuse_extra
from stream_detector.datasets.files.reading import column_parts, read_columns
from stream_detector.errors import DatasetError
from stream_detector.files import AnyPath
from stream_detector.recipes.columns import BY_NAME, ColumnMap

TEST_SHARE = 0.2
"""Share of labelled windows that are the test part, where nothing else is said."""

_N_OF_KEY_MIN = 5
"""A fifth of fewer windows is none."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowTable:
    """The windows of one file, in its order.

    Parameters
    ----------
    windows
        Float32, C-contiguous, shape (n_windows, n_steps, n_features), finite, n_windows >= 1.
    keys
        Series key of each window, None if there is no column `key`.
    timestamps_ms
        Int64, time of each window's first step, None if there is no column `timestamp_ms`.
    labels
        Int8, 0 normal and 1 anomalous, None if there is no column `label`.
    exact
        The windows as the file has them, without an origin subtracted; float64, same shape.
    """

    windows: FloatArray
    keys: tuple[str, ...] | None
    timestamps_ms: NDArray[np.int64] | None
    labels: NDArray[np.int8] | None
    exact: NDArray[np.float64]


def read_windows(
    path: AnyPath,
    n_steps: int | None = None,
    n_features: int = 1,
    origin: Sequence[float] = (),
    columns: ColumnMap = BY_NAME,
) -> WindowTable:
    """Read windows from a .csv or .parquet file.

    A value is parsed as float64 and rounded to float32, exactly as in a JSON record, so that a
    window has the same score from a file and from a stream.

    Parameters
    ----------
    path
        The file. In a row, all features of the first step come first.
    n_steps
        Steps of a window; None takes all value columns.
    n_features
        Values at each step.
    origin
        What is taken from each feature before values are rounded to float32.
    columns
        Which column is what.

    Raises
    ------
    DatasetError
        If the file is missing, has no rows, the wrong number of columns, a ragged row, or a cell
        that is not a finite number. The message has file, row and column, and says what to do.
        Rows are counted from 1; in a CSV file these are its lines, the header included.
    """
    path = Path(path)
    return to_windows(read_columns(path, columns=columns), n_steps, n_features, origin)


def window_parts(
    path: AnyPath,
    n_steps: int | None,
    n_features: int = 1,
    origin: Sequence[float] = (),
    columns: ColumnMap = BY_NAME,
    *,
    is_again: bool = False,
) -> Iterator[WindowTable]:
    """Yield the windows of a file some at a time, so that a large one need not be held.

    They are those of `read_windows`. What columns hold that are no values is judged by the first
    rows alone.

    Parameters
    ----------
    path, n_steps, n_features, origin, columns
        As there.
    is_again
        Whether the file was read before, so that the log has said how it is read.

    Raises
    ------
    DatasetError
        As there, once the row is reached.
    """
    parts = column_parts(Path(path), columns=columns, is_again=is_again)
    for number, part in enumerate(parts):
        read = part.with_labels()
        yield to_windows(read, n_steps, n_features, origin, is_first=number == 0)


def to_windows(
    read: Columns,
    n_steps: int | None = None,
    n_features: int = 1,
    origin: Sequence[float] = (),
    *,
    is_first: bool = True,
) -> WindowTable:
    """Return the windows of columns, the first of a file or later ones; see `read_windows`."""
    path, columns = read.path, read.chosen
    n_values = read.values.shape[1]
    expected = n_values // n_features if n_steps is None else n_steps
    is_fitting = n_values == expected * n_features
    # Few rows say little, but where a column is too many it is one that stands out.
    if is_first and not columns.features:
        refuse_extra(read, by_values=True, n_rows_min=N_ROWS_MIN if is_fitting else 2)
    if n_values == 0 or not is_fitting:
        wanted = f"{expected} steps x {n_features} features = {expected * n_features}"
        if n_steps is None:
            wanted = f"a multiple of {n_features}"
        message = (
            f"{path}: expected {wanted} value columns, received {n_values}; one row is one whole "
            f"window, beside the optional columns {', '.join(NAMED)}"
        )
        raise DatasetError(message)
    keys = read.keys()
    return WindowTable(
        windows=_to_windows(read, expected, n_features, origin),
        keys=None if keys is None else tuple(keys),
        timestamps_ms=read.integers("timestamp_ms"),
        labels=read.labels(),
        exact=read.values.reshape(-1, expected, n_features),
    )


def load(
    path: AnyPath,
    n_features: int = 1,
    *,
    exact: bool = False,
    columns: ColumnMap = BY_NAME,
    test_share: float | None = None,
) -> Dataset:
    """Load a file as a data set; the last share of each key is the test part.

    The last windows are the test part because test data must not precede training data: the last
    rows, or those of the latest times where the file has times. A key that is tested must have been
    trained on; only keys of fewer than five windows are split together, as if they were one.

    Parameters
    ----------
    path
        The file.
    n_features
        Values at each step.
    exact
        Keep the values in float64, to subtract an origin before they are rounded to float32.
    columns
        Which column is what.
    test_share
        That share, in [0, 1); None takes a fifth of a file with labels, and nothing of another.
    """
    path = Path(path)
    table = read_windows(path, n_features=n_features, columns=columns)
    return to_dataset(table, path.name, exact=exact, test_share=test_share)


def to_dataset(
    table: WindowTable, name: str, *, exact: bool = False, test_share: float | None = None
) -> Dataset:
    """Return windows as a data set; see `load`.

    Parameters
    ----------
    table
        The windows.
    name
        Name of the data set.
    exact, test_share
        See `load`.
    """
    if test_share is None:
        test_share = 0.0 if table.labels is None else TEST_SHARE
    numbers = None
    if table.keys is not None:
        numbers = np.unique(np.array(table.keys), return_inverse=True)[1]  # (n_windows,)
    is_test = last_of_keys(numbers, table.timestamps_ms, len(table.windows), test_share)
    labels, times = table.labels, table.timestamps_ms
    windows: Any = table.exact if exact else table.windows

    def keys_of(part: NDArray[np.bool_]) -> tuple[str, ...] | None:
        return None if table.keys is None else tuple(compress(table.keys, part.tolist()))

    return Dataset(
        name=name,
        split="",
        train=windows[~is_test],
        train_labels=None if labels is None else labels[~is_test],
        test=windows[is_test],
        test_labels=None if labels is None else labels[is_test],
        train_keys=keys_of(~is_test),
        test_keys=keys_of(is_test),
        train_timestamps_ms=None if times is None else times[~is_test],
        test_timestamps_ms=None if times is None else times[is_test],
    )


def last_of_keys(
    numbers: NDArray[Any] | None,
    timestamps_ms: NDArray[np.int64] | None,
    n_windows: int,
    share: float,
) -> NDArray[np.bool_]:
    """Return which windows are among the last share of their key, shape (n_windows,).

    Parameters
    ----------
    numbers
        Number of each window's key, from 0, shape (n_windows,); None where all have the same.
    timestamps_ms
        Its time, shape (n_windows,); None where only the order says which is later.
    n_windows
        At least one.
    share
        In [0, 1).
    """
    numbers = np.zeros(n_windows, np.int8) if numbers is None else numbers
    is_few = np.bincount(numbers) < _N_OF_KEY_MIN  # (n_keys,)
    group = np.where(is_few[numbers], numbers.dtype.type(-1), numbers)  # (n_windows,)
    sorted_by = (group,) if timestamps_ms is None else (timestamps_ms, group)
    order = np.lexsort(sorted_by)  # group by group, in time, and then as in the file
    starts = np.flatnonzero(np.diff(group[order], prepend=group.dtype.type(-2)))  # (n_groups,)
    ends = np.append(starts[1:], n_windows)
    # Arrays of one byte a window: there may be very many.
    change = np.zeros(n_windows + 1, np.int8)
    change[ends - (share * (ends - starts)).astype(np.intp)] += 1
    change[ends] -= 1
    is_test = np.zeros(n_windows, dtype=np.bool_)
    is_test[order] = np.cumsum(change[:-1], dtype=np.int8) > 0
    return is_test


def _to_windows(
    columns: Columns, n_steps: int, n_features: int, origin: Sequence[float]
) -> FloatArray:
    """Return values as float32 windows, refusing values that are not finite."""
    values = to_float32(columns.values, np.tile(origin, n_steps))  # (n_windows, n_values)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        message = (
            f"{columns.path}, row {columns.rows[row]}, column {columns.value_names[column]}: "
            f"expected a finite number that fits float32, received "
            f"{columns.values[row, column]}; correct the cell or remove the row"
        )
        raise DatasetError(message)
    return values.reshape(-1, n_steps, n_features)
