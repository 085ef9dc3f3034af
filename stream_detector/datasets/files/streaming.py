"""Load windows of Parquet that are too many for memory: some are drawn, the others stay there."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.base import Dataset
from stream_detector.datasets.files.row_groups import WindowSource
from stream_detector.datasets.files.windows import TEST_SHARE, last_of_keys, load
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.recipes.columns import BY_NAME, ColumnMap


def load_streamed(
    path: Path,
    n_features: int,
    n_windows_max: int,
    seed: int,
    *,
    columns: ColumnMap = BY_NAME,
    test_share: float | None = None,
) -> Dataset:
    """Load a data set that holds some windows, and reads the others when they are needed.

    Parameters
    ----------
    path
        A Parquet file, a pattern that several fit, or a folder of them.
    n_features
        Values at each step.
    n_windows_max
        Most windows to hold. Where the file has no more, the data set is that of
        `stream_detector.datasets.files.windows.load`.
    seed
        Draws the windows that are held. Of the training part and of the test part there are about
        as many as their shares of the file.
    columns, test_share
        As there.

    Returns
    -------
    The data set, with values in float64. Its `stream` has the training windows that are not held
    too.

    Raises
    ------
    DatasetError
        As there; all windows are read once.
    """
    source = WindowSource(path, n_features, columns)
    n_windows = len(source)
    if n_windows <= n_windows_max:
        return load(path, n_features, exact=True, columns=columns, test_share=test_share)
    random = np.random.default_rng(seed)
    drawn = np.sort(random.choice(n_windows, n_windows_max, replace=False, shuffle=False))
    found = _survey(source, drawn)
    labels, times, keys = found.labels, found.timestamps_ms, found.keys
    share = (0.0 if labels is None else TEST_SHARE) if test_share is None else test_share
    is_test = np.zeros(n_windows, dtype=np.bool_)  # (n_windows,)
    if share:
        is_test = last_of_keys(found.key_numbers, times, n_windows, share)
    train, test = (drawn[is_test[drawn] == each] for each in (False, True))
    is_normal = np.ones(n_windows, dtype=np.bool_) if labels is None else labels == 0
    stream = WindowStream(source, ~is_test, ~is_test & is_normal, train, found.fingerprint)

    held: Any = found.windows  # float64, as `exact` of `load` gives them

    def keys_of(rows: NDArray[np.intp]) -> tuple[str, ...] | None:
        numbers = found.key_numbers
        return None if numbers is None else tuple(keys[at] for at in numbers[rows].tolist())

    return Dataset(
        name=path.name,
        split="",
        train=held[np.isin(drawn, train)],
        train_labels=None if labels is None else labels[train],
        test=held[np.isin(drawn, test)],
        test_labels=None if labels is None else labels[test],
        train_keys=keys_of(train),
        test_keys=keys_of(test),
        train_timestamps_ms=None if times is None else times[train],
        test_timestamps_ms=None if times is None else times[test],
        stream=stream,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    """What one pass over all windows gives: 13 bytes of each where it has key, time and label.

    Parameters
    ----------
    windows
        Those that were asked for, float64, shape (n_drawn, n_steps, n_features).
    keys, key_numbers
        Each key once, and the number of that of each window; None where windows have none.
    timestamps_ms, labels
        Of each window; None where windows have none.
    fingerprint
        Sha256 of all windows and labels, whatever the parts in which they were read.
    """

    windows: NDArray[np.float64]
    keys: list[str]
    key_numbers: NDArray[np.int32] | None
    timestamps_ms: NDArray[np.int64] | None
    labels: NDArray[np.int8] | None
    fingerprint: str


def _survey(source: WindowSource, drawn: NDArray[np.intp]) -> _Survey:
    """Read all windows once, and keep those that were drawn."""
    windows: list[NDArray[np.float64]] = []
    numbers: dict[str, int] = {}
    key_numbers: list[NDArray[np.int32]] = []
    times: list[NDArray[np.int64]] = []
    labels: list[NDArray[np.int8]] = []
    of_windows, of_labels = hashlib.sha256(), hashlib.sha256()
    start = 0
    for group in range(len(source.groups)):
        for part in source.read(group):
            n_windows = len(part.exact)
            first, last = np.searchsorted(drawn, [start, start + n_windows])
            windows.append(part.exact[drawn[first:last] - start])
            of_windows.update(part.exact.tobytes())
            start += n_windows
            if part.keys is not None:
                found = [numbers.setdefault(key, len(numbers)) for key in part.keys]
                key_numbers.append(np.array(found, dtype=np.int32))
            if part.timestamps_ms is not None:
                times.append(part.timestamps_ms)
            if part.labels is not None:
                labels.append(part.labels)
                of_labels.update(part.labels.tobytes())
    both = of_windows.digest() + of_labels.digest()
    return _Survey(
        windows=np.concatenate(windows),
        keys=list(numbers),
        key_numbers=np.concatenate(key_numbers) if key_numbers else None,
        timestamps_ms=np.concatenate(times) if times else None,
        labels=np.concatenate(labels) if labels else None,
        fingerprint=hashlib.sha256(both).hexdigest(),
    )
