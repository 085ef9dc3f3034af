"""Draw a smaller test part: a number of windows of each class, or a share of anomalous windows.

The draw depends on the seed alone.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.datasets.base import Dataset
from stream_detector.errors import DatasetError


def draw_each(dataset: Dataset, n_each: int, seed: int) -> Dataset:
    """Return a data set with equally many normal and anomalous test windows.

    Parameters
    ----------
    dataset
        With a labelled test part.
    n_each
        Number of test windows of each of the two classes.
    seed
        Seed of the draw.

    Raises
    ------
    DatasetError
        If the test part has no labels, or too few windows of a class.
    """
    random = np.random.default_rng(seed)
    normal, anomalous = _classes(dataset)
    for what, rows in (("normal", normal), ("anomalous", anomalous)):
        if len(rows) < n_each:
            message = (
                f"data {dataset.name}: expected {n_each} {what} test windows (data.test_each), "
                f"received {len(rows)}; ask for fewer"
            )
            raise DatasetError(message)
    drawn = [random.choice(rows, n_each, replace=False) for rows in (normal, anomalous)]
    return _keep(dataset, np.concatenate(drawn))


def draw_share(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return a data set with a given share of anomalous test windows, for a test like a stream.

    All normal windows stay; anomalous windows are dropped until they are that share.

    Parameters
    ----------
    dataset
        With a labelled test part.
    share
        Share of anomalous windows among all test windows, in (0, 1).
    seed
        Seed of the draw.

    Raises
    ------
    DatasetError
        If the test part has no labels, or too few anomalous windows for the share.
    """
    normal, anomalous = _classes(dataset)
    n_wanted = round(share * len(normal) / (1 - share))
    if not 0 < n_wanted <= len(anomalous):
        message = (
            f"data {dataset.name}: a share of {share:g} anomalous (data.anomalous_share) needs "
            f"{n_wanted} anomalous windows beside {len(normal)} normal ones, received "
            f"{len(anomalous)}; set another share"
        )
        raise DatasetError(message)
    drawn = np.random.default_rng(seed).choice(anomalous, n_wanted, replace=False)
    return _keep(dataset, np.concatenate([normal, drawn]))


def _classes(dataset: Dataset) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of normal and of anomalous test windows."""
    labels = dataset.test_labels
    if labels is None:
        message = f"data {dataset.name}: expected a labelled test part to draw from, received none"
        raise DatasetError(message)
    return np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)


def _keep(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """Return a data set with the given test windows only, in their original order."""
    rows = np.sort(rows)
    keys, times, labels = dataset.test_keys, dataset.test_timestamps_ms, dataset.test_labels
    return replace(
        dataset,
        test=dataset.test[rows],
        test_labels=None if labels is None else labels[rows],
        test_keys=None if keys is None else tuple(keys[row] for row in rows.tolist()),
        test_timestamps_ms=None if times is None else times[rows],
    )
