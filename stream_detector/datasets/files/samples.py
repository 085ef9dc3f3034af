"""Read a user's samples from CSV or Parquet, one sample of one series in each row.

The column timestamp_ms and the optional columns key, label, label_kind and label_feature are found
by name; every other column is a feature. CSV needs no extra package; Parquet needs pyarrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import NAME_CHARACTERS_MAX, Features, to_float32
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.stream_evaluation import LabelledEvent, event_rows
from stream_detector.datasets.base import SampleDataset
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.feature_order import match_features
from stream_detector.datasets.files.columns import NAMED, Columns
from stream_detector.datasets.files.extra import refuse_extra, refuse_row_numbers
from stream_detector.datasets.files.long_form import LongRows, widened
from stream_detector.datasets.files.ordering import TimeWatch
from stream_detector.datasets.files.reading import column_parts, read_columns
from stream_detector.datasets.files.remedies import mend, to_milliseconds, with_times
from stream_detector.datasets.files.sample_times import times_of
from stream_detector.datasets.files.times import is_time_name
from stream_detector.errors import DatasetError
from stream_detector.files import AnyPath
from stream_detector.recipes.columns import BY_NAME, FEATURE_NAME, LABEL_NOTES, ColumnMap
from stream_detector.recipes.datasets import name_of

TEST_SHARE = 0.2
_BETWEEN_FEATURES = ";"
"""Separates the names of features in a cell of the column label_feature."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """The samples of one file, in its order.

    Parameters
    ----------
    samples
        At least one sample. Series are in the order of their first rows; if there is no column
        key, the only series has the name of the file without its suffix.
    feature_names
        Headers of the feature columns. Length n_features.
    exact
        The values as the file has them, without an origin subtracted; float64, shape
        (n_samples, n_features).
    faults
        The faults that the column label marks, if the columns label_kind or label_feature say more
        of them; else empty.
    rows
        Row of the file that each sample is from, as `Columns` counts them, shape (n_samples,).
    """

    samples: Samples
    feature_names: tuple[str, ...]
    exact: NDArray[np.float64]
    rows: NDArray[np.int64]
    faults: tuple[LabelledEvent, ...] = ()

    @property
    def exact_samples(self) -> Samples:
        """Return the samples with their exact values."""
        return replace(self.samples, values=self.exact)


def read_samples(
    path: AnyPath, features: Features | None = None, columns: ColumnMap = BY_NAME
) -> SampleTable:
    """Read samples from a .csv or .parquet file.

    A value is parsed as float64 and rounded to float32, exactly as in a JSON record, so that a
    window has the same score from a file and from a stream. An empty cell or NaN is a missing
    value.

    Parameters
    ----------
    path
        The file. Rows may be in any order; where those of a key are not in order of time, all are
        sorted by time, and the log says so. Times may be equal.
    features
        The features of a bundle, whose columns may be in any order, and whose origin is
        subtracted; None takes all columns, in their order.
    columns
        Which column is what.

    Raises
    ------
    DatasetError
        If the file is missing, has no rows, no column of times or other features than the bundle,
        if a key is missing, if a cell is not a finite number, or if a time is missing, looks like
        seconds or is after the year 9999. The message has file, row and column, and says what to
        do. Rows are counted from 1; in a CSV file these are its lines, the header included.

    Notes
    -----
    Where rows in a row have the label 1, they are one fault, whose kind and features are those that
    the first of these rows names in label_kind and label_feature.
    """
    return to_samples(read_columns(Path(path), blank_is_missing=True, columns=columns), features)


def to_samples(columns: Columns, features: Features | None = None) -> SampleTable:
    """Return the samples of columns; see `read_samples`."""
    columns = _checked(widened(columns), features, is_first=True)
    samples = _samples(columns, features)
    order = _time_order(columns, samples)
    columns = columns.with_rows(order)
    samples = replace(
        samples,
        series=samples.series[order],
        times_ms=samples.times_ms[order],
        values=np.ascontiguousarray(samples.values[order]),
        labels=columns.labels(),
    )
    exact = np.ascontiguousarray(columns.values)  # (n_samples, n_features)
    names, faults = tuple(columns.value_names), _faults(columns, samples)
    return SampleTable(samples, names, exact, columns.rows, faults)


def sample_parts(
    path: AnyPath,
    features: Features | None = None,
    columns: ColumnMap = BY_NAME,
    *,
    exact: bool = False,
    numbered: bool = False,
) -> Iterator[Samples]:
    """Yield the samples of a file some at a time, in its order, whatever their times.

    They are those of `read_samples`. Of a file in which each row has one value, the values of a
    sample may be anywhere, so its samples come in the order of their times, once all was read.

    Parameters
    ----------
    path, features, columns
        As there.
    exact
        Keep the values in float64 as the file has them.
    numbered
        Put how many rows of the file came before each sample beside its exact values.

    Raises
    ------
    DatasetError
        As there, once the row is reached.
    """
    path, n_before = Path(path), 0
    parts = column_parts(path, blank_is_missing=True, columns=columns)
    first = next(parts)
    parts = (part.with_labels() for part in chain([first], parts))
    rows = LongRows(path, parts) if FEATURE_NAME in first.named else None
    watch = TimeWatch(path)
    for number, received in enumerate(parts if rows is None else rows.widened()):
        part = _checked(received, features, is_first=not number)
        samples = _samples(part, features, () if rows is None else rows.keys)
        samples = replace(samples, labels=part.labels())
        watch.add(part.rows, samples)
        if exact:
            samples = replace(samples, values=np.ascontiguousarray(part.values))
        if numbered:
            before = n_before + np.arange(len(samples)) if rows is None else rows.firsts
            samples = replace(samples, values=np.column_stack([part.values, before]))
        n_before += len(samples)
        yield samples
    watch.warn()


def _checked(columns: Columns, features: Features | None, *, is_first: bool) -> Columns:
    """Return columns of samples whose values are the features, in the order of a bundle's.

    What columns hold that are none of its features is judged by the first rows alone.
    """
    _check_names(columns)
    known = () if features is None else features.names
    others = [at for at, name in enumerate(columns.value_names) if name not in known]
    if is_first and not columns.chosen.features:
        refuse_extra(columns.with_values(others), by_values=False)
    if features is None:
        return columns
    return columns.with_values(match_features(columns.value_names, features, str(columns.path)))


def _samples(
    columns: Columns, features: Features | None, known_keys: Sequence[str] = ()
) -> Samples:
    """Return the rows of columns as samples without labels, whose keys come after known ones."""
    keys, series = _series(columns, features, known_keys)
    times_ms = times_of(columns)
    values = _values(columns, () if features is None else features.origin)
    return Samples(keys=keys, series=series, times_ms=times_ms, values=values)


def load(
    path: AnyPath,
    *,
    exact: bool = False,
    columns: ColumnMap = BY_NAME,
    test_share: float | None = None,
) -> SampleDataset:
    """Load a file as a data set; the last share of each series is the test part.

    It is a share of the time from the first sample of the series to its last: test data must not
    precede training data, and a series that is tested must have been trained on.

    Parameters
    ----------
    path
        The file.
    exact
        Keep the values in float64, to subtract an origin before they are rounded to float32.
    columns
        Which column is what.
    test_share
        That share, in [0, 1); None takes a fifth of a file with labels, and nothing of another.
    """
    path = Path(path)
    read = read_columns(path, blank_is_missing=True, columns=columns)
    table = to_samples(read)
    if not columns.features:
        refuse_row_numbers(read)
    return to_dataset(table, path.name, exact=exact, test_share=test_share)


def to_dataset(
    table: SampleTable, name: str, *, exact: bool = False, test_share: float | None = None
) -> SampleDataset:
    """Return samples as a data set; see `load`.

    Parameters
    ----------
    table
        The samples.
    name
        Name of the data set.
    exact, test_share
        See `load`.
    """
    times_ms, series = table.samples.times_ms, table.samples.series
    if test_share is None:
        test_share = 0.0 if table.samples.labels is None else TEST_SHARE
    is_test = np.zeros(len(times_ms), dtype=np.bool_)
    if test_share:
        n_series = len(table.samples.keys)
        start, end = np.full(n_series, np.inf), np.full(n_series, -np.inf)
        np.minimum.at(start, series, times_ms)
        np.maximum.at(end, series, times_ms)
        is_test = times_ms > (end - test_share * (end - start))[series]
    samples = table.exact_samples if exact else table.samples
    return SampleDataset(
        name=name,
        split="",
        train=some_samples(samples, ~is_test),
        test=some_samples(samples, is_test),
        feature_names=table.feature_names,
        faults=table.faults,
    )


def _faults(columns: Columns, samples: Samples) -> tuple[LabelledEvent, ...]:
    """Return the faults that labels mark, with the kinds and features that other columns name."""
    noted = [name for name in LABEL_NOTES if name in columns.named]
    if not noted:
        return ()
    if samples.labels is None:
        message = (
            f"{columns.path}: expected a column label (0 normal, 1 anomalous) beside the column "
            f"{noted[0]}, received none; add it, or remove {noted[0]}"
        )
        raise DatasetError(message)
    nothing = [""] * len(samples)
    kinds, features = (columns.texts(name) or nothing for name in LABEL_NOTES)
    faults = []
    for first, last in event_rows(samples).tolist():
        names = [name.strip() for name in features[first].split(_BETWEEN_FEATURES) if name.strip()]
        unknown = [name for name in names if name not in columns.value_names]
        if unknown:
            message = (
                f"{columns.path}, row {columns.rows[first]}, column label_feature: expected names "
                f"of features with {_BETWEEN_FEATURES} between them, received {unknown[0]!r}; "
                f"the features are {', '.join(columns.value_names)}"
            )
            raise DatasetError(message)
        key = samples.keys[samples.series[first]]
        start_ms, end_ms = float(samples.times_ms[first]), float(samples.times_ms[last])
        faults.append(LabelledEvent(key, start_ms, end_ms, kinds[first].strip(), tuple(names)))
    return tuple(faults)


def _check_names(columns: Columns) -> None:
    """Refuse a table without times or features, or with a name that is there twice or too long."""
    names = (*columns.named, *columns.value_names)
    if "timestamp_ms" not in columns.named:
        message = (
            f"{columns.path}: expected a header with a column timestamp_ms, received the columns "
            f"{', '.join(names)}; one row is one sample, its time in milliseconds since "
            f"1970-01-01 UTC{_where_time_is(columns)}"
        )
        raise DatasetError(message)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = (
            f"{columns.path}: expected columns of different names, received {', '.join(twice)} "
            "more than once; rename one"
        )
        raise DatasetError(message)
    if not columns.value_names:
        message = (
            f"{columns.path}: expected at least one feature column beside the columns "
            f"{', '.join(NAMED)}, received none; give each feature a column"
        )
        raise DatasetError(message)
    longest = max(columns.value_names, key=len)
    if len(longest) > NAME_CHARACTERS_MAX:
        message = (
            f"{columns.path}: expected names of features of at most {NAME_CHARACTERS_MAX} "
            f"characters, received one of {len(longest)}: {longest[:40]}...; shorten it"
        )
        raise DatasetError(message)


def _where_time_is(columns: Columns) -> str:
    """Return what to do where another column, or the index of a pandas table, holds the times."""
    for name, kind in columns.index.items():
        if kind.startswith(("timestamp", "date")):
            remedy = to_milliseconds(columns.path, name, is_index=True)
            return f"; the index {name} ({kind}) holds times: {remedy}"
    for name in filter(is_time_name, columns.value_names):
        change = f"t = t.rename(columns={{{columns.headers.get(name, name)!r}: 'timestamp_ms'}})"
        return (
            f"; if {name} is the time, name it timestamp_ms (and multiply it by 1000 if it is in "
            f"seconds), {mend(columns.path, change)}"
        )
    return f"; {with_times(columns.path, columns.headers.values())}"


def _series(
    columns: Columns, features: Features | None, known: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return known keys and others in order of appearance, and the number of each sample's key.

    A file without keys is the series that the bundle knows, where it knows one alone: it may have
    been trained on a file of another name.
    """
    keys = columns.keys()
    if keys is None:
        scales = None if features is None else features.key_scales
        only = scales.keys[0].decode() if scales is not None and len(scales) == 1 else None
        return (only or name_of(columns.path),), np.zeros(len(columns.rows), dtype=np.intp)
    if "" in keys:
        message = (
            f"{columns.path}, row {columns.rows[keys.index('')]}, column key: expected the name of "
            "a series, received an empty cell; correct the cell, or remove the column if there is "
            "only one series"
        )
        raise DatasetError(message)
    numbers = {key: number for number, key in enumerate(known)}
    series = [numbers.setdefault(key, len(numbers)) for key in keys]
    return tuple(numbers), np.array(series, dtype=np.intp)


def _time_order(columns: Columns, samples: Samples) -> NDArray[np.intp]:
    """Return the rows in the order of time, ties as they are, shape (n_rows,).

    Where each series is in order, they stay as they are.
    """
    watch = TimeWatch(columns.path)
    watch.add(columns.rows, samples)
    watch.warn()
    if not watch.n_back:
        return np.arange(len(samples))
    return np.argsort(samples.times_ms, kind="stable")


def _values(columns: Columns, origin: Sequence[float]) -> FloatArray:
    """Return values as float32, refusing values that are infinite or too large."""
    values = to_float32(columns.values, origin)  # (n_samples, n_features)
    bad = np.argwhere(np.isinf(values))
    if len(bad):
        row, column = bad[0]
        message = (
            f"{columns.path}, row {columns.rows[row]}, column {columns.value_names[column]}: "
            "expected a finite number that fits float32, or an empty cell for a missing value, "
            f"received {columns.values[row, column]}; correct the cell"
        )
        raise DatasetError(message)
    return values
