"""A person's own windows: CSV or Parquet, one window a row.

Value columns may have any header, and a CSV may have none. Three columns are taken by name, where
they are there: key, timestamp_ms and label. CSV is read without any extra; Parquet needs pandas.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.files.columns import NAMED, Columns, read_columns
from stream_detector.errors import DatasetError

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
    columns = read_columns(path)
    n_values = columns.values.shape[1]
    expected = n_values // n_features if n_steps is None else n_steps
    if n_values == 0 or n_values != expected * n_features:
        wanted = f"{expected} steps x {n_features} features = {expected * n_features}"
        if n_steps is None:
            wanted = f"a multiple of {n_features}"
        message = (
            f"{path}: expected {wanted} value columns, received {n_values}; one row is one whole "
            f"window, beside the optional columns {', '.join(NAMED)}"
        )
        raise DatasetError(message)
    keys = columns.keys()
    return WindowTable(
        windows=_to_windows(columns, expected, n_features),
        keys=None if keys is None else tuple(keys),
        timestamps_ms=columns.integers("timestamp_ms"),
        labels=columns.labels(),
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


def _to_windows(columns: Columns, n_steps: int, n_features: int) -> FloatArray:
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
