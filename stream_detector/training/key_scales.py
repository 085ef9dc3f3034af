"""Fit the scale of each key to what is normal for it: its training samples, or windows round peaks.

A window each stride holds samples as they are, so their level and deviation are those of what the
network sees. A window round a peak holds a band of the signal, and the steps near the peak only:
there, the windows themselves are counted.
"""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.features import AS_IT_IS, Counting
from stream_detector.core.key_scales import KEY_SCALES_BYTES_MAX, KEY_SCALES_MAX, KeyScales
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.scoring.scaling import CONSTANT_SPREAD, SPREAD_MIN, level_and_spread
from stream_detector.datasets import Dataset
from stream_detector.datasets.files.window_file import WindowFile
from stream_detector.errors import DatasetError

N_SAMPLES_MIN = 20
"""Fewest normal samples, or windows round peaks, of a key from which a scale is fitted; one with
fewer has the fleet's."""

_LEVEL_MIN = float(np.finfo(np.float32).smallest_normal) / CONSTANT_SPREAD


def fit_key_scales(
    samples: Samples, values: FloatArray, where: str, countings: Sequence[Counting] = ()
) -> KeyScales:
    """Fit an offset and a factor for each key and feature.

    The offset is the median of the key's normal samples, and the factor 1 over their robust
    standard deviation (`stream_detector.core.scoring.scaling.robust_spread`). A feature that never
    moved or never came for one key has the deviation that is the median of the other keys, and the
    median of their offsets where it never came. One that moved for no key has `CONSTANT_SPREAD` of
    its level, or of 1 where that is 0: nothing is known of how far it may move. A logarithmic one
    has the offset 0 and its unit (`stream_detector.core.scoring.scaling.level_and_spread`).

    Parameters
    ----------
    samples
        Training samples; those with the label 1 are left out.
    values
        Their values, float32, shape (n_samples, n_features), without the origin; NaN is missing.
    where
        Name of the data, for messages.
    countings
        See `stream_detector.core.features.Features`.

    Raises
    ------
    DatasetError
        If no key has `N_SAMPLES_MIN` normal samples, more than `KEY_SCALES_MAX` have, their scales
        take more than `KEY_SCALES_BYTES_MAX`, or a key is longer than one of a record may be.

    Examples
    --------
    >>> values = np.concatenate([np.arange(21), 0.001 * np.arange(21)]).astype(np.float32)[:, None]
    >>> samples = Samples(("a", "b"), np.repeat([0, 1], 21), np.arange(42.0), values)
    >>> found = fit_key_scales(samples, values, "data")
    >>> found.keys, [round(1 / each, 4) for each in found.scale.ravel().tolist()]
    ((b'a', b'b'), [7.413, 0.0074, 3.7102])

    The last one is the fleet's.
    """
    parts = normal_by_key(samples.series, samples.labels, len(samples.keys))
    numbers = _with_enough(parts, where, "samples")
    found = np.array([_of_key(values[parts[number]], countings) for number in numbers])
    return _checked([samples.keys[number] for number in numbers], found, where)


def fit_window_scales(dataset: Dataset, where: str) -> KeyScales:
    """Fit an offset and a factor for each key and feature to the windows round its peaks.

    The offset is the median of the means of the key's normal windows, and the factor 1 over the
    median of their standard deviations. So the usual beat of every key has a deviation of 1, how
    ever much of it is flat, and half of the windows may be anomalous before that changes.
    A feature that never moved for one key is treated as in `fit_key_scales`.

    Parameters
    ----------
    dataset
        With keys of its training windows, in the signal's unit; those with the label 1 are left
        out.
    where
        Name of the data, for messages.

    Raises
    ------
    DatasetError
        As `fit_key_scales`, with windows in place of samples.

    Examples
    --------
    >>> beat = np.array([0, 0, 4, 0], np.float32)[None, :, None]
    >>> beats = np.concatenate([np.repeat(beat, 20, 0), np.repeat(beat / 8, 20, 0)])
    >>> keys = ("a",) * 20 + ("b",) * 20
    >>> found = fit_window_scales(Dataset("d", "", beats, None, beats[:0], None, keys), "data")
    >>> found.offset[:2, 0].tolist(), [round(1 / each, 4) for each in found.scale[:2, 0].tolist()]
    ([1.0, 0.125], [1.7321, 0.2165])
    """
    of_windows = dataset.train_keys or ()
    keys = tuple(dict.fromkeys(of_windows))
    numbers_of = {key: number for number, key in enumerate(keys)}
    series = np.array([numbers_of[key] for key in of_windows], dtype=np.intp)  # (n_windows,)
    parts = normal_by_key(series, dataset.train_labels, len(keys))
    return _of_moments(keys, parts, _moments(dataset.train), where)


def fit_file_scales(
    file: WindowFile, keys: Sequence[str], labels: NDArray[np.int8] | None, where: str
) -> KeyScales:
    """Do what `fit_window_scales` does with windows that are too many for memory.

    Parameters
    ----------
    file
        The windows.
    keys, labels
        Their keys by number, and the label of each, shape (n_windows,), None if they have none.
    where
        Name of the data, for messages.

    Raises
    ------
    DatasetError
        As there.
    """
    series = file.series.astype(np.intp)  # (n_windows,)
    numbers, firsts = np.unique(series, return_index=True)
    numbers = numbers[np.argsort(firsts)]  # (n_keys,), of those that have windows
    places = np.zeros(len(keys), np.intp)
    places[numbers] = np.arange(len(numbers))
    parts = normal_by_key(places[series], labels, len(numbers))
    groups = (part for number in range(len(file.starts)) for part in file.read(number))
    moments = np.concatenate([_moments(part.windows) for part in groups], axis=1)
    return _of_moments([keys[number] for number in numbers.tolist()], parts, moments, where)


def _moments(windows: FloatArray) -> NDArray[np.float64]:
    """Return means and deviations of windows, shape (2, n_windows, n_features)."""
    return np.stack([windows.mean(axis=1, dtype=np.float64), windows.std(axis=1, dtype=np.float64)])


def _of_moments(
    keys: Sequence[str], parts: Sequence[NDArray[np.intp]], moments: NDArray[np.float64], where: str
) -> KeyScales:
    """Return the scales of keys, given the rows of their normal windows, and `_moments` of all."""
    numbers = _with_enough(parts, where, "windows")
    medians = [np.median(moments[:, parts[at]], axis=1) for at in numbers]
    found = np.array(medians)  # (n_fitted, 2, n_features)
    found[:, 1] = np.where(found[:, 1] >= SPREAD_MIN, found[:, 1], 0.0)
    return _checked([keys[number] for number in numbers], found, where)


def normal_by_key(
    series: NDArray[np.intp], labels: NDArray[np.int8] | None, n_keys: int
) -> list[NDArray[np.intp]]:
    """Return the rows of each key that are not labelled anomalous.

    Parameters
    ----------
    series, labels
        Number of the key and label of each row, shape (n_rows,); labels None if there are none.
    n_keys
        How many keys there are.
    """
    normal = np.arange(len(series)) if labels is None else np.flatnonzero(labels == 0)
    order = normal[np.argsort(series[normal], kind="stable")]  # (n_normal,), key by key
    counts = np.bincount(series[normal], minlength=n_keys)  # (n_keys,)
    return np.split(order, np.cumsum(counts)[:-1])


def _with_enough(parts: Sequence[NDArray[np.intp]], where: str, what: str) -> list[int]:
    """Return the numbers of the keys from whose normal rows a scale can be fitted."""
    numbers = [number for number, rows in enumerate(parts) if len(rows) >= N_SAMPLES_MIN]
    if 1 <= len(numbers) <= KEY_SCALES_MAX:
        return numbers
    message = (
        f"{where}: scaling.per_key: expected 1 to {KEY_SCALES_MAX:,} keys with at least "
        f"{N_SAMPLES_MIN} normal {what}, received {len(numbers):,} of {len(parts):,}; "
        "check the column key, add data, or set scaling.per_key = false"
    )
    raise DatasetError(message)


def _checked(names: Sequence[str], found: NDArray[np.float64], where: str) -> KeyScales:
    """Return the scales of keys, given levels and deviations, shape (n_keys, 2, n_features)."""
    offset, spread = _filled(found[:, 0], found[:, 1])  # (n_keys, n_features)
    keys = [name.encode() for name in names]
    scales = KeyScales(keys, offset.astype(np.float32), (1.0 / spread).astype(np.float32))
    longest = max(map(len, keys))
    if longest <= KEY_BYTES_MAX and scales.n_bytes <= KEY_SCALES_BYTES_MAX:
        return scales
    message = (
        f"{where}: scaling.per_key: expected keys of at most {KEY_BYTES_MAX:,} bytes whose "
        f"scales take at most {KEY_SCALES_BYTES_MAX:,} bytes, received {len(keys):,} keys of "
        f"up to {longest:,} bytes and {offset.shape[1]:,} features, {scales.n_bytes:,} bytes; "
        "check the column key, train on fewer keys, or set scaling.per_key = false"
    )
    raise DatasetError(message)


def _of_key(values: FloatArray, countings: Sequence[Counting]) -> NDArray[np.float64]:
    """Return medians and deviations, shape (2, n_features), of a key's samples; NaN of no value."""
    found = []
    for column, counting in zip(values.T, countings or repeat(AS_IT_IS), strict=False):
        present = column[np.isfinite(column)].astype(np.float64)
        found.append(level_and_spread(present, counting) if len(present) else (np.nan, np.nan))
    return np.array(found).T


def _filled(
    offset: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offsets and deviations, shape (n_keys, n_features), with none NaN and none 0."""
    offset, spread = offset.copy(), spread.copy()
    for feature in range(offset.shape[1]):
        levels, moves = offset[:, feature], spread[:, feature]
        is_absent, has_moved = np.isnan(levels), moves > 0  # (n_keys,)
        levels[is_absent] = np.median(levels[~is_absent]) if not is_absent.all() else 0.0
        if has_moved.any():
            moves[~has_moved] = np.median(moves[has_moved])
        else:
            sizes = np.where(np.abs(levels) >= _LEVEL_MIN, np.abs(levels), 1.0)  # (n_keys,)
            moves[:] = CONSTANT_SPREAD * sizes
    return offset, spread
