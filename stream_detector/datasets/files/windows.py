"""Read a user's windows from CSV or Parquet, one window in each row.

Value columns may have any header, and a CSV file may have none. Three optional columns are found by
name: key, timestamp_ms and label. CSV needs no extra package; Parquet needs pandas.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.files.columns import NAMED, Columns
from stream_detector.datasets.files.extra import N_ROWS_MIN, refuse_extra
from stream_detector.datasets.files.reading import read_columns
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
        Series key of each window, None if there is no column `key`.
    timestamps_ms
        Int64, time of each window's first step, None if there is no column `timestamp_ms`.
    labels
        Int8, 0 normal and 1 anomalous, None if there is no column `label`.
    """

    windows: FloatArray
    keys: tuple[str, ...] | None
    timestamps_ms: NDArray[np.int64] | None
    labels: NDArray[np.int8] | None


def read_windows(path: Path, n_steps: int | None = None, n_features: int = 1) -> WindowTable:
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

    Raises
    ------
    DatasetError
        If the file is missing, has no rows, the wrong number of columns, a ragged row, or a cell
        that is not a finite number. The message has file, row and column, and says what to do.
        Rows are counted from 1; in a CSV file these are its lines, the header included.
    """
    columns = read_columns(path)
    n_values = columns.values.shape[1]
    expected = n_values // n_features if n_steps is None else n_steps
    is_fitting = n_values == expected * n_features
    # Few rows say little, but where a column is too many it is one that stands out.
    refuse_extra(columns, by_values=True, n_rows_min=N_ROWS_MIN if is_fitting else 2)
    if n_values == 0 or not is_fitting:
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
    """Load a file as a data set; if it has labels, its last fifth is the test part.

    The last rows are the test part because rows are often in order of time, and test data must not
    precede training data.
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
    """Return values as float32 windows, refusing values that are not finite."""
    with np.errstate(over="ignore"):
        values = columns.values.astype(np.float32)  # (n_windows, n_values)
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
