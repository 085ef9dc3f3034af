"""What to do about a file that cannot be read as it is: the lines of pandas that mend it.

The lines write a second file beside the first, so that obeying a message destroys nothing.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

from stream_detector.recipes.datasets import is_parquet, name_of

_BLANKS = r"\s+"
_NUMERIC_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[ T]+\d{1,2}:\d{2}.*)?")
_DAY_FIRST = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}.*")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def is_number(cell: str) -> bool:
    """Return whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_date(cell: object) -> bool:
    """Return whether a cell is a date or a time of day on one, as an object or as text.

    Examples
    --------
    >>> is_date("2026-01-01T00:00:00Z"), is_date("01.02.2026 10:00"), is_date("20260101")
    (True, True, False)
    """
    if isinstance(cell, date):  # includes datetime and pandas.Timestamp
        return True
    if not isinstance(cell, str) or is_number(cell):
        return False
    try:
        datetime.fromisoformat(cell.strip())
    except ValueError:
        return _NUMERIC_DATE.fullmatch(cell.strip()) is not None
    return True


def mend(path: Path, change: str = "", *, read: str = "", write: str = "") -> str:
    """Return the lines of Python that write a mended file beside a file.

    Parameters
    ----------
    path
        The file, CSV or Parquet.
    change
        Statements that change the table `t`.
    read, write
        Further arguments of `pandas.read_csv` and of `DataFrame.to_csv`.

    Examples
    --------
    >>> print(mend(Path("a.csv"), read="sep=';'"))  # doctest: +NORMALIZE_WHITESPACE
    in Python: import pandas; t = pandas.read_csv('a.csv', sep=';');
    t.to_csv('a.mended.csv', index=False); then give a.mended.csv
    """
    name = name_of(path)
    mended = path.with_name(f"{name}.mended{path.name.removeprefix(name)}")
    kind = "parquet" if is_parquet(path) else "csv"
    if kind == "parquet":
        read = write = ""
    source = ", ".join(filter(None, [repr(str(path)), read]))
    target = ", ".join(filter(None, [repr(str(mended)), "index=False", write]))
    lines = (f"t = pandas.read_{kind}({source})", change, f"t.to_{kind}({target})")
    return f"in Python: import pandas; {'; '.join(filter(None, lines))}; then give {mended}"


def to_milliseconds(
    path: Path, column: str | int, cell: object = "", *, is_index: bool = False
) -> str:
    """Return how a column of dates becomes the column timestamp_ms.

    Parameters
    ----------
    path
        The file.
    column
        Name of the column in pandas, its number if the file has no header.
    cell
        One of its cells, which shows the order of day and month.
    is_index
        Whether it is the index of a pandas table.
    """
    if isinstance(column, int):
        return "give the file a header, and convert the column to milliseconds as timestamp_ms"
    is_day_first = isinstance(cell, str) and _DAY_FIRST.fullmatch(cell.strip()) is not None
    options = ", format='mixed'" + ", dayfirst=True" * is_day_first
    change = (
        f"{f't = t.reset_index(names={column!r}); ' if is_index else ''}"
        f"t['timestamp_ms'] = (pandas.to_datetime(t.pop({column!r}), utc=True{options}) - "
        "pandas.Timestamp(0, tz='UTC')) / pandas.Timedelta('1ms')"
    )
    return (
        "convert the column to milliseconds since 1970-01-01 UTC and name it timestamp_ms, "
        f"{mend(path, change)}"
    )


def remedy_for_cell(
    path: Path, column: str | int, cell: object, *, is_value: bool, may_be_missing: bool = False
) -> str:
    """Return what to do about a cell that holds no number.

    Parameters
    ----------
    path
        The file.
    column
        Name of the column in pandas, its number if the file has no header.
    cell
        The cell.
    is_value
        Whether it is a value of the signal, else a time or a label.
    may_be_missing
        Whether an empty cell is a missing value.
    """
    if is_date(cell):
        return to_milliseconds(path, column, cell)
    text = cell.strip() if isinstance(cell, str) else ""
    headerless = {"read": "header=None", "write": "header=False"} if isinstance(column, int) else {}
    for pattern, option, what in (
        (_THOUSANDS, "thousands=','", "remove the separators of thousands"),
        (_DECIMAL_COMMA, "decimal=','", "write decimals with a point"),
    ):
        if pattern.fullmatch(text):
            both = {**headerless, "read": ", ".join(filter(None, [headerless.get("read"), option]))}
            return f"{what}, {mend(path, **both)}"
    if not is_value or not text:
        return "correct the cell or remove the row"
    if may_be_missing:
        mended = mend(path, read=f"na_values=[{text!r}]")
        return f"if it stands for a missing value, leave the cell empty, {mended}"
    change = f"t = t[pandas.to_numeric(t[{column!r}], errors='coerce').notna()]"
    mended = mend(path, change, **headerless)
    return f"a window has a number at each step: correct the cell or remove the row, {mended}"


def with_times(path: Path, headers: Iterable[str | int]) -> str:
    """Return how the rows of a file without times get some, one second apart.

    Parameters
    ----------
    path
        The file.
    headers
        Headers of its columns, numbers where it has none.
    """
    is_headerless = any(isinstance(each, int) for each in headers)
    numbered = "t.columns = [str(at + 1) for at in t.columns]; " * is_headerless
    change = f"{numbered}t.insert(0, 'timestamp_ms', 1_000 * t.index)"
    mended = mend(path, change, read="header=None" * is_headerless)
    return f"if it has no times and rows are 1 s apart, {mended}"


def layout_problem(path: Path, lines: Sequence[Sequence[str]]) -> str | None:
    """Return what is wrong with the layout of a CSV file, and what mends it.

    Parameters
    ----------
    path
        The file.
    lines
        Its first lines, split at what separates its cells, at least one.

    Returns
    -------
    None where it is a table of cells; blanks between these are not taken for separators.
    """
    if len(lines[0]) > 1:
        return None
    blanks = [cells[0].split() for cells in lines[:2]]
    if len(blanks[0]) < 2 or not all(map(is_number, blanks[-1])):  # noqa: PLR2004
        return None
    is_headerless = all(map(is_number, blanks[0]))
    read = f"sep={_BLANKS!r}" + ", header=None" * is_headerless
    mended = mend(path, read=read, write="header=False" if is_headerless else "")
    expected = "expected commas, semicolons, tabs or vertical bars"
    return f"the file has blanks between its cells; {expected}, {mended}"
