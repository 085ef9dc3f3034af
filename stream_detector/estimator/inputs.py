"""Tables of pandas and arrays of NumPy, as the columns that files are read into."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.datasets.files.columns import Columns, canonical
from stream_detector.datasets.files.parquet import index_of, to_columns
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.inspection.table import RawColumn, RawTable, arrow_columns, to_raw
from stream_detector.recipes.columns import ColumnMap

TIMES = "timestamp_ms"
"""The column of times that is added where there are none."""

_INDEX_OF_TIMES = "time"
_DIMENSIONS = (2, 3)


class Given(Protocol):
    """What a program gave: rows that are samples or whole windows."""

    @property
    def index(self) -> Any:
        """The index of a pandas table; None of an array."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without those of an index that has none of ours."""
        ...

    @property
    def window_shape(self) -> tuple[int, int] | None:
        """(n_steps, n_features) of an array with three dimensions, else None."""
        ...

    def __len__(self) -> int: ...

    def raw(self) -> RawTable:
        """Return all columns, to find out what they are."""
        ...

    def columns(self, chosen: ColumnMap, *, blank_is_missing: bool) -> Columns:
        """Return the columns as those of a file are read; see `read_columns`."""
        ...

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Return which rows have no value in a column, shape (n_rows,)."""
        ...

    def select(self, rows: NDArray[np.intp]) -> "Given":
        """Return these rows."""
        ...

    def with_times(self, times_ms: NDArray[np.float64]) -> "Given":
        """Return the same with a column `TIMES`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GivenTable:
    """A table of pandas.

    Parameters
    ----------
    table
        The same as a table of Arrow.
    index
        Its index.
    """

    table: Any
    index: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(map(canonical, self.table.column_names))

    @property
    def window_shape(self) -> None:
        """Return None: a table has two dimensions."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def raw(self) -> RawTable:
        """Return all columns, to find out what they are."""
        return to_raw(_TABLE, arrow_columns(_TABLE, self.table))

    def columns(self, chosen: ColumnMap, *, blank_is_missing: bool) -> Columns:
        """Return the columns as those of a file are read; see `read_columns`."""
        return to_columns(_TABLE, self.table, blank_is_missing=blank_is_missing, columns=chosen)

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Return which rows have no value in a column, shape (n_rows,)."""
        column = self.table.columns[self.names.index(name)]
        is_missing: NDArray[np.bool_] = column.is_null(nan_is_null=True).to_numpy()
        return is_missing

    def select(self, rows: NDArray[np.intp]) -> "GivenTable":
        """Return these rows."""
        return GivenTable(self.table.take(rows), self.index[rows])

    def with_times(self, times_ms: NDArray[np.float64]) -> "GivenTable":
        """Return the same with a column `TIMES`."""
        return replace(self, table=self.table.append_column(TIMES, [times_ms]))


@dataclass(frozen=True, slots=True, eq=False)
class GivenArray:
    """An array.

    Parameters
    ----------
    values
        Float64, shape (n_rows, n_columns); of three dimensions the last two as one.
    names
        Names of the columns.
    window_shape
        (n_steps, n_features) of an array with three dimensions, else None.
    times_ms
        Times of the rows; None where there are none.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    window_shape: tuple[int, int] | None = None
    times_ms: NDArray[np.float64] | None = None

    @property
    def index(self) -> None:
        """Return None: an array has none."""

    def __len__(self) -> int:
        return len(self.values)

    def raw(self) -> RawTable:
        """Return all columns, to find out what they are."""
        named = zip(self.names, self.values.T, strict=True)
        return to_raw(_ARRAY, [RawColumn(name, values) for name, values in named])

    def columns(self, chosen: ColumnMap, *, blank_is_missing: bool) -> Columns:
        """Return the columns as those of a file are read; see `read_columns`."""
        del blank_is_missing
        named = {} if self.times_ms is None else {TIMES: self.times_ms.tolist()}
        chosen = replace(chosen, features=self.names)  # all of them, whatever they hold
        rows = np.arange(1, len(self) + 1)
        return Columns(_ARRAY, self.names, self.values, named, rows, chosen=chosen)

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Return which rows have no value in a column, shape (n_rows,)."""
        is_missing: NDArray[np.bool_] = np.isnan(self.values[:, self.names.index(name)])
        return is_missing

    def select(self, rows: NDArray[np.intp]) -> "GivenArray":
        """Return these rows."""
        times_ms = None if self.times_ms is None else self.times_ms[rows]
        return replace(self, values=self.values[rows], times_ms=times_ms)

    def with_times(self, times_ms: NDArray[np.float64]) -> "GivenArray":
        """Return the same with times."""
        return replace(self, times_ms=times_ms)


_TABLE, _ARRAY = Path("DataFrame"), Path("array")


def take(data: Any, names: Sequence[str] = ()) -> Given:
    """Take what a program gave.

    Parameters
    ----------
    data
        A DataFrame or Series of pandas, or what NumPy makes an array of two or three dimensions of.
    names
        Names of the columns of an array; without them they are called feature_0 and so on.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or empty: the caller's mistake.
    DatasetError
        If a column of a table holds things of several kinds.
    ConfigError
        If pyarrow is not installed, which tables need.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.to_frame("value" if data.name is None else data.name)
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return GivenTable(_to_arrow(data), data.index)
    if hasattr(data, "tocsr"):
        message = "X: expected a dense array, received a sparse matrix; give X.toarray()"
        raise TypeError(message)
    return _to_array(np.asarray(data), names)


def _to_array(array: NDArray[Any], names: Sequence[str]) -> GivenArray:
    """Return an array of numbers, refusing one of another shape."""
    if array.ndim not in _DIMENSIONS:
        message = (
            "X: expected 2 dimensions, (n_samples, n_features) or (n_windows, n_steps), or 3, "
            f"(n_windows, n_steps, n_features), received shape {array.shape}. Reshape your data: "
            "array.reshape(-1, 1) for one feature"
        )
        raise ValueError(message)
    for what, size in zip(("sample(s)", "feature(s)", "feature(s)"), array.shape, strict=False):
        if not size:
            message = f"X: 0 {what} (shape={array.shape}) while a minimum of 1 is required."
            raise ValueError(message)
    if array.dtype.kind == "c":
        message = "X: expected real numbers, received complex ones. Complex data not supported"
        raise ValueError(message)
    values = np.ascontiguousarray(array.astype(np.float64)).reshape(len(array), -1)
    shape = array.shape[1:] if array.ndim == max(_DIMENSIONS) else None
    if len(names) != values.shape[1]:
        names = Features.generated(values.shape[1]).names
    return GivenArray(values, tuple(names), cast("tuple[int, int] | None", shape))


def _to_arrow(frame: Any) -> Any:
    """Return a table of pandas as one of Arrow, in which an index with a meaning is a column."""
    try:
        from pyarrow import ArrowException, Table  # noqa: PLC0415  (part of the train extra)
    except ImportError:
        message = "a DataFrame needs pyarrow: pip install 'stream-detector[train]', or give arrays"
        raise ConfigError(message) from None
    if not len(frame):
        message = f"X: 0 sample(s) (shape={frame.shape}) while a minimum of 1 is required."
        raise ValueError(message)
    is_times = frame.index.nlevels == 1 and frame.index.dtype.kind == "M"
    if is_times and frame.index.name is None and _INDEX_OF_TIMES not in frame.columns:
        frame = frame.rename_axis(_INDEX_OF_TIMES)
    try:
        return Table.from_pandas(frame.set_axis([str(name) for name in frame.columns], axis=1))
    except (ArrowException, TypeError, ValueError) as error:
        message = (
            f"DataFrame: expected columns of one kind each and of different names, received {error}"
        )
        raise DatasetError(message) from None


def is_index(given: Given, name: str) -> bool:
    """Return whether a column is the index of a table."""
    return isinstance(given, GivenTable) and name in index_of(given.table.schema)
