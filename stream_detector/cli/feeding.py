"""Finds the windows that `replay` and `demo` send, with a key and a label each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets import Dataset, load_dataset
from stream_detector.errors import ConfigError


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
        ecg5000, synthetic-ecg, or the path of a CSV or Parquet file.
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
        from stream_detector.datasets.tables import read_windows

        table = read_windows(path, n_features=n_features)
        keys = list(table.keys) if table.keys is not None else None
        return Feed(source, table.windows, keys or number(path.stem, table.windows), table.labels)
    try:
        data = load_dataset(source, split=split)
    except ValueError as error:
        message = f"{error}; or give a .csv or .parquet file"
        raise ConfigError(message) from None
    return feed_of(data, part)


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
