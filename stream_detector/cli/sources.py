"""Windows and samples from files and data sets that a person names on the command line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.cli.options import (
    SaidColumns,
)
from stream_detector.cli.terminal import say
from stream_detector.cli.unknown_keys import warn_of_unknown_keys
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets import (
    IMAGE_DATASET_NAMES,
    Dataset,
    load_dataset,
    load_images,
    load_samples,
)
from stream_detector.datasets.cutting import samples_at_once
from stream_detector.datasets.feature_order import in_order
from stream_detector.datasets.files.images import read_images
from stream_detector.datasets.files.ordering import in_time_order
from stream_detector.datasets.files.samples import sample_parts
from stream_detector.datasets.files.several import holds_tables
from stream_detector.datasets.files.windows import load as load_window_file
from stream_detector.datasets.files.windows import window_parts
from stream_detector.datasets.windowing import cut_in_parts, require_windows
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import Recipe
from stream_detector.recipes.columns import BY_NAME, ColumnMap
from stream_detector.recipes.datasets import DATASETS, built_in, is_table, name_of, names_with
from stream_detector.replay import concatenate

SAMPLE_INTERVALS_MS = {name: DATASETS[name].sample_interval_ms for name in built_in("samples")}
"""Data sets of samples, with the time between two samples in milliseconds."""


_SAMPLES_AT_ONCE = 65_536


class FileWindows(NamedTuple):
    """Windows of a file.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), in the units of their keys where each key
        has a scale of its own.
    keys, start_ms, end_ms
        Key, start and end of each window; "" where the file does not say.
    intervals
        How far the peaks are apart that the windows are cut round; None of others.
    """

    windows: FloatArray
    keys: Sequence[str]
    start_ms: Sequence[int | str]
    end_ms: Sequence[int | str]
    intervals: PeakIntervals | None = None

    @classmethod
    def joined(cls, parts: Sequence["FileWindows"]) -> "FileWindows":
        """Return the windows of several parts, one part after the other; at least one."""
        first = parts[0]
        if len(parts) == 1:
            return first
        intervals = [each.intervals for each in parts if each.intervals is not None]
        return cls(
            np.concatenate([each.windows for each in parts]),
            [*chain(*(each.keys for each in parts))],
            [*chain(*(each.start_ms for each in parts))],
            [*chain(*(each.end_ms for each in parts))],
            PeakIntervals.joined(intervals) if intervals else None,
        )


def read_file(file: Path, bundle: Bundle, said: SaidColumns | None = None) -> FileWindows:
    """Read the windows of a file.

    Parameters
    ----------
    file
        CSV or Parquet; for a bundle of images also an image or a folder of images.
    bundle
        Its recipe decides whether the rows of the file are windows or samples.
    said
        What options say about the columns; None says nothing.

    Raises
    ------
    DatasetError
        If the file cannot be used, or holds no window.
    """
    return FileWindows.joined(list(file_parts(file, bundle, said)))


def file_parts(
    file: Path, bundle: Bundle, said: SaidColumns | None = None
) -> Iterator[FileWindows]:
    """Yield the windows of a file some at a time, so that a large one need not be held.

    Of samples, all rows have been read before the first window is yielded.

    Parameters
    ----------
    file, bundle, said
        See `read_file`.

    Yields
    ------
    Together the windows of `read_file`, in its order.

    Raises
    ------
    DatasetError
        As there; of whole windows once the row is reached.
    """
    recipe = bundle.manifest.recipe
    columns = (said or SaidColumns()).over(recipe.data.columns.lenient)
    if recipe.window.record == "samples":
        yield from _cut_file(file, recipe, bundle.features, columns)
    elif bundle.image is not None and not is_table(file):
        yield _read_images(file, bundle.image)
    else:
        yield from _read_whole(file, recipe, bundle.features, columns)


def _read_images(path: Path, image: ImageShape) -> FileWindows:
    """Read an image or a folder of images; the file names are the keys."""
    images = read_images(path, image)
    nothing = [""] * len(images.names)
    return FileWindows(images.windows, images.names, nothing, nothing)


def _read_whole(
    file: Path, recipe: Recipe, features: Features, columns: ColumnMap
) -> Iterator[FileWindows]:
    """Yield the windows of a file in which each row is a whole one."""
    window = recipe.window
    span_ms = round((window.steps - 1) * window.sample_interval_ms)
    for table in window_parts(file, window.steps, window.features, features.origin, columns):
        nothing = [""] * len(table.windows)
        start_ms: Sequence[int | str] = nothing
        end_ms: Sequence[int | str] = nothing
        if table.timestamps_ms is not None:
            start_ms = table.timestamps_ms.tolist()
            end_ms = (table.timestamps_ms + span_ms).tolist()
        yield FileWindows(table.windows, table.keys or nothing, start_ms, end_ms)


def _cut_file(
    file: Path, recipe: Recipe, features: Features, columns: ColumnMap
) -> Iterator[FileWindows]:
    """Yield the windows that are cut from a file in which each row is a sample."""
    rules = recipe.rules
    parts = in_time_order(sample_parts(file, features, columns), samples_at_once(rules))
    first = next(parts)
    unscored: list[Samples] = []  # until there is a window, to say why there is none
    n_windows, n_missing, n_warm_up = 0, 0, 0
    for samples, found in cut_in_parts(chain([first], parts), rules, features):
        n_windows += len(found.windows)
        n_missing += found.n_missing
        n_warm_up += found.n_warm_up
        if not n_windows:
            unscored.append(samples)
            continue
        unscored.clear()
        windows = (found.features or features).to_key_units(found.windows, found.keys)
        times_ms = (found.start_ms.tolist(), found.end_ms.tolist())
        yield FileWindows(windows, found.keys, *times_ms, found.intervals)
    warn_of_unknown_keys(first.keys, features, n_warm_up)
    if not n_windows:
        found = replace(found, n_missing=n_missing, n_warm_up=n_warm_up)
        require_windows(found, str(file), concatenate(unscored), rules, features)
    if n_missing:
        say(f"{n_missing} windows lack too many values to be scored")


def load_named_dataset(
    name: str | None, split: str | None, bundle: Bundle, said: SaidColumns | None = None
) -> Dataset:
    """Load a data set of whole windows that a person named on the command line.

    Parameters
    ----------
    name
        A built-in data set, or the path of a CSV or Parquet file; None loads the recipe's own.
    split
        For ecg5000: tutorial or official.
    bundle
        Its recipe says what a window is.
    said
        What options say about the columns of a file; None says nothing.

    Raises
    ------
    ConfigError
        If the name is unknown.
    DatasetError
        If the data cannot be read, or has other features.
    """
    from stream_detector.training import load_windows

    recipe = bundle.manifest.recipe
    if name is None:
        changes = {"split": split} if split is not None else {}
        data = recipe.data.model_copy(update=changes)
        return load_windows(recipe.model_copy(update={"data": data}), bundle.features)
    if holds_tables(Path(name)):
        columns = (said or SaidColumns()).over(recipe.data.columns.lenient)
        windows = load_window_file(Path(name), recipe.window.features, exact=True, columns=columns)
        return windows.in_float32(bundle.features.origin)
    if name in built_in("image"):
        return load_images(name)
    if name not in built_in("window"):
        known = ", ".join((*built_in("window"), *built_in("image")))
        message = f"--dataset: expected {known} or a .csv or .parquet file, received {name!r}"
        raise ConfigError(message)
    return load_dataset(name, split=split)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Windows to send.

    Parameters
    ----------
    name
        Name to print.
    windows
        Float32, or float64 from a file, shape (n_windows, n_steps, n_features).
    keys
        Series key of each window.
    labels
        0 normal, 1 anomalous, shape (n_windows,); None where unknown.
    """

    name: str
    windows: NDArray[Any]
    keys: list[str]
    labels: NDArray[np.int8] | None

    @property
    def label_values(self) -> list[int] | None:
        """Return the labels in the form that `stream_detector.replay` takes."""
        return None if self.labels is None else self.labels.tolist()


def load_feeds(
    source: str,
    split: str | None,
    part: Literal["test", "all"],
    n_features: int = 1,
    columns: ColumnMap = BY_NAME,
) -> tuple[int, Iterator[Feed]]:
    """Return how many windows there are that a person named, and the windows some at a time.

    A file is read as a whole before, so that it is known to be usable, and is not held.

    Parameters
    ----------
    source
        A built-in data set of windows or images, or the path of a CSV or Parquet file.
    split
        For ecg5000: tutorial or official.
    part
        "test" for the test windows, "all" for the training windows and then the test windows. Of a
        file, all windows are sent.
    n_features
        Features of a file's windows.
    columns
        Which column of a file is what.

    Raises
    ------
    ConfigError
        If the source or split is unknown.
    DatasetError
        If the data cannot be read.
    """
    path = Path(source)
    if holds_tables(path):
        try:
            n_windows = sum(len(each.windows) for each in _file_feeds(path, n_features, columns))
        except DatasetError as error:
            message = f"{error}; or give --samples, where a row is a sample and not a whole window"
            raise DatasetError(message) from None
        return n_windows, _file_feeds(path, n_features, columns, is_again=True)
    feed = _load_feed(source, split, part)
    return len(feed.windows), iter([feed])


def _file_feeds(
    path: Path, n_features: int, columns: ColumnMap, *, is_again: bool = False
) -> Iterator[Feed]:
    """Yield the windows of a file some at a time."""
    n_before = 0
    for table in window_parts(path, None, n_features, columns=columns, is_again=is_again):
        keys = table.keys or number(name_of(path), table.windows, n_before)
        n_before += len(table.windows)
        yield Feed(str(path), table.exact, list(keys), table.labels)


def _load_feed(source: str, split: str | None, part: Literal["test", "all"]) -> Feed:
    """Load the windows of a data set; see `load_feeds`."""
    if source in IMAGE_DATASET_NAMES:
        if split is not None:
            takers = " or ".join(names_with("split"))
            message = f"--split: only for {takers}, received {split!r} with {source}; leave it out"
            raise ConfigError(message)
        return feed_of(load_images(source), part)
    known = (*built_in("window"), *IMAGE_DATASET_NAMES)
    if source not in known:
        names = ", ".join((*known, *(f"{name}:SERIES" for name in SAMPLE_INTERVALS_MS)))
        message = (
            f"data set: expected one of {names}, or a .csv or .parquet file, received {source!r}"
        )
        raise ConfigError(message)
    try:
        return feed_of(load_dataset(source, split=split), part)
    except ValueError as error:
        raise ConfigError(str(error)) from None


@dataclass(frozen=True, slots=True, eq=False)
class SampleFeed:
    """Samples to send.

    Parameters
    ----------
    name
        Name to print.
    samples
        Samples of one series or several; of a file, some at a time in the order of their times.
    sample_interval_ms
        Time between two samples of a series; None for a file, which does not say it.
    """

    name: str
    samples: Samples | Iterator[Samples]
    sample_interval_ms: float | None


def is_sample_set(source: str) -> bool:
    """Return whether a source is a data set of samples, such as mitdb:106."""
    return source.partition(":")[0] in SAMPLE_INTERVALS_MS


def load_sample_feed(
    source: str,
    part: Literal["test", "all"],
    features: Features | None = None,
    columns: ColumnMap = BY_NAME,
) -> SampleFeed:
    """Load samples that a person named on the command line.

    Parameters
    ----------
    source
        NAME:SERIES, with NAME one of `SAMPLE_INTERVALS_MS`, or the path of a CSV or Parquet file.
    part
        "test" for the test part, "all" for the training part and then the test part. Of a file,
        all samples are sent.
    features
        The features of the bundle that will read the records, which hold their values in its
        order; None keeps the order of the source.
    columns
        Which column of a file is what.

    Raises
    ------
    ConfigError
        If the source is neither, or the series is not named.
    DatasetError
        If the data cannot be read.
    """
    if not is_sample_set(source):
        path = Path(source)
        if not holds_tables(path):
            known = ", ".join(f"{name}:SERIES" for name in SAMPLE_INTERVALS_MS)
            message = (
                f"source of samples: expected {known}, or a .csv or .parquet file, "
                f"received {source!r}"
            )
            raise ConfigError(message)
        parts = in_time_order(sample_parts(path, features, columns, exact=True), _SAMPLES_AT_ONCE)
        first = next(parts)  # all of the file is read before
        return SampleFeed(source, chain([first], parts), None)
    name, _, series = source.partition(":")
    if not series:
        message = (
            f"data set {name}: expected one of its series, as in {name}:{DATASETS[name].example}, "
            "received none"
        )
        raise ConfigError(message)
    data = load_samples(name, series=series)
    if features is not None:
        data = in_order(data, features)
    samples = concatenate([data.train, data.test]) if part == "all" else data.test
    return SampleFeed(source, samples, SAMPLE_INTERVALS_MS[name])


def feed_of(data: Dataset, part: Literal["test", "all"]) -> Feed:
    """Return a data set's windows as a feed."""
    windows, labels = data.test, data.test_labels
    if part == "all":
        windows = np.concatenate([data.train, data.test])
        if data.train_labels is not None and data.test_labels is not None:
            labels = np.concatenate([data.train_labels, data.test_labels])
    name = f"{data.name} {data.split}".strip()
    return Feed(name, windows, number(data.name, windows), labels)


def number(name: str, windows: FloatArray, n_before: int = 0) -> list[str]:
    """Return a key for each window: the name and the window's number, after so many others."""
    return [f"{name}-{row:05d}" for row in range(n_before, n_before + len(windows))]
