"""Find what must be taken from values before they are rounded to float32, so that they survive it.

Float32 has 24 bits: near 1.7e9 two neighbours are 128 apart, and a signal of 0.1 on top of that is
gone. With an origin close to the values, which is subtracted while they are float64, it is not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import to_float32
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import FloatArray
from stream_detector.errors import DatasetError

_LOSS_MAX = 2.0**-10
"""Largest error of rounding, as a share of the variation: ten bits of the signal are left."""

_STEPS_MIN = 16
"""A feature that varies by fewer steps of float32 was rounded before."""

_DEVIATIONS = 6
"""Between the extremes of a normal signal there are about so many standard deviations."""


def choose_origin(
    values: NDArray[np.float32] | NDArray[np.float64],
    groups: NDArray[np.intp],
    names: Sequence[str],
    where: str,
) -> tuple[float, ...]:
    """Return the origin of each feature.

    Parameters
    ----------
    values
        Shape (n_samples, n_features), n_samples >= 1, unit: the signal's; NaN is missing. Float32
        values have nothing to lose.
    groups
        The series or the window of each sample, numbered from 0, shape (n_samples,). What counts is
        how values vary within it: an offset between machines is no signal.
    names
        Names of the features.
    where
        Name of the data, for the message.

    Returns
    -------
    Zero for a feature that float32 holds well enough as it is. Empty if all are so.

    Raises
    ------
    DatasetError
        If the variation of a feature is lost even around its origin.

    Examples
    --------
    >>> values = 1.7e9 + np.array([[0.0], [0.5], [0.0], [0.25]])
    >>> choose_origin(values, np.zeros(4, np.intp), ["x"], "data")
    (1700000000.25,)
    >>> choose_origin(values - 1.7e9, np.zeros(4, np.intp), ["x"], "data")
    ()
    """
    if values.dtype == np.float32:
        return ()
    origin = []
    for name, column in zip(names, values.T, strict=True):
        is_there = np.isfinite(column)
        found = _origin_of(column[is_there].astype(np.float64), groups[is_there])
        if found is None:
            low, high = np.nanmin(column), np.nanmax(column)
            message = (
                f"{where}: the variation of feature {name} within a series or window "
                f"({_variation(column[is_there], groups[is_there]):.3g}) is smaller than what "
                f"float32 can hold of values from {low:.15g} to {high:.15g}; subtract an offset "
                "before sending, for each series its own, or train a bundle for each series"
            )
            raise DatasetError(message)
        origin.append(found)
    return tuple(origin) if any(origin) else ()


def features_of_few_steps(windows: FloatArray, names: Sequence[str]) -> list[str]:
    """Return the features that vary by so few steps of float32 that they were rounded before.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), n_windows >= 1, finite.
    names
        Names of the features.
    """
    low, high = windows.min(axis=(0, 1)), windows.max(axis=(0, 1))  # (n_features,)
    steps = np.spacing(np.maximum(np.abs(low), np.abs(high)))  # (n_features,)
    variation = high.astype(np.float64) - low  # (n_features,)
    is_rounded = (variation > 0) & (variation < _STEPS_MIN * steps)
    return [names[at] for at in np.flatnonzero(is_rounded).tolist()]


def features_of_few_steps_by_key(scales: KeyScales, names: Sequence[str]) -> list[str]:
    """Return the features of which float32 holds too few steps within the variation of some key.

    Parameters
    ----------
    scales
        Level and deviation of each key.
    names
        Names of the features.
    """
    steps = np.spacing(np.abs(scales.offset[:-1]))  # (n_keys, n_features)
    variation = _DEVIATIONS / scales.scale[:-1].astype(np.float64)  # (n_keys, n_features)
    is_rounded = (variation < _STEPS_MIN * steps).any(axis=0)  # (n_features,)
    return [names[at] for at in np.flatnonzero(is_rounded).tolist()]


def _origin_of(values: NDArray[np.float64], groups: NDArray[np.intp]) -> float | None:
    """Return the origin of one feature, None if there is none with which float32 holds it."""
    if not len(values):
        return 0.0
    variation = _variation(values, groups)
    for origin in (0.0, float(values.min() / 2 + values.max() / 2)):
        centred = values - origin
        lost = centred - to_float32(centred)  # (n_values,)
        if np.sqrt(np.mean(lost**2)) <= _LOSS_MAX * variation or not variation:
            return origin
    return None


def _variation(values: NDArray[np.float64], groups: NDArray[np.intp]) -> float:
    """Return the root mean square distance of values from the mean of their group."""
    counts = np.maximum(np.bincount(groups), 1)  # (n_groups,)
    middle = float(values.mean())
    means = np.bincount(groups, values - middle) / counts  # (n_groups,)
    return float(np.sqrt(np.mean((values - middle - means[groups]) ** 2)))
