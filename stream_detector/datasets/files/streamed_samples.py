"""Load samples of Parquet that are too many for memory: some of their windows are held.

Rows may be in any order: they are brought into that of their times in a temporary file. The windows
are those of all samples at once, since the same code cuts them batch by batch.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.cutting import assign, samples_at_once
from stream_detector.datasets.files.ordering import in_time_order
from stream_detector.datasets.files.reading import column_parts
from stream_detector.datasets.files.samples import TEST_SHARE, sample_parts
from stream_detector.datasets.files.window_file import WindowFile
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import FEATURE_NAME, ColumnMap

_LOSS_MAX = 2.0**-10
"""Largest error of rounding to float32, as a share of the variation; as in `training.origin`."""

Mark = Callable[[Samples], Samples]


class Choice(NamedTuple):
    """What of a file is wanted.

    Parameters
    ----------
    n_windows_max, seed
        Most windows to hold, and what draws them where there are more.
    columns, test_share
        See `stream_detector.datasets.files.samples.load`.
    """

    n_windows_max: int
    seed: int
    columns: ColumnMap
    test_share: float | None


def load_streamed_samples(
    path: Path, rules: WindowRules, choice: Choice, mark: Mark, features: Features | None = None
) -> Dataset:
    """Cut the samples of a file into windows, hold some, and read the others when they are needed.

    Parameters
    ----------
    path
        A Parquet file, a pattern that several fit, or a folder of them.
    rules
        How windows are cut, each stride.
    choice
        What of it is wanted.
    mark
        Labels samples that are left out.
    features
        The features of a bundle, in whose order the windows have theirs; None keeps the order of
        the file.

    Returns
    -------
    The windows of all samples at once, in their order, or so many that were drawn; then its
    `stream` has the training windows that are not held too.

    Raises
    ------
    DatasetError
        As `stream_detector.datasets.files.samples.load`, and if each row has one value, if float32
        does not hold the values as they are, or if there is no window to train on.
    """
    names = _names_of(path, choice.columns) if features is None else features.names
    if len(names) != rules.n_features:
        message = (
            f"{path}: expected {rules.n_features} features a sample as the recipe's "
            f"window.features says, received {len(names)}: {', '.join(names)[:200]}; give other "
            f"data, or train with window.features = {len(names)}"
        )
        raise DatasetError(message)
    survey = _Survey(path, names)
    read = sample_parts(path, features, choice.columns, exact=True)
    parts = in_time_order(survey.follow(read, mark), samples_at_once(rules))
    train, test, keys = _cut(parts, rules, survey, choice.test_share)
    if not len(train):
        message = (
            f"{path}: expected at least one window of {rules.n_steps} samples "
            f"{rules.sample_interval_ms:g} ms apart to train on, received samples that make none "
            f"({train.n_missing} windows have too many missing values); give more data, or check "
            "the recipe's [window]"
        )
        raise DatasetError(message)
    return _dataset(path, (train, test), keys, survey, choice)


@dataclass(slots=True)
class _Survey:
    """What is to be known of all samples before the first window is cut.

    Parameters
    ----------
    path, names
        The file and its features, for messages.
    """

    path: Path
    names: tuple[str, ...]
    has_labels: bool = False
    is_labelled: bool = False
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    moments: dict[str, "_Moments"] = field(default_factory=dict)
    lost: Any = 0.0

    def follow(self, parts: Iterable[Samples], mark: Mark) -> Iterator[Samples]:
        """Yield samples marked and as float32, and keep what is to be known of them."""
        for part in parts:
            self.has_labels = part.labels is not None
            marked = mark(part)
            self.is_labelled = marked.labels is not None
            values = to_float32(part.values)
            self._add(part, values)
            yield replace(marked, values=values)
        self._require_float32()

    def limits(self, keys: tuple[str, ...], share: float | None) -> NDArray[np.float64]:
        """Return after which time the samples of each key are the test part, shape (n_keys,)."""
        if share is None:
            share = TEST_SHARE if self.has_labels else 0.0
        start, end = np.array([self.spans[key] for key in keys]).T
        limits: NDArray[np.float64] = end - share * (end - start)
        return limits if share else np.full(len(keys), np.inf)

    def _add(self, part: Samples, values: FloatArray) -> None:
        """Add the times of keys, and what rounding loses of their variation."""
        for number in np.unique(part.series).tolist():
            key, own = part.keys[number], part.series == number
            start, end = part.times_ms[own].min(), part.times_ms[own].max()
            known = self.spans.get(key, (start, end))
            self.spans[key] = min(start, known[0]), max(end, known[1])
            moments = self.moments.setdefault(key, _Moments(part.values.shape[1]))
            moments.add(part.values[own])
        self.lost = self.lost + np.nansum((part.values - values) ** 2, axis=0)

    def _require_float32(self) -> None:
        """Refuse features of which float32 loses too much."""
        around = sum(each.around for each in self.moments.values())
        for at in np.flatnonzero((self.lost > _LOSS_MAX**2 * around) & (around > 0)).tolist():
            message = (
                f"{self.path}: expected values that float32 holds as they are, where not all "
                f"windows are in memory, received feature {self.names[at]}, of which rounding "
                "loses more than a thousandth of the variation; subtract an offset before"
            )
            raise DatasetError(message)


class _Moments:
    """Number, sum and squares of the values of a key, less the first value of each feature."""

    def __init__(self, n_features: int) -> None:
        self._first = np.full(n_features, np.nan)
        self._count, self._total, self._squares = np.zeros((3, n_features))

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, shape (n_samples, n_features); NaN is missing."""
        is_there = ~np.isnan(values)
        first = values[is_there.argmax(axis=0), np.arange(values.shape[1])]  # (n_features,)
        self._first = np.where(np.isnan(self._first), first, self._first)
        centred = np.where(is_there, values - self._first, 0.0)
        self._count += is_there.sum(axis=0)
        self._total += centred.sum(axis=0)
        self._squares += (centred**2).sum(axis=0)

    @property
    def around(self) -> NDArray[np.float64]:
        """Return the sum of the squares round the mean of each feature, shape (n_features,)."""
        found: NDArray[np.float64] = self._squares - self._total**2 / np.maximum(self._count, 1)
        return found


def _names_of(path: Path, columns: ColumnMap) -> tuple[str, ...]:
    """Return the features of a file in which each row is a sample."""
    first = next(column_parts(path, blank_is_missing=True, columns=columns))
    if FEATURE_NAME in first.named:
        message = (
            f"{path}: expected a row for each sample, where not all windows are in memory, "
            "received one for each value; write a column for each feature, or leave out "
            "data.n_windows_in_memory"
        )
        raise DatasetError(message)
    return tuple(first.value_names)


def _cut(
    parts: Iterator[Samples], rules: WindowRules, survey: _Survey, share: float | None
) -> tuple[WindowFile, WindowFile, tuple[str, ...]]:
    """Return the windows of the training part and of the test part, and the keys of both."""
    wider = replace(rules, n_features=rules.n_features + 1)  # the label
    files = [WindowFile(rules), WindowFile(rules)]
    states = [WindowState.empty(wider), WindowState.empty(wider)]
    keys: tuple[str, ...] = ()
    numbers: dict[bytes, int] = {}
    limits = np.empty(0)
    for part in parts:
        if not keys:
            keys = part.keys
            numbers = {key.encode(): number for number, key in enumerate(keys)}
            limits = survey.limits(keys, share)
        is_test = part.times_ms > limits[part.series]  # (n_samples,)
        labels = np.zeros(len(part)) if part.labels is None else part.labels
        values = np.column_stack([part.values, labels]).astype(np.float32)
        for at, rows in enumerate((np.flatnonzero(~is_test), np.flatnonzero(is_test))):
            some = Samples(keys, part.series[rows], part.times_ms[rows], part.values[rows])
            for batch, _ in assign(some, wider, values[rows], states[at]):
                files[at].add(batch, numbers)
                states[at] = batch.state
    return files[0], files[1], keys


def _dataset(
    path: Path,
    files: tuple[WindowFile, WindowFile],
    keys: tuple[str, ...],
    survey: _Survey,
    choice: Choice,
) -> Dataset:
    """Return the windows, or as many as may be held."""
    n_train, n_windows = len(files[0]), sum(map(len, files))
    drawn = np.arange(n_windows)
    if n_windows > choice.n_windows_max:
        random = np.random.default_rng(choice.seed)
        drawn = np.sort(
            random.choice(n_windows, choice.n_windows_max, replace=False, shuffle=False)
        )
    rows = [drawn[drawn < n_train], drawn[drawn >= n_train] - n_train]
    held = [file.windows_of(each) for file, each in zip(files, rows, strict=True)]
    labels: list[Any] = [file.labels if survey.is_labelled else None for file in files]
    series, starts = [file.series for file in files], [file.start_ms for file in files]
    stream = None
    if len(drawn) < n_windows:
        is_normal = np.ones(n_train, np.bool_) if labels[0] is None else labels[0] == 0
        fingerprint = _fingerprint(files, labels)
        every = np.ones(n_train, np.bool_)
        stream = WindowStream(
            files[0], every, is_normal, rows[0], fingerprint, (), series[0], starts[0]
        )
    of_rows = [
        (None if each is None else each[at], tuple(keys[number] for number in of[at].tolist()))
        for each, of, at in zip(labels, series, rows, strict=True)
    ]
    return Dataset(
        name=path.name,
        split="",
        train=held[0],
        train_labels=of_rows[0][0],
        test=held[1],
        test_labels=of_rows[1][0],
        train_keys=of_rows[0][1],
        test_keys=of_rows[1][1],
        train_timestamps_ms=starts[0][rows[0]],
        test_timestamps_ms=starts[1][rows[1]],
        feature_names=survey.names,
        stream=stream,
    )


def _fingerprint(files: tuple[WindowFile, WindowFile], labels: list[Any]) -> str:
    """Return the `Dataset.fingerprint` of all windows."""
    digest = hashlib.sha256()
    for file, each in zip(files, labels, strict=True):
        digest.update(f"<f4{(len(file), *file.shape)};".encode())
        for number in range(len(file.starts)):
            for part in file.read(number):
                digest.update(part.windows.tobytes())
        if each is None:
            digest.update(b"none;")
        else:
            digest.update(f"{each.dtype.str}{each.shape};".encode() + each.tobytes())
    return digest.hexdigest()
