"""Missing values of a window, filled in from the rest of the same window.

Pure. Nothing outside the window is looked at, so the result does not depend on
where a stream was cut into batches.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

MissingRule = Literal["reject", "hold", "interpolate"]


def impute(windows: FloatArray, rule: MissingRule) -> FloatArray:
    """Fill in missing values, each feature on its own.

    A missing value is never taken as zero. Before the first and after the last value that is
    there, that value is held.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), unit: the signal's; NaN is missing.
    rule
        "hold" repeats the value before; "interpolate" draws a straight line between the values
        on both sides; "reject" fills in nothing.

    Returns
    -------
    The same array where nothing is missing, else a new one of the same shape. A feature without
    any value in a window stays NaN.

    Examples
    --------
    >>> window = np.array([[[np.nan], [1.0], [np.nan], [3.0]]], dtype=np.float32)
    >>> impute(window, "interpolate").ravel()
    array([1., 1., 2., 3.], dtype=float32)
    >>> impute(window, "hold").ravel()
    array([1., 1., 1., 3.], dtype=float32)
    """
    is_missing = np.isnan(windows)  # (n_windows, n_steps, n_features)
    if rule == "reject" or not is_missing.any():
        return windows
    filled = windows.copy()
    rows = np.flatnonzero(is_missing.any(axis=(1, 2)))
    filled[rows] = _fill(windows[rows], is_missing[rows], rule)
    return filled


def _fill(windows: FloatArray, is_missing: NDArray[np.bool_], rule: MissingRule) -> FloatArray:
    """Return windows of which each has something missing, filled in."""
    n_steps = windows.shape[1]
    steps = np.arange(n_steps)[np.newaxis, :, np.newaxis]
    before = np.maximum.accumulate(np.where(is_missing, -1, steps), axis=1)
    after = np.where(is_missing, n_steps, steps)[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]  # (n_windows, n_steps, n_features)
    # Held at both ends; a feature with no value at all points at a NaN either way.
    left = np.where(before >= 0, before, np.minimum(after, n_steps - 1))
    held: FloatArray = np.take_along_axis(windows, left, axis=1)
    if rule == "hold":
        return held
    right = np.where(after < n_steps, after, left)
    distance = np.maximum(right - left, 1)
    start = held.astype(np.float64)
    end = np.take_along_axis(windows, right, axis=1).astype(np.float64)
    share = np.clip(steps - left, 0, None) / distance
    line: FloatArray = (start + (end - start) * share).astype(np.float32)
    return np.where(is_missing, line, windows)
