"""Read a user's CSV or Parquet file into columns.

CSV needs no extra package; it is read in blocks of rows, which are converted to numbers column by
column. Parquet needs the train extra.
"""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
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
from stream_detector.datasets.files.dialect import Dialect, find_dialect
from stream_detector.datasets.files.parquet import parquet_parts
from stream_detector.datasets.files.remedies import is_number, layout_problem
from stream_detector.datasets.files.several import alike, files_of, is_parquet_source, stacked
from stream_detector.datasets.files.times import find_time
from stream_detector.errors import DatasetError
from stream_detector.files import open_regular
from stream_detector.recipes.columns import BY_NAME, FEATURE_NAME, ColumnMap
from stream_detector.telemetry import log_event
from stream_detector.text import printable, read_csv_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("stream_detector.datasets.files")
"""Says how a file was read: nothing of `detect`, so no event of its log."""

_BLOCK_ROWS = 4096
_N_IN_SEQUENCE_MIN = 3


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
    """
    parts = column_parts(path, blank_is_missing=blank_is_missing, columns=columns)
    return stacked(path, list(parts)).with_labels()


def column_parts(
    path: Path, *, blank_is_missing: bool = False, columns: ColumnMap = BY_NAME
) -> Iterator[Columns]:
    """Yield the rows of a file some at a time, in its order, so that a large one need not be held.

    Labels are as the file has them: see `Columns.with_labels`.

    Parameters
    ----------
    path, blank_is_missing, columns
        See `read_columns`.

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
            if is_first:
                n_files = [f"{len(files)} files"] if len(files) > 1 else []
                described = replace(found, form=[*n_files, *found.form]).described
                _LOGGER.info("%s", printable(f"{path}: {described}"))
            yield found


def _csv_parts(path: Path, *, blank_is_missing: bool, columns: ColumnMap) -> Iterator[Columns]:
    """Yield the rows of a CSV file with or without a header."""
    dialect = read_dialect(path)
    blocks = csv_blocks(path, dialect)
    first = first_block(path, blocks)
    names, headers = name_columns(take_header(path, *first, dialect))
    check_lengths(path, *first, len(names))
    if blank_is_missing and first[1]:
        columns = find_time(names, dialect.plain(first[1][0]), columns)
    roles = roles_of(path, names, columns)
    for at, header in enumerate(headers):  # a separator at the end of every line
        if _is_nameless(header) and not any(line[at].strip() for line in first[1]):
            roles[at] = None
    if not first[0]:
        refuse_empty(path)
    in_pandas = {role or "": header for role, header in zip(roles, headers, strict=True)}
    layout = _Layout(path, dialect, names, headers, roles, is_blank_missing=blank_is_missing)
    time_format = ""
    for rows, lines in chain([first], blocks):
        check_lengths(path, rows, lines, len(names))
        values, named = layout.values(rows, lines), layout.named(lines)
        time_format = convert_times(path, named, rows, columns, in_pandas, time_format)
        yield Columns(
            path,
            layout.value_names,
            values,
            named,
            np.array(rows),
            in_pandas,
            chosen=columns,
            form=dialect.words,
            time_format=time_format,
        )


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

    def values(self, rows: Sequence[int], lines: Sequence[Sequence[str]]) -> "NDArray[np.float64]":
        """Return the values of some lines, shape (n_lines, n_values)."""
        values = np.empty((len(lines), len(self._value_at)))
        for number, at in enumerate(self._value_at):
            cells = self.dialect.plain([line[at] for line in lines])
            is_missing = self.is_blank_missing
            try:
                values[:, number] = to_numbers(cells, blank_is_missing=is_missing)
            except ValueError:
                column = self.names[at], self.headers[at], cells
                refuse_column(self.path, rows, *column, may_be_missing=is_missing)
        return values

    def named(self, lines: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
        """Return the cells of the named columns in some lines."""
        named: dict[str, list[Any]] = {}
        for name in (*NAMED, FEATURE_NAME):
            if name in self.roles:
                at = self.roles.index(name)
                cells = [line[at] for line in lines]
                is_text = name in (*TEXTS, FEATURE_NAME)
                named[name] = [
                    *(map(read_csv_cell, cells) if is_text else self.dialect.plain(cells))
                ]
        return named


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


def take_header(
    path: Path, rows: list[int], lines: list[list[str]], dialect: Dialect
) -> Sequence[str | int]:
    """Remove the header from the first block and return it; without one, number the columns.

    Returns
    -------
    The header as the file has it, or numbers from 0.
    """
    first = lines[0]
    numbers = dialect.plain(first)
    if all(map(is_number, numbers)):
        every = (dialect.plain(line) for line in lines)
        if not _is_sequence(numbers) or all(map(_is_sequence, every)):
            return list(range(len(first)))
        log_event(
            logging.WARNING,
            "header-of-numbers",
            file=path,
            header=f"{first[0].strip()}, {first[1].strip()}, .., {first[-1].strip()}",
            reason="the numbers of the first row are in sequence, so it is read as a header and "
            "not as values; give the columns other names if that is right, or put a row of names "
            "above it if it is not",
        )
    del rows[0]
    return lines.pop(0)


def _is_sequence(cells: Sequence[str]) -> bool:
    """Return whether cells are at least three numbers, each larger than the last by as much."""
    if len(cells) < _N_IN_SEQUENCE_MIN or not all(map(is_number, cells)):
        return False
    with np.errstate(invalid="ignore"):  # infinities
        steps = np.diff(np.array(cells, dtype=np.float64))
    return bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-9, atol=0))


Block = tuple[list[int], list[list[str]]]
"""Line numbers and cells of some lines."""


def first_block(path: Path, blocks: Iterator[Block]) -> Block:
    """Return the first block of a file; DatasetError if there is none, or it is no plain CSV."""
    first = next(blocks, None)
    if first is None:
        refuse_empty(path)
    problem = layout_problem(path, first[1])
    if problem is not None:
        message = f"{path}: {problem}"
        raise DatasetError(message)
    return first


def read_dialect(path: Path) -> Dialect:
    """Return how a CSV file is written.

    Raises
    ------
    DatasetError
        If it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return find_dialect(file)
    except OSError as error:
        message = f"{path} cannot be read as CSV: {error}; give a CSV file"
        raise DatasetError(message) from None


def csv_blocks(path: Path, dialect: Dialect) -> Iterator[Block]:
    """Yield blocks of line numbers and cells of all lines that are not blank or comments."""
    rows: list[int] = []
    lines: list[list[str]] = []
    width: int | None = None
    try:
        with (
            open_regular(path) as opened,
            io.TextIOWrapper(opened, encoding=dialect.encoding, newline="") as file,
        ):
            for _ in range(dialect.n_skipped):
                file.readline()
            reader = csv.reader(file, delimiter=dialect.separator)
            for cells in reader:
                if not cells or (width and "#" in cells[0] and _is_comment(cells, width)):
                    continue
                width = width or len(cells)
                rows.append(dialect.n_skipped + reader.line_num)
                lines.append(cells)
                if len(rows) == _BLOCK_ROWS:
                    yield rows, lines
                    rows, lines = [], []
    except UnicodeDecodeError as error:
        message = f"{path} cannot be read as CSV: {error}; write it as UTF-8"
        raise DatasetError(message) from None
    except (OSError, csv.Error) as error:
        message = f"{path} cannot be read as CSV: {error}; give a comma-separated UTF-8 file"
        raise DatasetError(message) from None
    if rows:
        yield rows, lines


def _is_comment(cells: Sequence[str], width: int) -> bool:
    """Return whether a line is a comment: it begins as one, and is no row of the table."""
    return cells[0].lstrip().startswith("#") and (len(cells) != width or width == 1)


def check_lengths(
    path: Path, rows: Sequence[int], lines: Sequence[Sequence[str]], n_columns: int
) -> None:
    """Refuse a line with another number of cells than the first one."""
    for row, cells in zip(rows, lines, strict=True):
        if len(cells) == n_columns:
            continue
        message = (
            f"{path}, row {row}: expected {n_columns} columns as in the first row, "
            f"received {len(cells)}; make all rows the same length"
        )
        raise DatasetError(message)
