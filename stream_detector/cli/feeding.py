"""Finds the windows and samples that `replay` and `demo` send, with their keys and labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.series_samples import Samples
from stream_detector.datasets import IMAGE_DATASET_NAMES, Dataset, load_dataset, load_images
from stream_detector.errors import ConfigError

SAMPLE_INTERVALS_MS = {"mitdb": 1_000 / 360, "smd": 60_000.0, "nab": 300_000.0}
"""Data sets of samples, with the time from one sample to the next."""

_SERIES_EXAMPLES = {
    "mitdb": "106",
    "smd": "1-6",
    "nab": "realKnownCause/machine_temperature_system_failure",
}


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Windows to send.

    Parameters
    ----------
    name
        What they are, for people.
    windows
        Float32, shape (n_windows, n_steps, n_features).
    keys
        Series key of each window.
    labels
        0 normal, 1 anomalous, shape (n_windows,); None where unknown.
    """

    name: str
    windows: FloatArray
    keys: list[str]
    labels: NDArray[np.int8] | None

    @property
    def label_values(self) -> list[int] | None:
        """Return the labels as `replay` takes them."""
        return None if self.labels is None else self.labels.tolist()


def load_feed(
    source: str, split: str | None, part: Literal["test", "all"], n_features: int = 1
) -> Feed:
    """Load what a person named on the command line.

    Parameters
    ----------
    source
        ecg5000, synthetic-ecg, mnist, fashion-mnist, or the path of a CSV or Parquet file.
    split
        For ecg5000, tutorial or official.
    part
        "test" for the test windows, "all" for the training windows and then those. A file is
        sent whole.
    n_features
        Values at each step of a file's windows.

    Raises
    ------
    ConfigError
        If the source or split is unknown.
    DatasetError
        If the data cannot be read.
    """
    path = Path(source)
    if path.suffix.lower() in (".csv", ".parquet"):
        from stream_detector.datasets.files.windows import read_windows

        table = read_windows(path, n_features=n_features)
        keys = list(table.keys) if table.keys is not None else None
        return Feed(source, table.windows, keys or number(path.stem, table.windows), table.labels)
    if source in IMAGE_DATASET_NAMES:
        if split is not None:
            message = f"--split: only for ecg5000, received {split!r} with {source}; leave it out"
            raise ConfigError(message)
        return feed_of(load_images(source), part)
    try:
        data = load_dataset(source, split=split)
    except ValueError as error:
        names = ", ".join(f"{name}:SERIES" for name in SAMPLE_INTERVALS_MS)
        message = f"{error}; or give {names}, or a .csv or .parquet file"
        raise ConfigError(message) from None
    return feed_of(data, part)


@dataclass(frozen=True, slots=True, eq=False)
class SampleFeed:
    """Samples to send.

    Parameters
    ----------
    name
        What they are, for people.
    samples
        One series or more.
    sample_interval_ms
        From one sample of a series to the next; None for a file, which does not say it.
    """

    name: str
    samples: Samples
    sample_interval_ms: float | None


def is_sample_set(source: str) -> bool:
    """Return whether a person named a data set of samples, such as mitdb:106."""
    return source.partition(":")[0] in SAMPLE_INTERVALS_MS


def load_sample_feed(source: str, part: Literal["test", "all"]) -> SampleFeed:
    """Load the samples a person named on the command line.

    Parameters
    ----------
    source
        NAME:SERIES, with NAME one of `SAMPLE_INTERVALS_MS`, or the path of a CSV or Parquet file.
    part
        "test" for the test part, "all" for the training part and then that. A file is sent
        whole.

    Raises
    ------
    ConfigError
        If the source is neither, or the series is not named.
    DatasetError
        If the data cannot be read.
    """
    if not is_sample_set(source):
        path = Path(source)
        if path.suffix.lower() not in (".csv", ".parquet"):
            known = ", ".join(f"{name}:SERIES" for name in SAMPLE_INTERVALS_MS)
            message = (
                f"source of samples: expected {known}, or a .csv or .parquet file, "
                f"received {source!r}"
            )
            raise ConfigError(message)
        from stream_detector.datasets.files.samples import read_samples

        return SampleFeed(source, read_samples(path).samples, None)
    name, _, series = source.partition(":")
    if not series:
        message = (
            f"data set {name}: expected one of its series, as in {name}:{_SERIES_EXAMPLES[name]}, "
            "received none"
        )
        raise ConfigError(message)
    from stream_detector.datasets import load_samples
    from stream_detector.replay import concatenate

    data = load_samples(name, series=series)
    samples = concatenate([data.train, data.test]) if part == "all" else data.test
    return SampleFeed(source, samples, SAMPLE_INTERVALS_MS[name])


def feed_of(data: Dataset, part: Literal["test", "all"]) -> Feed:
    """Return a data set's windows as something to send."""
    windows, labels = data.test, data.test_labels
    if part == "all":
        windows = np.concatenate([data.train, data.test])
        if data.train_labels is not None and data.test_labels is not None:
            labels = np.concatenate([data.train_labels, data.test_labels])
    name = f"{data.name} {data.split}".strip()
    return Feed(name, windows, number(data.name, windows), labels)


def number(name: str, windows: FloatArray) -> list[str]:
    """Return a key for each window: the name and its number, from 0."""
    return [f"{name}-{row:05d}" for row in range(len(windows))]
