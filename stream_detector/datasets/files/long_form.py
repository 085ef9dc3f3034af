"""Files in which each row has the value of one feature: the samples that they make.

Values of one key and time meet in one sample; one that is not there is missing. Of two for the same
feature the first counts, as on a stream. A sample is labelled if one of its values is::

    device  ts  tag   value          device  ts  temp  flow
    p1      0   temp  20.5     ->    p1      0   20.5  1.5
    p1      0   flow  1.5            p1      1         1.75
    p1      1   flow  1.75
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.files.columns import Columns
from stream_detector.datasets.files.ordering import TimeWatch, in_time_order
from stream_detector.datasets.files.sample_times import times_of
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import FEATURE_NAME

_ROWS_AT_ONCE = 65_536

Rows = NDArray[np.intp]


def widened(columns: Columns) -> Columns:
    """Return a file in which each row has one value as one with a column for each feature.

    Parameters
    ----------
    columns
        A file as read. Without a column `FEATURE_NAME` it is returned as it is.

    Raises
    ------
    DatasetError
        If there is no time, or a feature that was named is not there.
    """
    if FEATURE_NAME not in columns.named:
        return columns
    _require_times(columns)
    received = dict.fromkeys(columns.texts(FEATURE_NAME) or [])
    places = _places(columns, received)
    columns = columns.with_rows(_wanted_rows(columns))
    feature = np.array([places[name] for name in columns.texts(FEATURE_NAME) or []], np.intp)
    _, series = _series(columns)
    first, at = _samples_of(series, times_of(columns))
    named = columns.with_rows(first).named
    labels = columns.labels()
    if labels is not None:
        named = named | {"label": _labels(labels, at).tolist()}
    return replace(
        columns,
        value_names=tuple(places),
        values=_spread(columns.values[:, 0], at, feature, len(places)),
        named={name: cells for name, cells in named.items() if name != FEATURE_NAME},
        rows=columns.rows[first],
    )


class LongRows:
    """The rows of a file in which each has one value, some at a time.

    The values of a sample may be anywhere in the file. So its rows are brought into the order of
    their times in a temporary file, and those of each time are then widened together.

    Parameters
    ----------
    path
        The file.
    parts
        Its rows, with labels of 0 and 1.

    Attributes
    ----------
    keys
        In the order of their first rows, once the first part was widened; none if the file has no
        column of keys.
    firsts
        How many rows of the file came before the first row of each sample of the newest part.
    """

    def __init__(self, path: Path, parts: Iterable[Columns]) -> None:
        self.keys: tuple[str, ...] = ()
        self.firsts = np.empty(0)
        self._path, self._parts = path, iter(parts)
        self._numbers: dict[str, int] = {}
        """Number of each name of a feature, in the order of the file."""
        self._places: dict[str, int] = {}
        """Column of each feature that is wanted."""

    def widened(self) -> Iterator[Columns]:
        """Yield the rows as those of a file with a column for each feature, in order of time.

        Raises
        ------
        DatasetError
            As the function `widened`, once all rows were read.
        """
        first = next(self._parts)
        _require_times(first)
        head, is_keyed = replace(first, path=self._path, named={}), "key" in first.named
        ordered = in_time_order(self._packed(chain([first], self._parts)), _ROWS_AT_ONCE)
        for rows in _whole_times(ordered):
            self.keys = rows.keys if is_keyed else ()
            yield self._samples(rows, head)

    def _packed(self, parts: Iterable[Columns]) -> Iterator[Samples]:
        """Yield the rows as samples of four values: number of the feature, value, row, rows before.

        Rows of several files are counted anew in each, those before are not.
        """
        watch, numbers, n_before = TimeWatch(self._path), self._numbers, 0
        for received in parts:
            for name in received.texts(FEATURE_NAME) or []:
                numbers.setdefault(name, len(numbers))
            kept = _wanted_rows(received)
            part, before = received.with_rows(kept), n_before + kept
            n_before += len(received.rows)
            if not len(kept):
                continue
            feature = [numbers[name] for name in part.texts(FEATURE_NAME) or []]
            values = np.column_stack([feature, part.values[:, 0], part.rows, before])
            samples = Samples(*_series(part), times_of(part), values, part.labels())
            watch.add(part.rows, _by_feature(samples, tuple(numbers)))
            yield samples
        watch.warn()
        self._places = _places(replace(received, path=self._path), numbers)

    def _samples(self, rows: Samples, head: Columns) -> Columns:
        """Return the samples that rows make, in the form of the file."""
        numbers, values, row, before = rows.values.T
        places = np.array([self._places.get(name, -1) for name in self._numbers], np.intp)
        first, at = _samples_of(rows.series, rows.times_ms)
        self.firsts = before[first]
        named: dict[str, list[Any]] = {"timestamp_ms": rows.times_ms[first].tolist()}
        if self.keys:
            named["key"] = [rows.keys[number] for number in rows.series[first].tolist()]
        if rows.labels is not None:
            named["label"] = _labels(rows.labels, at).tolist()
        wide = _spread(values, at, places[numbers.astype(np.intp)], len(self._places))
        return replace(
            head,
            value_names=tuple(self._places),
            values=wide,
            named=named,
            rows=row[first].astype(np.int64),
        )


def feature_names(path: Path, parts: Iterable[Columns]) -> tuple[str, ...]:
    """Return the features of a file in which each row has one value, from all of its rows."""
    received: dict[str, None] = {}
    for part in parts:
        received |= dict.fromkeys(part.texts(FEATURE_NAME) or [])
    return tuple(_places(replace(part, path=path), received))


def _require_times(columns: Columns) -> None:
    """Refuse rows without times, by which the values of a sample meet."""
    if "timestamp_ms" not in columns.named:
        message = (
            f"{columns.path}: expected a column of times, by which the features of a sample meet, "
            f"received {', '.join(map(str, columns.headers.values()))}; name it with --time"
        )
        raise DatasetError(message)


def _places(columns: Columns, received: Collection[str]) -> dict[str, int]:
    """Return the column of each feature that is wanted, of those that the file has."""
    features = columns.chosen.features or tuple(filter(None, received))
    lacking = [name for name in features if name not in received]
    if lacking or not features:
        expected = f"the features {', '.join(lacking)}" if lacking else "names of features"
        message = (
            f"{columns.path}: expected {expected} in the column "
            f"{columns.headers.get(FEATURE_NAME)}, received {', '.join(received)}"
        )
        raise DatasetError(message)
    return {name: place for place, name in enumerate(features)}


def _wanted_rows(columns: Columns) -> Rows:
    """Return which rows are of features that are wanted."""
    chosen = frozenset(columns.chosen.features)
    names = columns.texts(FEATURE_NAME) or []
    kept = [at for at, name in enumerate(names) if (name in chosen if chosen else name)]
    return np.array(kept, np.intp)


def _series(columns: Columns) -> tuple[tuple[str, ...], Rows]:
    """Return the keys in order of appearance, and the number of each row's key."""
    numbers: dict[str, int] = {}
    keys = columns.keys() or [""] * len(columns.rows)
    series = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)
    return tuple(numbers), series


def _by_feature(rows: Samples, names: Sequence[str]) -> Samples:
    """Return rows of which each feature of a key is a series, since each has an order of its own.

    Files may have all rows of one feature before those of the next.
    """
    pairs = rows.series * len(names) + rows.values[:, 0].astype(np.intp)  # (n_rows,)
    found, series = np.unique(pairs, return_inverse=True)
    keys = [f"{rows.keys[at // len(names)]} {names[at % len(names)]}" for at in found.tolist()]
    return replace(rows, keys=tuple(each.strip() for each in keys), series=series)


def _whole_times(parts: Iterable[Samples]) -> Iterator[Samples]:
    """Yield samples in the order of their times in other parts: none ends within a time."""
    kept = None
    for part in parts:
        rows = part if kept is None else _joined(kept, part)
        is_last = rows.times_ms == rows.times_ms[-1]
        kept = some_samples(rows, is_last)
        if not is_last.all():
            yield some_samples(rows, ~is_last)
    if kept is not None:
        yield kept


def _joined(first: Samples, second: Samples) -> Samples:
    """Return samples of the same keys, one after the other."""
    labels = [each.labels for each in (first, second) if each.labels is not None]
    return Samples(
        first.keys,
        np.concatenate([first.series, second.series]),
        np.concatenate([first.times_ms, second.times_ms]),
        np.concatenate([first.values, second.values]),
        np.concatenate(labels) if labels else None,
    )


def _samples_of(series: Rows, times_ms: NDArray[np.float64]) -> tuple[Rows, Rows]:
    """Return the first row of each sample, ascending, and the sample of each row."""
    times = np.unique(times_ms, return_inverse=True)[1]  # (n_rows,)
    codes = times * (series.max(initial=0) + 1) + series
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)  # (n_samples,)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return first[order], places[codes]


def _spread(
    values: NDArray[np.float64], at: Rows, feature: Rows, n_features: int
) -> NDArray[np.float64]:
    """Return the values of samples, shape (n_samples, n_features), NaN where a row has none.

    Parameters
    ----------
    values, at, feature
        Value, sample and feature of each row, shape (n_rows,).
    n_features
        Number of features.
    """
    wide = np.full((at.max(initial=-1) + 1, n_features), np.nan)
    _, firsts = np.unique(at * n_features + feature, return_index=True)  # of two, the first counts
    wide[at[firsts], feature[firsts]] = values[firsts]
    return wide


def _labels(labels: NDArray[np.int8], at: Rows) -> NDArray[np.int8]:
    """Return which samples have a row that is labelled, shape (n_samples,)."""
    found = np.zeros(at.max(initial=-1) + 1, np.int8)
    np.maximum.at(found, at, labels)
    return found
