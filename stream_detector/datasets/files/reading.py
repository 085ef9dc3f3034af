"""Read a user's CSV or Parquet file into columns.

CSV needs no extra package, and takes less time with pyarrow, which Parquet needs. Both are read in
blocks of rows.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_detector.datasets.files.columns import (
    NAMED,
    TEXTS,
    Columns,
    canonical,
    convert_times,
    refuse_column,
    refuse_empty,
    roles_of,
    to_numbers,
)
from stream_detector.datasets.files.csv_rows import Parsed, Split, Wanted, open_csv
from stream_detector.datasets.files.dialect import Dialect
from stream_detector.datasets.files.parquet import parquet_parts
from stream_detector.datasets.files.remedies import is_date, is_number
from stream_detector.datasets.files.room import bytes_a_row, count_rows, require_memory
from stream_detector.datasets.files.several import alike, files_of, is_parquet_source, stacked
from stream_detector.datasets.files.times import find_time, to_milliseconds
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME, FEATURE_NAME, TIME_UNITS_MS, ColumnMap
from stream_detector.telemetry import log_event
from stream_detector.text import printable, read_csv_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("stream_detector.datasets.files")
"""Says how a file was read: nothing of `detect`, so no event of its log."""

_N_IN_SEQUENCE_MIN = 3

_SAMPLES_TIMES, _WINDOWS_TIMES = 1.4, 2.0
"""How many times what reading takes is taken at the peak of what follows: samples in the order of
their times, and windows as float32, in a training part and a test part."""


def read_columns(
    path: Path, *, blank_is_missing: bool = False, columns: ColumnMap = BY_NAME
) -> Columns:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path
        The file, a pattern that several fit, or a folder of some. A CSV file may have no header. A
        first row whose numbers are in sequence is a header, as pandas writes it for columns without
        names, and is logged as such.
    blank_is_missing
        Whether an empty cell of a CSV file is read as NaN instead of refused.
    columns
        Which column is what; those that are nothing are not read.

    Raises
    ------
    DatasetError
        If the file is missing or cannot be read, has no rows or ragged ones, or a value is not a
        number. The message has file, row and column, and says what to do.
    TooLargeError
        If the rows do not fit into memory; no more than the first were read.
    """
    parts = column_parts(path, blank_is_missing=blank_is_missing, columns=columns)
    first = next(parts)
    a_row = bytes_a_row(len(first.value_names) + 1, first.named.values())  # and its number
    times = _SAMPLES_TIMES if blank_is_missing else _WINDOWS_TIMES
    require_memory(str(path), times * a_row * count_rows(path))
    return stacked(path, [first, *parts]).with_labels()


def column_parts(
    path: Path,
    *,
    blank_is_missing: bool = False,
    columns: ColumnMap = BY_NAME,
    is_again: bool = False,
) -> Iterator[Columns]:
    """Yield the rows of a file some at a time, in its order, so that a large one need not be held.

    Labels are as the file has them: see `Columns.with_labels`.

    Parameters
    ----------
    path, blank_is_missing, columns
        See `read_columns`.
    is_again
        Whether the file was read before, so that the log has said how it is read.

    Raises
    ------
    DatasetError
        As there, once the row is reached.
    """
    files, first = files_of(path), None
    for each in files:
        read = parquet_parts if is_parquet_source(each) else _csv_parts
        for part in read(each, blank_is_missing=blank_is_missing, columns=columns):
            is_first, first = first is None, first or part
            found = part
            if len(files) > 1:
                found = alike(first, part, is_keyed=blank_is_missing)
            if is_first and not is_again:
                n_files = [f"{len(files)} files"] if len(files) > 1 else []
                described = replace(found, form=[*n_files, *found.form]).described
                _LOGGER.info("%s", printable(f"{path}: {described}"))
            yield found


def _csv_parts(path: Path, *, blank_is_missing: bool, columns: ColumnMap) -> Iterator[Columns]:
    """Yield the rows of a CSV file with or without a header."""
    with open_csv(path) as reader:
        dialect = reader.dialect
        header, first = take_header(path, reader.first(), dialect)
        names, headers = name_columns(header)
        check_lengths(path, first, len(names))
        if blank_is_missing and first.lines:
            columns = find_time(names, dialect.plain(first.lines[0]), columns)
        roles = roles_of(path, names, columns)
        for at, each in enumerate(headers):  # a separator at the end of every line
            if _is_nameless(each) and not any(line[at].strip() for line in first.lines):
                roles[at] = None
        if not first.rows:
            refuse_empty(path)
        layout = _Layout(path, dialect, names, headers, roles, is_blank_missing=blank_is_missing)
        part = layout.columns(first, columns)
        yield part
        for block in reader.rest(layout.wanted(part.time_format)):
            yield layout.columns(block, columns, part.time_format)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the columns of one CSV file are."""

    path: Path
    dialect: Dialect
    names: list[str]
    headers: list[str | int]
    roles: list[str | None]
    is_blank_missing: bool

    @property
    def _value_at(self) -> list[int]:
        """Return the places of the columns of values."""
        none = (*NAMED, FEATURE_NAME, None)
        return [at for at, role in enumerate(self.roles) if role not in none]

    @property
    def value_names(self) -> list[str]:
        """Return the names of the columns of values."""
        return [self.names[at] for at in self._value_at]

    @property
    def _unread(self) -> list[str]:
        """Return the names of the columns that are not looked at."""
        columns = zip(self.names, self.headers, self.roles, strict=True)
        return [name for name, header, role in columns if role is None and not _is_nameless(header)]

    @property
    def _named_at(self) -> dict[str, int]:
        """Return the place of each named column."""
        named = (*NAMED, FEATURE_NAME)
        return {name: self.roles.index(name) for name in named if name in self.roles}

    def _has_numeric_times(self, time_format: str) -> bool:
        """Return whether times of this format are numbers, which samples take as they are."""
        has_times = "timestamp_ms" in self._named_at
        return self.is_blank_missing and has_times and time_format in TIME_UNITS_MS

    def wanted(self, time_format: str) -> Wanted:
        """Return what is to be read of each row."""
        texts = self._named_at
        is_numeric = self._has_numeric_times(time_format)
        time = texts.pop("timestamp_ms") if is_numeric else None
        return Wanted(self._value_at, time, [*texts.values()], self.is_blank_missing)

    def columns(self, block: Split | Parsed, chosen: ColumnMap, time_format: str = "") -> Columns:
        """Return the columns of some rows.

        Parameters
        ----------
        block
            The rows.
        chosen
            Which column is what.
        time_format
            Format of the times of the rows before; empty for the first ones.
        """
        if isinstance(block, Parsed):
            values, named = block.numbers, self._parsed_named(block)
        else:
            check_lengths(self.path, block, len(self.names))
            values, named = self._values(block), self._named(block)
        in_pandas = {
            role or "": header for role, header in zip(self.roles, self.headers, strict=True)
        }
        time_format = convert_times(self.path, named, block.rows, chosen, in_pandas, time_format)
        if self._has_numeric_times(time_format):
            named["timestamp_ms"] = _numbers(named["timestamp_ms"])
        return Columns(
            self.path,
            self.value_names,
            values,
            named,
            np.asarray(block.rows),
            in_pandas,
            chosen=chosen,
            form=self.dialect.words,
            time_format=time_format,
            unread=self._unread,
        )

    def _values(self, split: Split) -> "NDArray[np.float64]":
        """Return the values of some lines, shape (n_lines, n_values)."""
        values = np.empty((len(split.lines), len(self._value_at)))
        for number, at in enumerate(self._value_at):
            cells = self.dialect.plain([line[at] for line in split.lines])
            is_missing = self.is_blank_missing
            try:
                values[:, number] = to_numbers(cells, blank_is_missing=is_missing)
            except ValueError:
                column = self.names[at], self.headers[at], cells
                refuse_column(self.path, split.rows, *column, may_be_missing=is_missing)
        return values

    def _named(self, split: Split) -> dict[str, list[Any]]:
        """Return the cells of the named columns in some lines."""
        return {
            name: self._taken(name, [line[at] for line in split.lines])
            for name, at in self._named_at.items()
        }

    def _parsed_named(self, parsed: Parsed) -> dict[str, list[Any]]:
        """Return the same of rows that pyarrow read."""
        names = [*self._named_at]
        numbers = {} if parsed.times is None else {"timestamp_ms": parsed.times.tolist()}
        texts = [name for name in names if name not in numbers]
        cells = numbers | dict(zip(texts, map(self._taken, texts, parsed.texts), strict=True))
        return {name: cells[name] for name in names}

    def _taken(self, name: str, cells: Sequence[str]) -> list[Any]:
        """Return the cells of a named column as they are meant."""
        if name not in (*TEXTS, FEATURE_NAME):
            return [*self.dialect.plain(cells)]
        if "'" not in "".join(cells):  # no cell is marked
            return [*cells]
        return [*map(read_csv_cell, cells)]


def _numbers(cells: list[Any]) -> list[Any]:
    """Return times as numbers; as they are where one is none, which is refused later."""
    times_ms = to_milliseconds(cells, "ms")
    return times_ms.tolist() if np.isfinite(times_ms).all() else cells


def _is_nameless(header: str | int) -> bool:
    """Return whether a column of a file with a header has none."""
    return isinstance(header, str) and header.startswith("Unnamed: ")


def name_columns(headers: Sequence[str | int]) -> tuple[list[str], list[str | int]]:
    """Return what messages and what pandas call each column."""
    names: list[str] = []
    in_pandas: list[str | int] = []
    for at, header in enumerate(headers):
        if isinstance(header, int):
            names.append(str(header + 1))
            in_pandas.append(header)
        else:
            names.append(canonical(read_csv_cell(header)) or f"{at + 1} (without a name)")
            in_pandas.append(header or f"Unnamed: {at}")
    return names, in_pandas


def take_header(path: Path, first: Split, dialect: Dialect) -> tuple[Sequence[str | int], Split]:
    """Return the header of a file and its first rows without it; without one, number the columns.

    Returns
    -------
    The header as the file has it, or numbers from 0, and the rows.
    """
    top = first.lines[0]
    numbers = dialect.plain(top)
    if all(_has_dates_and_numbers(dialect.plain(line)) for line in first.lines[:2]):
        return list(range(len(top))), first
    if all(map(is_number, numbers)):
        every = (dialect.plain(line) for line in first.lines)
        if not _is_sequence(numbers) or all(map(_is_sequence, every)):
            return list(range(len(top))), first
        log_event(
            logging.WARNING,
            "header-of-numbers",
            file=path,
            header=f"{top[0].strip()}, {top[1].strip()}, .., {top[-1].strip()}",
            reason="the numbers of the first row are in sequence, so it is read as a header and "
            "not as values; give the columns other names if that is right, or put a row of names "
            "above it if it is not",
        )
    return top, Split(first.rows[1:], first.lines[1:])


def _has_dates_and_numbers(cells: Sequence[str]) -> bool:
    """Return whether cells are dates and numbers, both, and nothing else: values, and no names."""
    others = [cell for cell in cells if cell.strip() and not is_number(cell)]
    return bool(others) and any(map(is_number, cells)) and all(map(is_date, others))


def _is_sequence(cells: Sequence[str]) -> bool:
    """Return whether cells are at least three numbers, each larger than the last by as much."""
    if len(cells) < _N_IN_SEQUENCE_MIN or not all(map(is_number, cells)):
        return False
    with np.errstate(invalid="ignore"):  # infinities
        steps = np.diff(np.array(cells, dtype=np.float64))
    return bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-9, atol=0))


def check_lengths(path: Path, split: Split, n_columns: int) -> None:
    """Refuse a line with another number of cells than the first one."""
    for row, cells in zip(*split, strict=True):
        if len(cells) == n_columns:
            continue
        message = (
            f"{path}, row {row}: expected {n_columns} columns as in the first row, "
            f"received {len(cells)}; {_remedy_for_row(row, cells)}"
        )
        raise DatasetError(message)


def _remedy_for_row(row: int, cells: Sequence[str]) -> str:
    """Return what to do about a row with another number of cells than the first one."""
    # Where a quote is still open at the end of a file, the cell has the end of the last line too.
    n_breaks = sum(cell.count("\n") for cell in cells) - cells[-1].endswith("\n")
    if n_breaks < 1:
        return "make all rows the same length"
    return f"it begins on line {row - n_breaks}, with a quote that is closed late or never: mend it"
