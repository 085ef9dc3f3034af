"""Read the windows of Parquet files again and again, a row group at a time, in any order.

A row group is the smallest part of a Parquet file that can be read alone. So this is the way to
windows that are too many for memory::

    for number in order:
        for part in source.read(number):
            part.windows  # a few thousand of the row group
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_detector.datasets.files.columns import Columns, refuse_empty
from stream_detector.datasets.files.parquet import opened, to_part, wanted_index
from stream_detector.datasets.files.several import alike, files_of
from stream_detector.datasets.files.windows import WindowTable, to_windows
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME, ColumnMap

_VALUES_AT_ONCE = 2**21
"""Values of the rows that are converted at once: 16 MiB as float64, of which there are a few."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Where some rows are.

    Parameters
    ----------
    path, number
        The file, and which of its row groups.
    n_rows, n_before
        Rows in it, and rows of the file before it.
    n_columns
        Columns of the file.
    partition
        Names and values of the columns that the path of the file stands for, as in
        `key=pump-1/part-0.parquet`.
    """

    path: Path
    number: int
    n_rows: int
    n_before: int
    n_columns: int
    partition: tuple[tuple[str, Any], ...] = ()


class WindowSource:
    """The windows of a Parquet file, of several, or of a folder.

    Parameters
    ----------
    path
        The file, a pattern that several fit, or a folder, with subfolders or without.
    n_features
        Values at each step.
    columns
        Which column is what.

    Raises
    ------
    DatasetError
        If there is none, or it has no rows or columns that are no values.
    """

    def __init__(self, path: Path, n_features: int = 1, columns: ColumnMap = BY_NAME) -> None:
        self.path = path
        self.groups = tuple(each for each in find_groups(path) if each.n_rows)
        if not self.groups:
            refuse_empty(path)
        self._n_features, self._columns = n_features, columns
        self._first: Columns | None = None
        first = next(self._parts(0))
        to_windows(first.with_labels(), None, n_features)
        # What each column is, without the rows.
        self._first = replace(first, values=np.empty((0, len(first.value_names))), named={})
        self._named: dict[str, list[Any]] = {name: [] for name in first.named}

    def __len__(self) -> int:
        """Return the number of windows."""
        return sum(group.n_rows for group in self.groups)

    @property
    def shape(self) -> tuple[int, int]:
        """Return steps and features of a window."""
        n_values = 0 if self._first is None else len(self._first.value_names)
        return n_values // self._n_features, self._n_features

    @property
    def starts(self) -> list[int]:
        """Return how many windows there are before each row group, shape (n_groups,)."""
        return [0, *np.cumsum([group.n_rows for group in self.groups])[:-1].tolist()]

    def read(self, number: int, origin: Sequence[float] = ()) -> Iterator[WindowTable]:
        """Yield the windows of a row group, some at a time, in its order.

        Parameters
        ----------
        number
            Which of `groups`.
        origin
            What is taken from each feature before values are rounded to float32.

        Raises
        ------
        DatasetError
            If a value is no finite number; the message has file, row and column.
        """
        for part in self._parts(number):
            read = part.with_labels()
            yield to_windows(read, None, self._n_features, origin, is_first=False)

    def _parts(self, number: int) -> Iterator[Columns]:
        """Yield the columns of a row group, some rows at a time."""
        group, before = self.groups[number], self._first
        n_before = group.n_before
        for table in _tables(group, self._columns):
            if before is not None:
                before = replace(before, rows=np.array([n_before]))
            part = to_part(group.path, table, self._columns, before, blank_is_missing=False)
            if self._first is not None:
                part = alike(replace(self._first, named=self._named), part, is_keyed=False)
            yield part
            before, n_before = self._first or part, n_before + len(part.rows)


def find_groups(path: Path) -> Iterator[RowGroup]:
    """Yield the row groups of a file, a pattern or a folder, in their order.

    Raises
    ------
    DatasetError
        If one cannot be read.
    """
    for each in files_of(path):
        if not each.is_dir():
            yield from _groups_of(each)
            continue
        with opened(each) as parquet:
            from pyarrow import dataset  # noqa: PLC0415  (part of the train extra)

            fragments = [
                (Path(found.path), dataset.get_partition_keys(found.partition_expression))
                for found in parquet.ParquetDataset(each).fragments
            ]
        for file, partition in fragments:
            yield from _groups_of(file, tuple(partition.items()))


def _groups_of(path: Path, partition: tuple[tuple[str, Any], ...] = ()) -> Iterator[RowGroup]:
    """Yield the row groups of one file."""
    with opened(path) as parquet, parquet.ParquetFile(path) as file:
        found = file.metadata
        sizes = [found.row_group(at).num_rows for at in range(found.num_row_groups)]
    n_before = 0
    for number, n_rows in enumerate(sizes):
        yield RowGroup(path, number, n_rows, n_before, found.num_columns, partition)
        n_before += n_rows


def _tables(group: RowGroup, columns: ColumnMap) -> Iterator[Any]:
    """Yield the rows of a row group as tables of Arrow."""
    with opened(group.path) as parquet:
        from pyarrow import Table  # noqa: PLC0415  (part of the train extra)

        # The file is read as it is needed, and not a whole row group of bytes beforehand.
        with parquet.ParquetFile(group.path, buffer_size=2**16, pre_buffer=False) as file:
            _refuse_ranges(group.path, file.schema_arrow, columns)
            n_rows = max(_VALUES_AT_ONCE // len(file.schema_arrow.names), 1)
            for batch in file.iter_batches(n_rows, row_groups=[group.number], use_threads=False):
                table = Table.from_batches([batch])
                for name, value in group.partition:
                    table = table.append_column(name, [[value] * table.num_rows])
                yield table


def _refuse_ranges(path: Path, schema: Any, columns: ColumnMap) -> None:
    """Refuse times or keys that pandas saved as a range of numbers and not as a column."""
    ranges = wanted_index(schema, columns)
    if ranges:
        message = (
            f"{path}: expected {ranges[0]['name']} as a column, received the index of a pandas "
            "table, of which a row group has no part; write it with t.reset_index(), or without "
            "data.n_windows_in_memory"
        )
        raise DatasetError(message)
