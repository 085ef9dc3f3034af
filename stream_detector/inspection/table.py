"""Read a CSV or Parquet file whose columns are not known yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.columns import canonical, refuse_empty, to_numbers
from stream_detector.datasets.files.csv_rows import Parsed, Split, Wanted, open_csv
from stream_detector.datasets.files.dialect import Dialect
from stream_detector.datasets.files.parquet import index_of, plain, read_table, tables_of
from stream_detector.datasets.files.reading import check_lengths, name_columns, take_header
from stream_detector.datasets.files.room import (
    A_PART,
    bytes_a_row,
    count_rows,
    require_memory,
)
from stream_detector.datasets.files.several import files_of, is_parquet_source
from stream_detector.datasets.files.times import MISSING_WORDS
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME

_TIMES = 2
"""How many times what reading takes is taken while columns are looked at and samples are loaded."""

_REMEDY = f"{A_PART}, and train the recipe on all of it, as docs/how-to/train-at-scale.md says"


@dataclass(frozen=True, slots=True, eq=False)
class RawColumn:
    """One column, as numbers or as whatever the file has.

    Parameters
    ----------
    name
        Its header without blanks around it; its number from 1 where there is none.
    numbers
        Shape (n_rows,), NaN where a value is missing; None for a column that is not all numbers.
    cells
        The cells of a column that is not all numbers, text or dates; empty for numbers.
    is_index
        Whether it is the index of a pandas table.
    first
        The cell of the first row as the file has its text; empty for one that is no text.
    """

    name: str
    numbers: NDArray[np.float64] | None
    cells: Sequence[Any] = ()
    is_index: bool = False
    first: str = ""

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Return which cells hold nothing, shape (n_rows,)."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        return np.array([is_nothing(cell) for cell in self.cells], dtype=np.bool_)

    @property
    def only(self) -> float | None:
        """Return the one number that is in the column; None where there are several, or none."""
        if self.numbers is None or self.is_missing.all():
            return None
        least, most = np.nanmin(self.numbers), np.nanmax(self.numbers)
        return float(least) if least == most else None

    def select(self, rows: NDArray[np.intp]) -> "RawColumn":
        """Return the same column with these rows."""
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[rows])
        return replace(self, cells=[self.cells[row] for row in rows.tolist()])

    def codes(self) -> tuple[NDArray[np.intp], list[str]]:
        """Return the number of each cell's text, shape (n_rows,), and these texts."""
        if self.numbers is not None:
            values, codes = np.unique(self.numbers, return_inverse=True)
            return codes.astype(np.intp), [f"{value:.15g}" for value in values]
        known: dict[str, int] = {}
        codes = np.array([known.setdefault(str(cell), len(known)) for cell in self.cells])
        return codes.astype(np.intp), list(known)


@dataclass(frozen=True, slots=True, eq=False)
class RawTable:
    """All columns of a file, in its order; at least one row."""

    path: Path
    columns: tuple[RawColumn, ...]
    n_rows: int

    def select(self, rows: NDArray[np.intp]) -> "RawTable":
        """Return the same columns with these rows."""
        return RawTable(self.path, tuple(each.select(rows) for each in self.columns), len(rows))

    def named(self, name: str) -> RawColumn | None:
        """Return the column of a name, None where there is none."""
        wanted = canonical(name)
        return next((each for each in self.columns if each.name == wanted), None)


def is_nothing(cell: object) -> bool:
    """Return whether a cell stands for a missing value."""
    if cell is None or cell != cell:  # noqa: PLR0124  (NaN and NaT)
        return True
    return isinstance(cell, str) and cell.strip().lower() in MISSING_WORDS


def read_raw(path: Path) -> RawTable:
    """Read all columns of a file.

    Raises
    ------
    DatasetError
        If the file is missing or cannot be read, or has no rows or ragged ones.
    TooLargeError
        If its rows do not fit into memory; no more than the first were read.
    """
    if is_parquet_source(path):
        for table in islice(tables_of(path, BY_NAME), 1):
            some = arrow_columns(path, table)
            cells = [each.cells for each in some if each.numbers is None]
            _require_memory(path, len(some) - len(cells), cells)
        return to_raw(path, arrow_columns(path, read_table(path)))
    first, *others = files_of(path)
    if others:
        message = (
            f"{path}: expected one file, received {1 + len(others)}; give {first} alone, "
            f"and train the recipe on all of them with --set data.path='{path}'"
        )
        raise DatasetError(message)
    columns = _csv_columns(first)
    return to_raw(path, columns)


def _require_memory(path: Path, n_numbers: int, others: Sequence[Sequence[object]]) -> None:
    """Refuse a file that does not fit into memory; see `bytes_a_row`."""
    require_memory(str(path), _TIMES * bytes_a_row(n_numbers, others) * count_rows(path), _REMEDY)


def to_raw(path: Path, columns: Sequence[RawColumn]) -> RawTable:
    """Return columns as a table, refusing two of one name.

    Raises
    ------
    DatasetError
        Naming them.
    """
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = (
            f"{path}: expected columns of different names, received {', '.join(twice)} more than "
            "once; rename or remove one"
        )
        raise DatasetError(message)
    first = columns[0]
    n_rows = len(first.cells) if first.numbers is None else len(first.numbers)
    return RawTable(path, tuple(columns), n_rows)


def _csv_columns(path: Path, as_text: frozenset[int] = frozenset()) -> list[RawColumn]:
    """Return the columns of a CSV file with or without a header.

    A column that turns out not to be numbers further down is read again, as text: keeping the text
    of all columns would take many times the memory of their numbers.
    """
    with open_csv(path) as reader:
        header, first = take_header(path, reader.first(), reader.dialect)
        names, _ = name_columns(header)
        top = first.lines[0] if first.lines else [""] * len(names)
        parts: list[list[Any]] = [[] for _ in names]
        as_number = [at for at in range(len(names)) if at not in as_text]
        wanted = Wanted(as_number, None, sorted(as_text), blank_is_missing=True)
        texts = [[line[at] for line in first.lines if at < len(line)] for at in as_text]
        _require_memory(path, len(as_number), texts)
        for block in chain([first], reader.rest(wanted)):
            if isinstance(block, Split):
                check_lengths(path, block, len(names))
            for at, column in _block_columns(block, wanted, reader.dialect).items():
                if column is None:
                    return _csv_columns(path, as_text | {at})
                parts[at].append(column)
    if not parts[0]:
        refuse_empty(path)
    return [
        RawColumn(name, None, [*chain(*parts[at])], first=top[at])
        if at in as_text
        else RawColumn(name, np.concatenate(parts[at]), first=top[at])
        for at, name in enumerate(names)
    ]


def _block_columns(
    block: Split | Parsed, wanted: Wanted, dialect: Dialect
) -> dict[int, NDArray[np.float64] | Sequence[str] | None]:
    """Return the columns of some rows by their places; None for one that is not all numbers."""
    if isinstance(block, Parsed):
        numbers = dict(zip(wanted.numbers, block.numbers.T, strict=True))
        return {**numbers, **dict(zip(wanted.texts, block.texts, strict=True))}
    columns = enumerate(zip(*block.lines, strict=True))
    return {
        at: cells if at in wanted.texts else _numbers(dialect.plain(cells)) for at, cells in columns
    }


def _numbers(cells: Sequence[str | None]) -> NDArray[np.float64] | None:
    """Return cells as numbers, None where one is not."""
    try:
        return to_numbers(cells, blank_is_missing=True)
    except ValueError:
        return None


def arrow_columns(path: Path, table: Any) -> list[RawColumn]:
    """Return the columns of a table of Arrow, the index of a pandas table included."""
    from pyarrow import float64, types  # noqa: PLC0415  (part of the train extra)

    index = index_of(table.schema)
    if not table.num_rows:
        refuse_empty(path)
    columns = []
    for at, (header, received) in enumerate(
        zip(table.column_names, table.columns, strict=True), start=1
    ):
        name, column = canonical(header) or f"{at} (without a name)", plain(received)
        kind = column.type
        numbers, cells, first = None, (), ""
        if types.is_integer(kind) or types.is_floating(kind):
            numbers = column.cast(float64(), safe=False).to_numpy()
        elif types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind):
            cells = column.to_pylist()
            numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
        else:
            cells = column.to_pylist()
            texts = all(cell is None or isinstance(cell, str) for cell in cells)
            numbers, first = _numbers(cells) if texts else None, str(cells[0] or "")
        columns.append(
            RawColumn(name, numbers, () if numbers is not None else cells, header in index, first)
        )
    return columns


def feature_values(table: RawTable, features: Sequence[str]) -> NDArray[np.float64]:
    """Return columns of numbers side by side, shape (n_rows, n_features)."""
    columns = (table.named(name) for name in features)
    numbers = (each.numbers for each in columns if each is not None)
    return np.column_stack([each for each in numbers if each is not None])
