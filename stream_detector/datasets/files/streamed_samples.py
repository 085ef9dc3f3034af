"""Load samples of Parquet that are too many for memory: some of their windows are held.

Rows may be in any order: they are brought into that of their times in a temporary file. The windows
are those of all samples at once, since the same code cuts them batch by batch.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.cutting import assign, samples_at_once, some_samples
from stream_detector.datasets.files.long_form import feature_names
from stream_detector.datasets.files.ordering import in_time_order
from stream_detector.datasets.files.reading import column_parts
from stream_detector.datasets.files.sample_survey import Mark, SampleSurvey, SomeSamples
from stream_detector.datasets.files.samples import sample_parts
from stream_detector.datasets.files.window_file import WindowFile
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import FEATURE_NAME, ColumnMap

FitScales = Callable[[Samples, tuple[str, ...]], KeyScales]
FitWindowScales = Callable[[WindowFile, tuple[str, ...], NDArray[np.int8] | None], KeyScales]


class Choice(NamedTuple):
    """What of a file is wanted.

    Parameters
    ----------
    n_windows_max, seed
        Most windows to hold, and what draws them where there are more.
    columns, test_share
        See `stream_detector.datasets.files.samples.load`.
    block_ms
        Length of the blocks of time of a key that are drawn where there are more; None draws single
        windows. How often windows are anomalous a day is seen from those that follow each other.
    mark
        Labels samples that are left out.
    fit_scales
        Fits the scale of each key to samples; None where all keys have the same.
    fit_window_scales
        Does so to windows round peaks, their keys by number and their labels.
    """

    n_windows_max: int
    seed: int
    columns: ColumnMap
    test_share: float | None
    block_ms: float | None
    mark: Mark
    fit_scales: FitScales | None
    fit_window_scales: FitWindowScales | None


def load_streamed_samples(
    path: Path, rules: WindowRules, choice: Choice, features: Features | None = None
) -> Dataset:
    """Cut the samples of a file into windows, hold some, and read the others when they are needed.

    Parameters
    ----------
    path
        A Parquet file, a pattern that several fit, or a folder of them.
    rules
        How windows are cut.
    choice
        What of it is wanted.
    features
        The features of a bundle, in whose order the windows have theirs, and to whose scales of
        keys they are brought; None keeps the order of the file, and fits these scales.

    Returns
    -------
    The windows of all samples at once, in their order, or so many that were drawn; then its
    `stream` has the training windows that are not held too.

    Raises
    ------
    DatasetError
        As `stream_detector.datasets.files.samples.load`, and if float32 does not hold the values as
        they are, or if there is no window to train on.
    """
    names = _names_of(path, choice.columns) if features is None else features.names
    if len(names) != rules.n_features:
        message = (
            f"{path}: expected {rules.n_features} features a sample as the recipe's "
            f"window.features says, received {len(names)}: {', '.join(names)[:200]}; give other "
            f"data, or train with window.features = {len(names)}"
        )
        raise DatasetError(message)
    survey, parts = _in_order(path, names, rules, choice, features)
    fit_scales = choice.fit_scales if features is None and rules.peaks is None else None
    some = None if fit_scales is None else SomeSamples(survey, choice.n_windows_max, rules.n_steps)
    train, test, keys = _cut(_divided(parts, survey, choice.test_share), rules, some)
    if not len(train):
        message = (
            f"{path}: expected at least one window{' round a peak' * (rules.peaks is not None)} of "
            f"{rules.n_steps} samples "
            f"{rules.sample_interval_ms:g} ms apart to train on, received samples that make none "
            f"({train.n_missing} windows have too many missing values); give more data, or check "
            "the recipe's [window]"
        )
        raise DatasetError(message)
    scales = None if features is None else features.key_scales
    if fit_scales is not None and some is not None:
        scales = fit_scales(some.joined(), names)
    elif features is None and choice.fit_window_scales is not None and rules.peaks is not None:
        scales = choice.fit_window_scales(train, keys, train.labels if survey.is_labelled else None)
    found = _Cut((train, test), keys, survey, scales)
    return _dataset(path.name, found, choice)


class _Cut(NamedTuple):
    """The windows of the training part and of the test part, with their keys by number."""

    files: tuple[WindowFile, WindowFile]
    keys: tuple[str, ...]
    survey: SampleSurvey
    scales: KeyScales | None


def _names_of(path: Path, columns: ColumnMap) -> tuple[str, ...]:
    """Return the features of a file; all rows are read where each has the value of one."""
    parts = column_parts(path, blank_is_missing=True, columns=columns)
    first = next(parts)
    if FEATURE_NAME in first.named:
        return feature_names(path, chain([first], parts))
    return tuple(first.value_names)


def _in_order(
    path: Path,
    names: Sequence[str],
    rules: WindowRules,
    choice: Choice,
    features: Features | None,
) -> tuple[SampleSurvey, Iterator[Samples]]:
    """Return samples in the order of their times, and what is to be known of all of them.

    Where float32 does not hold the values of a file as they are, it is read again with an origin.
    """
    origin = () if features is None else features.origin
    while True:
        survey = SampleSurvey(path, names, origin)
        read = sample_parts(path, features, choice.columns, exact=True)
        parts = in_time_order(survey.follow(read, choice.mark), samples_at_once(rules))
        first = [*islice(parts, 1)]  # all were read before
        better = survey.better_origin() if features is None else ()
        if better and not origin:
            origin = better
            continue
        if features is None:
            survey.require_float32()
        return survey, chain(first, parts)


def _divided(
    parts: Iterable[Samples], survey: SampleSurvey, share: float | None
) -> Iterator[tuple[Samples, Samples]]:
    """Yield samples to train on and samples to test on, of the same keys."""
    for part in parts:
        is_test = part.times_ms > survey.test_begins(part.keys, share)[part.series]  # (n_samples,)
        yield some_samples(part, ~is_test), some_samples(part, is_test)


def _cut(
    divided: Iterable[tuple[Samples, Samples]], rules: WindowRules, some: SomeSamples | None
) -> tuple[WindowFile, WindowFile, tuple[str, ...]]:
    """Return the windows of the training part and of the test part, and the keys of both."""
    wider = replace(rules, n_features=rules.n_features + 1)  # the label
    # A person says what a pause is, no data.
    files = [WindowFile(rules, has_pauses=False), WindowFile(rules)]
    states = [WindowState.empty(wider), WindowState.empty(wider)]
    keys: tuple[str, ...] = ()
    numbers: dict[bytes, int] = {}
    for both in divided:
        if not keys:
            keys = both[0].keys
            numbers = {key.encode(): number for number, key in enumerate(keys)}
        if some is not None:
            some.add(both[0])
        for at, part in enumerate(both):
            labels = np.zeros(len(part)) if part.labels is None else part.labels
            values = np.column_stack([part.values, labels]).astype(np.float32)
            for batch, _ in assign(part, wider, values, states[at]):
                files[at].add(batch, numbers)
                states[at] = batch.state
    return files[0], files[1], keys


def _dataset(name: str, found: _Cut, choice: Choice) -> Dataset:
    """Return the windows, or as many as may be held."""
    files, keys, survey, scales = found
    if scales is not None:
        for file in files:
            file.in_key_units(scales, keys)
    n_train, n_windows = len(files[0]), sum(map(len, files))
    drawn = np.arange(n_windows)
    if n_windows > choice.n_windows_max:
        drawn = _draw(files, choice)
    rows = [drawn[drawn < n_train], drawn[drawn >= n_train] - n_train]
    held = [file.windows_of(each) for file, each in zip(files, rows, strict=True)]
    labels: list[Any] = [file.labels if survey.is_labelled else None for file in files]
    series, starts = [file.series for file in files], [file.start_ms for file in files]
    intervals = [
        None if file.intervals is None else file.intervals.of(each)
        for file, each in zip(files, rows, strict=True)
    ]
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
        name=name,
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
        origin=survey.origin,
        key_scales=scales,
        train_intervals=intervals[0],
        test_intervals=intervals[1],
        stream=stream,
    )


def _draw(files: Sequence[WindowFile], choice: Choice) -> NDArray[np.intp]:
    """Draw windows, or blocks of them, and return their rows, ascending.

    Of the last block that is drawn, the first windows are taken, so that there are as many as may
    be held.

    Parameters
    ----------
    files
        The windows, which are numbered on from one file to the next; more than may be held.
    choice
        How long a block is, and how many windows may be held.
    """
    random, n_wanted = np.random.default_rng(choice.seed), choice.n_windows_max
    if choice.block_ms is None:
        n_windows = sum(map(len, files))
        return np.sort(random.choice(n_windows, n_wanted, replace=False, shuffle=False))
    series = np.concatenate([file.series for file in files])
    blocks = np.concatenate([file.start_ms for file in files]) // max(round(choice.block_ms), 1)
    blocks -= blocks.min()
    part = np.repeat(np.arange(len(files)), [*map(len, files)])  # (n_windows,)
    blocks += (part * (int(series.max()) + 1) + series) * (int(blocks.max()) + 1)
    distinct, numbers = np.unique(blocks, return_inverse=True)
    order = np.argsort(random.permutation(len(distinct))[numbers], kind="stable")  # (n_windows,)
    return np.sort(order[:n_wanted])


def _fingerprint(files: Sequence[WindowFile], labels: list[Any]) -> str:
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
