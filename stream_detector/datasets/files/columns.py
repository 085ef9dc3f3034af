"""The columns of a user's file: values, and columns found by name.

Tables of windows and of samples share them. `stream_detector.datasets.files.reading` reads them
from CSV and Parquet.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.remedies import (
    is_date,
    is_number,
    remedy_for_cell,
    to_milliseconds,
)
from stream_detector.datasets.files.times import (
    FORMAT_NAMES,
    MISSING_WORDS,
    decide_format,
    to_labels,
)
from stream_detector.datasets.files.times import to_milliseconds as read_times
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME, FEATURE_NAME, LABEL_NOTES, ColumnMap

NAMED = ("key", "timestamp_ms", "label", *LABEL_NOTES)
"""Optional columns found by name, whatever its case and the blanks around it; every other column
holds values."""

TEXTS = ("key", *LABEL_NOTES)
"""Those of `NAMED` that hold text and no numbers."""

TRUTH = {"false": 0.0, "true": 1.0}
"""Words that are read as numbers: pandas writes columns of truth values so."""

_N_UNREAD_SHOWN = 3

_WHOLE_MAX = 2.0**53
"""Up to here float64 holds every integer exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns as read: values as float64, named columns as the cells of the file.

    Parameters
    ----------
    path
        The file.
    value_names
        Headers of the value columns, or their numbers from 1 if there is no header.
    values
        Shape (n_rows, n_values), n_rows >= 1. NaN is a missing value.
    named
        Cells of those columns of `NAMED` that the file has.
    rows
        Number of each row in messages, shape (n_rows,), counted from 1: the line of a CSV file,
        the header included, or the row of a Parquet table.
    headers
        For each column of `named` and each of `value_names`, what pandas calls it: its header as
        the file has it, or its number from 0 if there is no header.
    index
        Those columns of a Parquet file that are the index of a pandas table, each with its type;
        of these only the ones in `named` are read.
    chosen
        Which column a recipe says is what.
    form
        How the file is written, in words.
    time_format
        Format of its times; empty where there are none.
    unread
        Names of the columns that are neither values nor named.
    """

    path: Path
    value_names: Sequence[str]
    values: NDArray[np.float64]
    named: dict[str, list[Any]]
    rows: NDArray[np.int64]
    headers: Mapping[str, str | int] = field(default_factory=dict)
    index: Mapping[str, str] = field(default_factory=dict)
    chosen: ColumnMap = BY_NAME
    form: Sequence[str] = ()
    time_format: str = ""
    unread: Sequence[str] = ()

    @property
    def described(self) -> str:
        """Return in one line how the file was read."""
        parts = [*self.form]
        for role, what in (("key", "key"), ("timestamp_ms", "time"), ("label", "label")):
            if role in self.named:
                form = f" {self._time_form}" if what == "time" else ""
                parts.append(f"{what} column {str(self.headers.get(role, role))!r}{form}")
        if FEATURE_NAME in self.named:
            parts.append(f"one value a row, named by column {self.headers.get(FEATURE_NAME)!r}")
        n_values = len(self.value_names)
        parts.append(f"{n_values} column{'s' * (n_values != 1)} of values")
        n_more = len(self.unread) - _N_UNREAD_SHOWN
        names = [*self.unread[:_N_UNREAD_SHOWN], *([f"{n_more} more"] if n_more > 0 else [])]
        return ", ".join([*parts, *([f"not read: {', '.join(names)}"] if names else [])])

    @property
    def _time_form(self) -> str:
        """Return the format of the times in words."""
        return FORMAT_NAMES.get(self.time_format, self.time_format)

    def with_values(self, places: Sequence[int]) -> "Columns":
        """Return the same rows with these columns of values, in this order."""
        if list(places) == list(range(len(self.value_names))):
            return self
        names = [self.value_names[at] for at in places]
        return replace(self, value_names=names, values=np.ascontiguousarray(self.values[:, places]))

    def with_rows(self, rows: NDArray[np.intp]) -> "Columns":
        """Return these rows, in this order."""
        if (rows[1:] > rows[:-1]).all() and len(rows) == len(self.rows):
            return self
        places = rows.tolist()
        named = {name: [cells[at] for at in places] for name, cells in self.named.items()}
        return replace(self, values=self.values[rows], named=named, rows=self.rows[rows])

    def with_labels(self) -> "Columns":
        """Return the same with labels of 0 and 1, where it is said what the normal one is."""
        if "label" not in self.named or self.chosen.normal_label is None:
            return self
        cells = self.named["label"]
        labels = to_labels(cells, self.chosen.normal_label).tolist()
        kinds = [str(cell) if label else "" for cell, label in zip(cells, labels, strict=True)]
        # One kind alone says no more than the label.
        kind = {"label_kind": kinds} if len({*kinds, ""}) > 2 else {}  # noqa: PLR2004
        return replace(self, named=kind | self.named | {"label": labels})

    def keys(self) -> list[str] | None:
        """Return the column `key` as text, None if there is none."""
        return self.texts("key")

    def texts(self, name: str) -> list[str] | None:
        """Return a named column as text, empty where a cell is missing; None if there is none."""
        cells = self.named.get(name)
        if cells is None or {*map(type, cells)} == {str}:
            return cells
        return [_text(cell) for cell in cells]

    def labels(self) -> NDArray[np.int8] | None:
        """Return the column `label`, None if there is none; refuse values other than 0 and 1."""
        labels = self.integers("label")
        if labels is None:
            return None
        bad = np.flatnonzero((labels != 0) & (labels != 1))
        if len(bad):
            message = (
                f"{self.path}, row {self.rows[bad[0]]}, column label: expected 0 (normal) or 1 "
                f"(anomalous), received {labels[bad[0]]}; correct the label"
            )
            raise DatasetError(message)
        return labels.astype(np.int8)

    def integers(self, name: str) -> NDArray[np.int64] | None:
        """Return a named column as integers, None if there is none."""
        cells = self.named.get(name)
        if cells is None:
            return None
        numbers = _whole_numbers(cells)
        if numbers is not None:
            return numbers
        numbers = np.empty(len(cells), dtype=np.int64)
        for index, cell in enumerate(cells):
            try:
                numbers[index] = _integer(cell)
            except (TypeError, ValueError, OverflowError):
                message = (
                    f"{self.path}, row {self.rows[index]}, column {name}: expected a whole "
                    f"number, received {cell!r}; {self.remedy(name, cell)}"
                )
                raise DatasetError(message) from None
        return numbers

    def remedy(self, name: str, cell: object) -> str:
        """Return what to do about a cell of a named column that holds no number."""
        if name == "label" and isinstance(cell, str) and cell.strip():
            return "write 0 for normal and 1 for anomalous"
        header = self.headers.get(name, name)
        if header in self.index and is_date(cell):
            return to_milliseconds(self.path, header, cell, is_index=True)
        return remedy_for_cell(self.path, header, cell, is_value=False)


def canonical(header: str) -> str:
    """Return the name that a header stands for: one of `NAMED`, or the header without blanks.

    Examples
    --------
    >>> canonical(" Timestamp_MS"), canonical("KEY"), canonical(" Flow ")
    ('timestamp_ms', 'key', 'Flow')
    """
    name = header.strip().removeprefix("#").lstrip()  # of a header marked as a comment
    return name.lower() if name.lower() in NAMED else name


def _text(cell: object) -> str:
    """Return a key or a note as text, empty where it is missing."""
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")
    if isinstance(cell, float):  # pandas turns a column of integers with a gap into floats
        if math.isnan(cell):
            return ""
        return str(int(cell)) if cell.is_integer() else str(cell)
    return str(cell)


def _whole_numbers(cells: Sequence[Any]) -> NDArray[np.int64] | None:
    """Return a whole column as integers, None if that may not be exact."""
    try:
        numbers = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    is_exact = (np.abs(numbers) < _WHOLE_MAX) & (numbers == np.trunc(numbers))
    return numbers.astype(np.int64) if is_exact.all() else None


def _integer(cell: Any) -> int:
    """Return the integer in a cell such as 3, 3.0 or 3e0."""
    if isinstance(cell, int) or (isinstance(cell, str) and cell.strip().lstrip("+-").isdecimal()):
        return int(cell)
    if isinstance(cell, str) and cell.strip().lower() in TRUTH:
        return int(TRUTH[cell.strip().lower()])
    value = float(cell)
    if not value.is_integer():
        message = f"{value} is not whole"
        raise ValueError(message)
    return int(value)


def to_numbers(cells: Sequence[str | None], *, blank_is_missing: bool) -> NDArray[np.float64]:
    """Return the numbers of a column of text, shape (n_cells,); None becomes NaN.

    Raises
    ------
    ValueError
        If a cell holds none; `refuse_column` says which, and what to do.
    """
    try:
        return np.array(
            [cell or "nan" for cell in cells] if blank_is_missing else cells, np.float64
        )
    except (TypeError, ValueError):
        words = {word: str(number) for word, number in TRUTH.items()}
        words |= dict.fromkeys(MISSING_WORDS, "nan") if blank_is_missing else {}
    texts = ["nan" if cell is None else words.get(cell.strip().lower(), cell) for cell in cells]
    return np.array(texts, dtype=np.float64)


def refuse_column(
    path: Path,
    rows: Sequence[int],
    name: str,
    header: str | int,
    cells: Sequence[str | None],
    *,
    may_be_missing: bool,
) -> NoReturn:
    """Raise for a column of values in which a cell holds no number.

    Parameters
    ----------
    path
        The file.
    rows
        Number of each row in messages. Length n_cells.
    name, header
        Name of the column in messages and in pandas, there its number if it has none.
    cells
        Its cells, at least one of which is no number.
    may_be_missing
        Whether an empty cell is a missing value.

    Raises
    ------
    DatasetError
        Always, with the first such cell and what to do about it.
    """
    texts = ["nan" if cell is None else cell.strip() for cell in cells]
    known = {*TRUTH, *(MISSING_WORDS if may_be_missing else [])}
    bad = next(
        at for at, text in enumerate(texts) if not is_number(text) and text.lower() not in known
    )
    received = repr(cells[bad]) if texts[bad] else "an empty cell"
    remedy = remedy_for_cell(path, header, cells[bad], is_value=True, may_be_missing=may_be_missing)
    if not any(map(is_number, texts)) and not is_date(cells[bad]):
        remedy = (
            f"the column is text: name it {' or '.join(NAMED)} if it is that, or say what it is "
            "with --key, --time or --label; else remove it, or name the others with --features"
        )
    message = (
        f"{path}, row {rows[bad]}, column {name}: expected a number, received {received}; {remedy}"
    )
    raise DatasetError(message)


def roles_of(path: Path, names: Sequence[str], columns: ColumnMap) -> list[str | None]:
    """Return what each column of a file is: one of `NAMED`, a value's name, or None for neither.

    Parameters
    ----------
    path
        The file.
    names
        Its headers as `canonical` returns them.
    columns
        Which column is what.

    Raises
    ------
    DatasetError
        If a column is missing that `columns` names, or two stand for the same one of `NAMED`.
    """
    try:
        roles = columns.roles(names)
    except ValueError as error:
        message = f"{path}: {error}; correct the name, or give the file that it is for"
        raise DatasetError(message) from None
    check_named_once(path, [role for role in roles if role is not None])
    return roles


def convert_times(
    path: Path,
    named: dict[str, list[Any]],
    rows: Sequence[int] | NDArray[np.int64],
    columns: ColumnMap,
    headers: Mapping[str, str | int],
    decided: str = "",
) -> str:
    """Bring times to milliseconds, in place, as a recipe or the cells say.

    Parameters
    ----------
    path
        The file.
    named
        Cells of the columns of `NAMED`.
    rows
        Number of each row in messages.
    columns
        Which column is what, and what form times have.
    headers
        Header of each of those columns.
    decided
        The format that earlier rows of the file have; empty for the first ones.

    Returns
    -------
    The format of the times; empty where there are none.

    Raises
    ------
    DatasetError
        If a cell is no time of that format.
    """
    cells = named.get("timestamp_ms")
    if cells is None:
        return ""
    is_dates = any(isinstance(cell, date) for cell in cells[:1])
    header = headers.get("timestamp_ms", "timestamp_ms")
    name = canonical(str(header))
    time_format = decided or columns.format_of([name]) or decide_format(cells)
    if not decided and name == "timestamp_ms" and columns.time is None and not is_date(cells[0]):
        time_format = "ms"  # it says so; numbers of another unit are refused
    if time_format != "ms" or (is_dates and columns.time is not None):
        times_ms = read_times(cells, time_format)
        bad = np.flatnonzero(~np.isfinite(times_ms))
        if len(bad):
            said = columns.format_of([name])
            expected = FORMAT_NAMES.get(time_format, time_format)
            if said is not None:
                expected = f"data.time_format = {said!r} says"
            message = (
                f"{path}, row {rows[bad[0]]}, column {header}: expected a time as {expected}, "
                f"received {cells[bad[0]]!r}; correct the cell, remove the row, or set another "
                "data.time_format (--time-format)"
            )
            raise DatasetError(message)
        named["timestamp_ms"] = times_ms.tolist()
    return time_format


def check_named_once(path: Path, names: Sequence[str]) -> None:
    """Refuse a file in which two columns stand for the same one of `NAMED`.

    Raises
    ------
    DatasetError
        Naming it.
    """
    twice = [name for name in NAMED if names.count(name) > 1]
    if twice:
        message = (
            f"{path}: expected columns of different names, received {', '.join(twice)} more than "
            "once, whatever case and blanks; rename or remove one"
        )
        raise DatasetError(message)


def refuse_empty(path: Path) -> NoReturn:
    """Raise for a file without rows.

    Raises
    ------
    DatasetError
        Always.
    """
    message = f"{path} has no rows: expected at least one; check that the file is complete"
    raise DatasetError(message)
