"""Rows of a CSV file, some at a time.

The first rows decide what the columns are, so they are split cell by cell. After them pyarrow reads
block by block, where it is installed and every row of the block is regular: as many cells as the
first row has, no line break within a cell, no comment, and numbers in the columns of numbers. Any
other block is split cell by cell, so that what is wrong is said with its row and column. A regular
block has the same values either way::

    first 4,096 rows     split by `csv`
    block of lines       read by pyarrow, if all of it is regular
                         split by `csv`, if it is not, or without pyarrow
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.columns import refuse_empty
from stream_detector.datasets.files.dialect import Dialect, find_dialect
from stream_detector.datasets.files.file_kinds import opened_csv
from stream_detector.datasets.files.remedies import layout_problem
from stream_detector.datasets.files.times import MISSING_WORDS
from stream_detector.errors import DatasetError
from stream_detector.files import open_regular

_FIRST_ROWS = 4096
_BLOCK_CHARACTERS = 1 << 18

_BOM, _ENDS = "\ufeff", ("\n", "\r")
_WORDS_AS_WRITTEN = sorted(
    {*MISSING_WORDS, *map(str.upper, MISSING_WORDS), *map(str.title, MISSING_WORDS), "NaN", "NaT"}
)
"""Forms in which files have `MISSING_WORDS`; a block with any other is split cell by cell."""


class Split(NamedTuple):
    """Rows that were split cell by cell.

    Parameters
    ----------
    rows
        Number of each row in messages: the line on which it ends, counted from 1.
    lines
        The cells of each row, of any number.
    """

    rows: list[int]
    lines: list[list[str]]


class Parsed(NamedTuple):
    """Rows that pyarrow read.

    Parameters
    ----------
    rows
        Number of each row in messages, shape (n_rows,).
    numbers
        Float64, C-contiguous, shape (n_rows, n_columns_of_numbers); NaN is a missing value.
    times
        Float64, finite, shape (n_rows,); None where no such column was wanted.
    texts
        The cells of each column of text.
    """

    rows: NDArray[np.int64]
    numbers: NDArray[np.float64]
    times: NDArray[np.float64] | None
    texts: list[list[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of each row.

    Parameters
    ----------
    numbers
        Places of the columns of numbers, counted from 0.
    time
        Place of a column of times that are numbers, all of them finite; None for none.
    texts
        Places of the columns of text. Whatever stands in other columns is not looked at.
    blank_is_missing
        Whether an empty cell of a column of numbers is a missing value instead of none.
    """

    numbers: Sequence[int]
    time: int | None
    texts: Sequence[int]
    blank_is_missing: bool


@contextmanager
def open_csv(path: Path) -> Iterator["CsvReader"]:
    """Open a CSV file, and close it afterwards.

    Raises
    ------
    DatasetError
        If it cannot be read as CSV, at any time until it is closed.
    """
    try:
        with open_regular(path) as opened, opened_csv(path, opened) as (plain, is_compressed):
            dialect = replace(find_dialect(plain), is_compressed=is_compressed)
            with io.TextIOWrapper(plain, encoding=dialect.encoding, newline="") as file:
                yield CsvReader(path, dialect, file)
    except UnicodeDecodeError as error:
        message = f"{path} cannot be read as CSV: {error}; write it as UTF-8"
        raise DatasetError(message) from None
    except OSError as error:
        message = f"{path} cannot be read as CSV: {error}; give a CSV file"
        raise DatasetError(message) from None


class CsvReader:
    """Reads the rows of an opened file, from the first one to the last.

    Parameters
    ----------
    path
        The file, for messages.
    dialect
        How it is written.
    file
        The file at its beginning, which leaves ends of lines as they are.
    """

    def __init__(self, path: Path, dialect: Dialect, file: TextIO) -> None:
        self.dialect = dialect
        self._path = path
        self._file = file
        self._n_lines = dialect.n_skipped
        self._n_cells = 0
        for _ in range(dialect.n_skipped):
            file.readline()

    def first(self) -> Split:
        """Return the first rows, at least one.

        Raises
        ------
        DatasetError
            If there is none, or the file is no plain CSV.
        """
        first = self._split(self._file, n_rows=_FIRST_ROWS)
        if not first.rows:
            refuse_empty(self._path)
        problem = layout_problem(self._path, first.lines)
        if problem is not None:
            message = f"{self._path}: {problem}"
            raise DatasetError(message)
        return first

    def rest(self, wanted: Wanted) -> Iterator[Split | Parsed]:
        """Yield the other rows, some at a time; lines that are blank or comments are none."""
        arrow = _arrow(wanted)
        while text := self._file.read(_BLOCK_CHARACTERS) + self._file.readline():
            n_lines = _count_lines(text)
            parsed = None if arrow is None else self._parsed(arrow, text, n_lines)
            if parsed is not None:
                self._n_lines += n_lines
                yield parsed
                continue
            # A cell with line breaks in it may go on behind the block.
            lines = chain(io.StringIO(text, newline=""), self._file)
            split = self._split(lines, n_lines=n_lines)
            if split.rows:
                yield split

    def _split(self, lines: Iterable[str], n_lines: int = 0, n_rows: int = 0) -> Split:
        """Split so many lines or rows, 0 for all, and whatever belongs to the last of them."""
        reader = csv.reader(lines, delimiter=self.dialect.separator)
        split, ended = Split([], []), 0
        try:
            for cells in reader:
                ended = reader.line_num
                if cells and not ("#" in cells[0] and self._is_comment(cells)):
                    self._n_cells = self._n_cells or len(cells)
                    split.rows.append(self._n_lines + ended)
                    split.lines.append(cells)
                if 0 < n_lines <= ended or 0 < n_rows == len(split.rows):
                    break
        except csv.Error as error:
            message = (
                f"{self._path}, row {self._n_lines + ended + 1} cannot be read as CSV: {error}; "
                "a quote that is not closed makes one cell of all that follows: close or remove it"
            )
            raise DatasetError(message) from None
        self._n_lines += reader.line_num
        return split

    def _is_comment(self, cells: Sequence[str]) -> bool:
        """Return whether a line is a comment: it begins as one, and is no row of the table."""
        is_row = len(cells) == self._n_cells != 1
        return bool(self._n_cells) and not is_row and cells[0].lstrip().startswith("#")

    def _parsed(self, arrow: "_Arrow", text: str, n_lines: int) -> Parsed | None:
        """Return the rows of some lines, None where one is not regular."""
        has_comments = self._n_cells == 1 and "#" in text
        if has_comments or text.startswith(_BOM):
            return None
        # One row more, which is lost in a cell whose quotes are still open.
        end = "" if text.endswith(_ENDS) else "\n"
        data = (text + end + self.dialect.separator.join("0" * self._n_cells)).encode()
        if _longest_line(data) > csv.field_size_limit():  # which `csv` refuses in a cell
            return None
        table = arrow.read(data, self.dialect, self._n_cells)
        if table is None or table.num_rows != n_lines + 1:  # blank lines, line breaks in cells
            return None
        rows = np.arange(self._n_lines + 1, self._n_lines + 1 + n_lines)
        return arrow.parsed(rows, table.slice(0, n_lines))


def _count_lines(text: str) -> int:
    """Return the number of lines of a text, whose ends may be of any kind."""
    n_ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return n_ends + (not text.endswith(_ENDS))


def _longest_line(data: bytes) -> int:
    """Return the bytes of the longest line."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    return int(np.diff(ends, prepend=-1, append=len(data)).max()) - 1


def _arrow(wanted: Wanted) -> "_Arrow | None":
    """Return what reads columns with pyarrow; None where it is not installed."""
    try:
        import pyarrow  # noqa: PLC0415  (part of the train extra)
        from pyarrow import csv as arrow_csv  # noqa: PLC0415
    except ImportError:
        return None
    return _Arrow(wanted, pyarrow, arrow_csv)


@dataclass(frozen=True, slots=True)
class _Arrow:
    """Reads columns with pyarrow."""

    wanted: Wanted
    pyarrow: Any
    csv: Any

    def read(self, data: bytes, dialect: Dialect, n_cells: int) -> Any:
        """Return whole lines as a table of the wanted columns; None where one is not regular."""
        wanted, arrow = self.wanted, self.pyarrow
        names = [str(at) for at in range(n_cells)]
        numbers = [*wanted.numbers, *([] if wanted.time is None else [wanted.time])]
        kinds = dict.fromkeys(numbers, arrow.float64())
        kinds |= dict.fromkeys(wanted.texts, arrow.string())
        read_options = self.csv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=names
        )
        convert_options = self.csv.ConvertOptions(
            column_types={names[at]: kind for at, kind in kinds.items()},
            include_columns=[names[at] for at in kinds],
            null_values=_WORDS_AS_WRITTEN if wanted.blank_is_missing else [],
            decimal_point="," if dialect.has_decimal_commas else ".",
        )
        parse_options = self.csv.ParseOptions(delimiter=dialect.separator)
        try:
            return self.csv.read_csv(
                arrow.BufferReader(data), read_options, parse_options, convert_options
            )
        except arrow.ArrowInvalid:
            return None

    def parsed(self, rows: NDArray[np.int64], table: Any) -> Parsed | None:
        """Return the wanted columns of a table; None where a number or a time is none."""
        wanted, columns = self.wanted, iter(table.columns)
        numbers = np.empty((len(rows), len(wanted.numbers)))
        for at, column in zip(range(len(wanted.numbers)), columns, strict=False):
            numbers[:, at] = _floats(column)
            if np.isnan(numbers[:, at]).sum() != column.null_count:  # C knows "nan(1)"
                return None
        times = None if wanted.time is None else _floats(next(columns))
        if times is not None and not np.isfinite(times).all():
            return None
        texts = [column.to_pylist() for _, column in zip(wanted.texts, columns, strict=False)]
        return Parsed(rows, numbers, times, texts)


def _floats(column: Any) -> NDArray[np.float64]:
    """Return a column of floats, NaN where it is null, from its buffers as Arrow defines them.

    `to_numpy` and `fill_null` would load pandas: 50 MiB and a third of a second.
    """
    array = column.combine_chunks()
    validity, data = array.buffers()
    here = slice(array.offset, array.offset + len(array))
    floats = np.frombuffer(data, np.float64)[here]
    if not array.null_count:
        return floats
    is_valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[here]
    return np.where(is_valid, floats, np.nan)
