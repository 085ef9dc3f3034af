"""Read a user's Parquet file into columns: whatever its types can be converted to exactly."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.columns import (
    NAMED,
    Columns,
    canonical,
    convert_times,
    refuse_column,
    refuse_empty,
    roles_of,
    to_numbers,
)
from stream_detector.datasets.files.remedies import mend, to_milliseconds
from stream_detector.datasets.files.times import find_time
from stream_detector.errors import DatasetError
from stream_detector.files import open_regular
from stream_detector.recipes.columns import FEATURE_NAME, ColumnMap

_ROWS_A_PART, _VALUES_A_PART = 65_536, 1 << 21
"""Most rows of a part, and most cells: 16 MiB as float64."""


def parquet_parts(path: Path, *, blank_is_missing: bool, columns: ColumnMap) -> Iterator[Columns]:
    """Yield the rows of a Parquet file, or of a folder of some, some at a time.

    Values may be integers, floats, decimals, truth values, or text that holds numbers, and
    categories of these; null is NaN. A column that is the index of a pandas table is left out,
    unless it is one of `NAMED`.

    Parameters
    ----------
    path
        The file.
    blank_is_missing
        Whether an empty text is read as NaN instead of refused.
    columns
        Which column is what; those that are nothing are not read.

    Raises
    ------
    DatasetError
        If the file is missing or cannot be read, has no rows, or a value is not a number. The
        message has file, row, column and type, and says what to do.
    """
    before = None
    for table in tables_of(path, columns):
        before = to_part(path, table, columns, before, blank_is_missing=blank_is_missing)
        yield before
    if before is None:
        refuse_empty(path)


def to_columns(path: Path, table: Any, *, blank_is_missing: bool, columns: ColumnMap) -> Columns:
    """Return the columns of a table of Arrow; see `parquet_parts`.

    Parameters
    ----------
    path
        The file that it is from, or what messages are to call it.
    table
        The table, in which the index of a pandas table is a column.
    blank_is_missing, columns
        See `parquet_parts`.
    """
    table = _with_ranges(table, columns)
    return to_part(path, table, columns, blank_is_missing=blank_is_missing).with_labels()


def to_part(
    path: Path,
    table: Any,
    columns: ColumnMap,
    before: Columns | None = None,
    *,
    blank_is_missing: bool,
) -> Columns:
    """Return the columns of some rows.

    Parameters
    ----------
    path, table, columns, blank_is_missing
        See `to_columns`.
    before
        Those of the rows before them, which say what each column is; None for the first.
    """
    if not table.num_rows:
        refuse_empty(path)
    names = [
        canonical(name) or f"{at} (without a name)"
        for at, name in enumerate(table.column_names, start=1)
    ]
    if before is not None:
        columns = before.chosen
    elif blank_is_missing:
        firsts = [plain(column)[0].as_py() for column in table.columns]
        columns = find_time(names, firsts, columns)
    roles = roles_of(path, names, columns)
    index = {name for name in index_of(table.schema) if isinstance(name, str)}
    first_row = 1 if before is None else int(before.rows[-1]) + 1
    rows = np.arange(first_row, first_row + table.num_rows)
    named: dict[str, list[Any]] = {}
    headers: dict[str, str | int] = {}
    in_index: dict[str, str] = {}
    value_names: list[str] = []
    values: list[NDArray[np.float64]] = []
    for role, header, received in zip(roles, table.column_names, table.columns, strict=True):
        column = plain(received)
        headers[role or ""] = header
        if header in index:
            in_index[header] = str(column.type)
        if role in (*NAMED, FEATURE_NAME):
            named[role] = column.to_pylist()
        elif role is not None and (header not in index or role in columns.features):
            value_names.append(role)
            values.append(_values(path, header, column, rows, blank_is_missing))
    decided = "" if before is None else before.time_format
    time_format = convert_times(path, named, rows.tolist(), columns, headers, decided)
    return Columns(
        path,
        value_names,
        np.column_stack(values) if values else np.empty((table.num_rows, 0)),
        named,
        rows,
        headers,
        in_index,
        columns,
        ("Parquet",),
        time_format,
        [name for name, role in zip(names, roles, strict=True) if role is None],
    )


def tables_of(path: Path, columns: ColumnMap) -> Iterator[Any]:
    """Yield the rows of a file as tables of Arrow; all at once where they cannot be parted."""
    if path.is_dir():
        yield from _tables_of_folder(path)
        return
    with opened(path) as parquet:
        from pyarrow import Table  # noqa: PLC0415  (part of the train extra)

        # The file is read as it is needed, and not a whole row group of bytes beforehand.
        with parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False) as file:
            schema = file.schema_arrow
            is_unique = len({*schema.names}) == len(schema.names)  # or it cannot be read
            if is_unique and not wanted_index(schema, columns):
                for batch in file.iter_batches(_rows_a_part(schema)):
                    yield Table.from_batches([batch])
                return
    yield _with_ranges(read_table(path), columns)


def _rows_a_part(schema: Any) -> int:
    """Return how many rows are read at once."""
    return max(min(_ROWS_A_PART, _VALUES_A_PART // max(len(schema.names), 1)), 1)


def _tables_of_folder(path: Path) -> Iterator[Any]:
    """Yield the rows of a folder's files, in the order and with the columns of `read_table`."""
    with opened(path) as parquet:
        from pyarrow import Table  # noqa: PLC0415  (part of the train extra)
        from pyarrow.dataset import ParquetFragmentScanOptions  # noqa: PLC0415  (likewise)

        found = parquet.ParquetDataset(path)
        # Nothing is read before it is needed: a row group may be larger than what is held.
        as_needed = ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
        for fragment in found.fragments:
            for batch in fragment.to_batches(
                schema=found.schema,
                batch_size=_rows_a_part(found.schema),
                batch_readahead=0,
                fragment_readahead=0,
                fragment_scan_options=as_needed,
                use_threads=False,
            ):
                if batch.num_rows:
                    yield Table.from_batches([batch])


def read_table(path: Path) -> Any:
    """Return the table of a file or folder, in which the index of a pandas table is a column."""
    with opened(path) as parquet:
        return parquet.read_table(path)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the module that reads Parquet, having opened a file once; map its errors."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415  (part of the train extra)
    except ImportError:
        message = (
            f"{path}: reading Parquet needs the train extra: pip install 'stream-detector[train]', "
            "or save the table as CSV"
        )
        raise DatasetError(message) from None
    try:
        # A folder may hold one table in several files; a pipe would be waited for.
        with nullcontext() if path.is_dir() else open_regular(path):
            yield parquet
    except (OSError, ValueError, ArrowException) as error:
        message = f"{path} cannot be read as Parquet: {error}; give a Parquet file"
        raise DatasetError(message) from None


def _with_ranges(table: Any, columns: ColumnMap) -> Any:
    """Return a table with those columns of `NAMED` that pandas saved as a range of numbers only."""
    for each in wanted_index(table.schema, columns):
        ends: list[Any] = [each.get(end) for end in ("start", "stop", "step")]
        if all(isinstance(end, int) for end in ends) and ends[2]:
            numbers = range(*ends)
            if len(numbers) == table.num_rows:
                table = table.append_column(str(each["name"]), [np.array(numbers, np.int64)])
    return table


def wanted_index(schema: Any, columns: ColumnMap) -> list[dict[str, Any]]:
    """Return the ranges of an index that may be one of `NAMED`."""
    wanted = (*NAMED, columns.key, columns.time, columns.label)
    return [
        each
        for each in index_of(schema)
        if isinstance(each, dict) and canonical(str(each.get("name"))) in wanted
    ]


def index_of(schema: Any) -> list[Any]:
    """Return the index of a pandas table: names of columns, and descriptions of ranges."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        index: list[Any] = list(described["index_columns"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # not from pandas
    return index


def plain(column: Any) -> Any:
    """Return a column of categories as one of what these are, and bytes as text where they are."""
    from pyarrow import ArrowInvalid, string, types  # noqa: PLC0415  (part of the train extra)

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_fixed_size_binary(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        try:
            return column.cast(string())
        except ArrowInvalid:  # no UTF-8
            return column
    return column


def _values(
    path: Path, header: str, column: Any, rows: NDArray[np.int64], blank_is_missing: bool
) -> NDArray[np.float64]:
    """Return a column of values as float64, null as NaN."""
    from pyarrow import float64, types  # noqa: PLC0415  (part of the train extra)

    kind = column.type
    name = f"{canonical(header)} ({kind})"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        cells = column.to_pylist()
        try:
            return to_numbers(cells, blank_is_missing=blank_is_missing)
        except ValueError:
            refuse_column(path, rows.tolist(), name, header, cells, may_be_missing=blank_is_missing)
    if types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind):
        cells = column.to_pylist()
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    if types.is_integer(kind) or types.is_floating(kind):
        numbers: NDArray[np.float64] = column.cast(float64(), safe=False).to_numpy()
        return numbers
    remedy = _remedy(path, header, kind)
    message = f"{path}, row {rows[0]}, column {name}: expected a column of numbers; {remedy}"
    raise DatasetError(message)


def _remedy(path: Path, header: str, kind: Any) -> str:
    """Return what to do about a column that cannot be converted."""
    from pyarrow import types  # noqa: PLC0415  (part of the train extra)

    if types.is_temporal(kind) and not (types.is_time(kind) or types.is_duration(kind)):
        return to_milliseconds(path, header)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        change = (
            f"t = t.join(pandas.DataFrame(t.pop({header!r}).tolist(), index=t.index)"
            f".add_prefix({header + '_'!r}))"
        )
        return f"give each element a column of its own, {mend(path, change)}"
    if types.is_duration(kind):
        change = f"t[{header!r}] /= pandas.Timedelta('1s')"
        return f"write it as a number, {mend(path, change)}"
    return f"name it {' or '.join(NAMED)} if it is that, or remove it"
