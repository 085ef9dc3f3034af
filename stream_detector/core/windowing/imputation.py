"""Missing values of a window, filled in from the rest of the same window.

Pure. Nothing outside the window is used, so the result does not depend on where a stream was cut
into batches. One feature of a window, and what each rule makes of it::

    received       NaN    1    NaN    3    NaN
    hold             1    1      1    3      3
    interpolate      1    1      2    3      3
    reject         NaN    1    NaN    3    NaN    (and the window is not scored)
"""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.rules import MissingRule, WindowRules


def impute_windows(
    windows: FloatArray, rules: WindowRules
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Fill in the missing values of windows, unless too much of a window is missing.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), unit: the signal's; NaN is missing.
    rules
        How missing values are filled in, and how large a share of a window may be missing.

    Returns
    -------
    The windows, with NaN in those that cannot be scored; and each one's share of missing values,
    shape (n_windows,). A window over `missing_share_max` is NaN throughout. Where nothing is
    missing, the windows are the same array.
    """
    is_missing = np.isnan(windows)  # (n_windows, n_steps, n_features)
    if not is_missing.any():
        return windows, np.zeros(len(windows))
    shares: NDArray[np.float64] = is_missing.mean(axis=(1, 2))  # (n_windows,)
    filled = impute(windows, rules.missing)  # (n_windows, n_steps, n_features)
    is_over = shares > rules.missing_share_max  # (n_windows,)
    if is_over.any():
        filled = filled.copy()
        filled[is_over] = np.nan
    return filled, shares


def impute(windows: FloatArray, rule: MissingRule) -> FloatArray:
    """Fill in missing values, each feature on its own.

    A missing value is never taken as zero. Before the first and after the last value that a
    feature has in the window, that value is repeated.

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
    filled = windows.copy()  # (n_windows, n_steps, n_features)
    rows = np.flatnonzero(is_missing.any(axis=(1, 2)))  # (n_incomplete,)
    filled[rows] = _fill(windows[rows], is_missing[rows], rule)
    return filled


def _fill(windows: FloatArray, is_missing: NDArray[np.bool_], rule: MissingRule) -> FloatArray:
    """Return windows, each of which has missing values, with these filled in."""
    n_steps = windows.shape[1]
    steps = np.arange(n_steps)[np.newaxis, :, np.newaxis]  # (1, n_steps, 1)
    before = np.where(is_missing, -1, steps)  # (n_windows, n_steps, n_features)
    before = np.maximum.accumulate(before, axis=1)  # (n_windows, n_steps, n_features)
    after = np.where(is_missing, n_steps, steps)[:, ::-1]  # (n_windows, n_steps, n_features)
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]  # (n_windows, n_steps, n_features)
    # Both ends repeat the nearest value. A feature without any value finds a NaN at either side.
    left = np.where(before >= 0, before, np.minimum(after, n_steps - 1))  # same shape
    held: FloatArray = np.take_along_axis(windows, left, axis=1)  # same shape
    if rule == "hold":
        return held
    right = np.where(after < n_steps, after, left)  # same shape
    distance = np.maximum(right - left, 1)  # same shape
    start = held.astype(np.float64)  # same shape
    end = np.take_along_axis(windows, right, axis=1).astype(np.float64)  # same shape
    share = np.clip(steps - left, 0, None) / distance  # same shape
    line: FloatArray = (start + (end - start) * share).astype(np.float32)  # same shape
    return np.where(is_missing, line, windows)  # (n_windows, n_steps, n_features)
