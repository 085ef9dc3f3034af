"""What the columns are of tables in which each row has the value of one feature.

Such a table is brought to the usual form first, a row for each key and time::

    device  ts  tag   value          device  ts  temp  flow
    p1      0   temp  20.5     ->    p1      0   20.5  1.5
    p1      0   flow  1.5            p1      1         1.75
    p1      1   flow  1.75
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.files.times import to_labels
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.inspection.roles import Layout, Said, check_said, find_roles
from stream_detector.inspection.table import RawColumn, RawTable

Rows = NDArray[np.intp]


def find_layout(table: RawTable, said: Said) -> tuple[RawTable, Layout]:
    """Find out what each column of samples is, whether a row has all features or one.

    Parameters
    ----------
    table
        The table.
    said
        What a person said; with `feature_name` a row has the value of one feature, and `features`
        and `ignored` are names in that column.

    Returns
    -------
    The table with a column for each feature, and what its columns are. Of two values for the same
    feature, key and time the first counts.

    Raises
    ------
    ConfigError
        If a column or feature that was said is not there, or nothing is left for features.
    DatasetError
        If there are no times, by which the features of a sample meet, or a value is no number.
    """
    if said.feature_name is None or said.feature_value is None:
        return table, find_roles(table, said)
    check_said(table, replace(said, features=(), ignored=()))
    _numbers_of(table, said.feature_value)
    codes, names = _names(table, said)
    kept = np.flatnonzero(np.isin(codes, list(names)))
    table, codes = table.select(kept), codes[kept]
    layout = _layout_of_one(table, said, codes)
    wide = _widen(table, layout, said.feature_value, (codes, names))
    columns = layout.columns
    known = (columns.key, columns.time, columns.time_format, columns.label, columns.normal_label)
    if layout.time_of_day:
        known = (columns.key, None, *known[2:])
    found = find_roles(wide, Said(*known, said.features))
    long = replace(found.columns, feature_name=said.feature_name, feature_value=said.feature_value)
    why = {name: layout.why.get(name, each) for name, each in found.why.items()}
    note = f"a row has one value: {said.feature_value}, of the feature in {said.feature_name}"
    return wide, replace(found, columns=long, why=why, notes=(note, *found.notes))


def _numbers_of(table: RawTable, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column, shape (n_rows,), refusing a cell that is none."""
    column = table.named(name)
    if column is None or column.numbers is None:
        cells = () if column is None else column.cells
        shown = next((cell for cell in cells if not _is_number(cell)), None)
        message = f"{table.path}: column {name}: expected numbers, received {shown!r}"
        raise DatasetError(message)
    return column.numbers


def _sample_codes(table: RawTable, names: tuple[str, ...]) -> Rows:
    """Return of which sample each row is, counted from 0 as they come: equal in these columns."""
    codes = np.zeros(table.n_rows, np.intp)
    for name in names:
        column = table.named(name)
        if column is not None:
            own, texts = column.codes()
            codes = np.unique(codes * len(texts) + own, return_inverse=True)[1]
    _, firsts, found = np.unique(codes, return_index=True, return_inverse=True)
    places = np.empty(len(firsts), np.intp)
    places[np.argsort(firsts)] = np.arange(len(firsts))
    rows: Rows = places[found]
    return rows


def _names(table: RawTable, said: Said) -> tuple[Rows, dict[int, str]]:
    """Return the code of each row's feature, and the names of those that are wanted by code."""
    column = table.named(said.feature_name or "")
    assert column is not None  # noqa: S101  (checked before)
    codes, texts = column.codes()
    is_missing = column.is_missing
    there = dict.fromkeys(codes[~is_missing].tolist())
    names = {code: texts[code] for code in there}
    for flag, given in (("--features", said.features), ("--ignore", said.ignored)):
        lacking = [name for name in given if name not in names.values()]
        if lacking:
            message = (
                f"{flag}: expected names in the column {column.name} of {table.path}, some of "
                f"{', '.join(list(names.values())[:50])}, received {lacking[0]!r}"
            )
            raise ConfigError(message)
    wanted = set(said.features or names.values()).difference(said.ignored)
    names = {code: name for code, name in names.items() if name in wanted}
    return np.where(is_missing, -1, codes), names


def _layout_of_one(table: RawTable, said: Said, codes: Rows) -> Layout:
    """Return what the columns are, from the rows of the most frequent feature alone."""
    numbers, counts = np.unique(codes, return_counts=True)
    one = table.select(np.flatnonzero(codes == numbers[counts.argmax()]))
    others = tuple(each for each in one.columns if each is not one.named(said.feature_name or ""))
    value = said.feature_value or ""
    plain = replace(said, features=(value,), ignored=(), feature_name=None, feature_value=None)
    layout = find_roles(replace(one, columns=others), plain)
    if not layout.columns.time:
        message = (
            f"{table.path}: expected a column of times, by which the features of a sample meet, "
            f"received {', '.join(each.name for each in table.columns)}; name it with --time"
        )
        raise DatasetError(message)
    return layout


def _widen(
    table: RawTable, layout: Layout, value: str, features: tuple[Rows, dict[int, str]]
) -> RawTable:
    """Return a table with a row for each key and time, and a column for each feature."""
    columns = layout.columns
    places = tuple(filter(None, (columns.key, columns.time, layout.time_of_day)))
    at = _sample_codes(table, places)  # (n_rows,)
    firsts = np.unique(at, return_index=True)[1]  # (n_samples,)
    found = [column.select(firsts) for name in places if (column := table.named(name)) is not None]
    label = table.named(columns.label) if columns.label else None
    if label is not None:
        cells = label.cells if label.numbers is None else label.numbers.tolist()
        is_bad = to_labels(cells, columns.normal_label or "0")
        order = np.argsort(-is_bad, kind="stable")  # a row that is labelled stands for its sample
        found.append(label.select(order[np.unique(at[order], return_index=True)[1]]))
    codes, names = features
    numbers = _numbers_of(table, value)
    for code, name in names.items():
        rows = np.flatnonzero(codes == code)[::-1]  # the first is written last
        values = np.full(len(firsts), np.nan)
        values[at[rows]] = numbers[rows]
        found.append(RawColumn(name, values))
    return RawTable(table.path, tuple(found), len(firsts))


def _is_number(cell: object) -> bool:
    """Return whether a cell is a number, or nothing."""
    try:
        float(str(cell or "nan"))
    except ValueError:
        return False
    return True
