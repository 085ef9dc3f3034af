"""Fit the scale of each key to its normal training samples."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.key_scales import KEY_SCALES_BYTES_MAX, KEY_SCALES_MAX, KeyScales
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.scoring.scaling import robust_spread
from stream_detector.errors import DatasetError

N_SAMPLES_MIN = 20
"""Fewest normal samples of a key from which a scale is fitted; one with fewer has the fleet's."""

_LEVEL_MIN = float(np.finfo(np.float32).smallest_normal)


def fit_key_scales(samples: Samples, values: FloatArray, where: str) -> KeyScales:
    """Fit an offset and a factor for each key and feature.

    The offset is the median of the key's normal samples, and the factor 1 over their robust
    standard deviation (`stream_detector.core.scoring.scaling.robust_spread`). A feature that never
    moved or never came for one key has the deviation that is the median of the other keys, and the
    median of their offsets where it never came. One that moved for no key is counted in shares of
    its level, or as it is where that is 0: nothing is known of how far it may move.

    Parameters
    ----------
    samples
        Training samples; those with the label 1 are left out.
    values
        Their values, float32, shape (n_samples, n_features), without the origin; NaN is missing.
    where
        Name of the data, for messages.

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
    normal = np.arange(len(samples))
    if samples.labels is not None:
        normal = np.flatnonzero(samples.labels == 0)
    order = normal[np.argsort(samples.series[normal], kind="stable")]  # (n_normal,), key by key
    counts = np.bincount(samples.series[normal], minlength=len(samples.keys))  # (n_keys,)
    parts = np.split(order, np.cumsum(counts)[:-1])
    numbers = np.flatnonzero(counts >= N_SAMPLES_MIN)  # (n_fitted,)
    if not 1 <= len(numbers) <= KEY_SCALES_MAX:
        message = (
            f"{where}: scaling.per_key: expected 1 to {KEY_SCALES_MAX:,} keys with at least "
            f"{N_SAMPLES_MIN} normal samples, received {len(numbers):,} of {len(samples.keys):,}; "
            "check the column key, add data, or set scaling.per_key = false"
        )
        raise DatasetError(message)
    found = np.array([_of_key(values[parts[number]]) for number in numbers.tolist()])
    offset, spread = _filled(found[:, 0], found[:, 1])  # (n_fitted, n_features)
    keys = [samples.keys[number].encode() for number in numbers.tolist()]
    scales = KeyScales(keys, offset.astype(np.float32), (1.0 / spread).astype(np.float32))
    longest = max(map(len, keys))
    if longest > KEY_BYTES_MAX or scales.n_bytes > KEY_SCALES_BYTES_MAX:
        message = (
            f"{where}: scaling.per_key: expected keys of at most {KEY_BYTES_MAX:,} bytes whose "
            f"scales take at most {KEY_SCALES_BYTES_MAX:,} bytes, received {len(keys):,} keys of "
            f"up to {longest:,} bytes and {values.shape[1]:,} features, {scales.n_bytes:,} bytes; "
            "check the column key, train on fewer keys, or set scaling.per_key = false"
        )
        raise DatasetError(message)
    return scales


def _of_key(values: FloatArray) -> NDArray[np.float64]:
    """Return medians and deviations, shape (2, n_features), of a key's samples; NaN of no value."""
    found = []
    for column in values.T:
        present = column[np.isfinite(column)].astype(np.float64)
        found.append(robust_spread(present) if len(present) else (np.nan, np.nan))
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
            moves[:] = np.where(np.abs(levels) >= _LEVEL_MIN, np.abs(levels), 1.0)
    return offset, spread
