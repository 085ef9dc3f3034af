"""Find columns among the values that are none: an index, a label, a time.

A network that is trained with such a column among its values learns the column, and finds nothing.
"""

import re
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.columns import Columns
from stream_detector.datasets.files.remedies import mend
from stream_detector.datasets.files.times import is_time_name
from stream_detector.errors import DatasetError

N_ROWS_MIN = 20
"""Fewer rows than these say nothing about what a column holds."""

_INDEX = re.compile(
    r"\d+_\(without_a_name\)|unnamed:_\d+|index|level_\d+|__index_level_\d+__|row(_?(id|number))?"
)
_LABEL = re.compile(
    r"labels?|class(es)?|target|anomal(y|ies|ous)|is_?anomal(y|ous)|is_?outlier|outlier|y_true|"
    r"ground_?truth"
)
_N_CODES_MAX = 20
_WHOLE_MAX = 0.1
_COUNTING_MAX = 0.5


def refuse_extra(columns: Columns, *, by_values: bool, n_rows_min: int = N_ROWS_MIN) -> None:
    """Refuse a file with a column among its values that is none.

    Parameters
    ----------
    columns
        The file.
    by_values
        Whether columns are judged by what they hold too, and not only by their names; for files
        of windows, in which all columns hold the same quantity.
    n_rows_min
        With fewer rows columns are judged by their names only, and with fewer than three columns.

    Raises
    ------
    DatasetError
        Naming the first such column, why it is no value, and what to do.
    """
    for at, name in enumerate(columns.value_names):
        reason = _by_name(name, columns.values[:, at])
        if reason is not None:
            _refuse(columns, at, *reason)
    if by_values and len(columns.rows) >= n_rows_min and columns.values.shape[1] > 2:  # noqa: PLR2004
        for at, reason in _by_values(columns.values).items():
            _refuse(columns, at, *reason)


def refuse_row_numbers(columns: Columns) -> None:
    """Refuse a file of samples in which a feature counts the rows.

    Parameters
    ----------
    columns
        The file. With fewer than `N_ROWS_MIN` rows nothing is refused.

    Raises
    ------
    DatasetError
        Naming the column and what to do.
    """
    if len(columns.rows) < N_ROWS_MIN:
        return
    with np.errstate(invalid="ignore"):  # infinities
        is_counting = (np.diff(columns.values, axis=0) == 1).all(axis=0)  # (n_features,)
    for at in np.flatnonzero(is_counting).tolist():
        _refuse(columns, at, "counts the rows of the file, so it is an index", "index")


def _plain(name: str) -> str:
    """Return a name in lower case, with underscores between its words."""
    return re.sub(r"[ -]+", "_", name.strip().lower())


def _by_name(name: str, values: NDArray[np.float64]) -> tuple[str, str] | None:
    """Return why a column is no value, and what it is; None if its name does not say so."""
    if _INDEX.fullmatch(_plain(name)):
        return "is an index", "index"
    with np.errstate(invalid="ignore"):  # infinities
        is_whole = bool((values == np.trunc(values)).all())
        is_ascending = len(values) > 1 and bool((np.diff(values) >= 0).all())
    if _LABEL.fullmatch(_plain(name)) and is_whole and len(np.unique(values)) <= _N_CODES_MAX:
        return "is a label", "label"
    if is_time_name(name) and is_ascending:
        return "is a time", "time"
    return None


def _by_values(values: NDArray[np.float64]) -> dict[int, tuple[str, str]]:
    """Return the columns that stand out from the others, with why and what each is."""
    with np.errstate(invalid="ignore"):
        steps = np.diff(values, axis=0)  # (n_rows - 1, n_values)
        is_counter = (steps == steps[0]).all(axis=0) & (steps[0] != 0)  # (n_values,)
        is_whole = (values == np.trunc(values)).all(axis=0)  # (n_values,)
    n_values = values.shape[1]
    found: dict[int, tuple[str, str]] = {}
    if is_counter.sum() < _COUNTING_MAX * n_values:
        for at in np.flatnonzero(is_counter).tolist():
            step = f"{steps[0, at]:g}"
            found[at] = f"counts on by {step} from row to row, so it is an index", "index"
    if is_whole.sum() - 1 <= _WHOLE_MAX * n_values:  # beside the label itself
        for at in (0, n_values - 1):  # where labels stand
            codes = np.unique(values[:, at])
            if is_whole[at] and at not in found and 1 < len(codes) <= _N_CODES_MAX:
                shown = ", ".join(f"{code:g}" for code in codes[:5])
                what = f"holds whole numbers only ({shown}), the others fractions: it is a label"
                found[at] = what, "label"
    return found


def _refuse(columns: Columns, at: int, why: str, kind: str) -> NoReturn:
    """Raise for a column that is no value."""
    name = columns.value_names[at]
    header = columns.headers.get(name, name)
    read = "header=None" if isinstance(header, int) else ""
    if kind == "index" or (kind == "time" and "timestamp_ms" in columns.named):
        write = "header=False" if read else ""
        change = f"t = t.drop(columns=[{header!r}])"
        remedy = f"remove it, {mend(columns.path, change, read=read, write=write)}"
    else:
        wanted = "label" if kind == "label" else "timestamp_ms"
        meaning = "0 normal, 1 anomalous" if kind == "label" else "milliseconds since 1970 UTC"
        change = f"t = t.rename(columns={{{header!r}: {wanted!r}}})"
        mended = mend(columns.path, change, read=read)
        remedy = f"name it {wanted} ({meaning}), {mended}; or remove it"
    message = f"{columns.path}: column {name} {why} and not a value: {remedy}"
    raise DatasetError(message)
