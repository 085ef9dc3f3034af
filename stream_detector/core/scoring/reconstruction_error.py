"""Reconstruction error: how far a reconstruction is from its window.

Pure: arrays in, arrays out. The error of a window is reduced along its own
contiguous values, so it is the same bit for bit whatever else is in the batch.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

ErrorKind = Literal["mae", "mse", "bce"]

_BCE_EPSILON = np.float32(1e-7)
"""Keeps the logarithm finite; the value Keras uses (keras.config.epsilon)."""


def window_errors(
    windows: FloatArray, reconstructions: FloatArray, kind: ErrorKind
) -> NDArray[np.float64]:
    """Return the reconstruction error of each window.

    Higher means more anomalous. Averaged over steps and features, so the value does not grow
    with the length of the window.

    Parameters
    ----------
    windows
        Scaled input, float32, shape (n_windows, n_steps, n_features).
    reconstructions
        The network's output for `windows`, same shape and unit.
    kind
        "mae", mean absolute error; "mse", mean squared error; "bce", binary cross-entropy
        (natural logarithm), for values in [0, 1].

    Returns
    -------
    Errors, shape (n_windows,), float64, range [0, inf); computed in float32, widened so that
    they compare with a threshold and print exactly. Empty input gives an empty array; NaN or
    infinity in gives a non-finite error out.

    Raises
    ------
    ValueError
        If the two shapes differ or `kind` is unknown: the caller's mistake, never bad data.

    Examples
    --------
    >>> x = np.zeros((2, 3, 1), dtype=np.float32)
    >>> window_errors(x, x + np.float32([0.0, 2.0]).reshape(2, 1, 1), "mse")
    array([0., 4.])
    """
    return mean_errors(value_errors(windows, reconstructions, kind))


def errors_by_feature(errors: FloatArray) -> NDArray[np.float64]:
    """Return the mean of the errors of each feature of each window, at least 0.

    Parameters
    ----------
    errors
        From `value_errors`, shape (n_windows, n_steps, n_features).

    Returns
    -------
    Shape (n_windows, n_features), float64; no bit of a window's depends on the others.
    """
    columns = np.ascontiguousarray(errors.transpose(0, 2, 1))  # (n_windows, n_features, n_steps)
    means: NDArray[np.float64] = np.maximum(columns, 0).mean(axis=2, dtype=np.float64)
    return means


def mean_errors(errors: FloatArray) -> NDArray[np.float64]:
    """Return the mean of the errors of each window, float64, shape (n_windows,).

    Parameters
    ----------
    errors
        From `value_errors`, C-contiguous, shape (n_windows, n_steps, n_features).
    """
    n_windows = len(errors)
    n_values = errors[0].size if n_windows else 1
    flat = errors.reshape(n_windows, n_values)  # (n_windows, n_steps * n_features)
    means: NDArray[np.float64] = flat.mean(axis=1).astype(np.float64)
    return means


def step_errors(
    windows: FloatArray, reconstructions: FloatArray, kind: ErrorKind
) -> NDArray[np.float64]:
    """Return the reconstruction error of each step of each window.

    Parameters
    ----------
    windows, reconstructions
        Float32, shape (n_windows, n_steps, n_features), unit: that of the scaled signal.
    kind
        See `window_errors`.

    Returns
    -------
    Errors averaged over features only, shape (n_windows, n_steps), float64.

    Raises
    ------
    ValueError
        If the two shapes differ or `kind` is unknown: the caller's mistake.

    Examples
    --------
    >>> x = np.zeros((1, 3, 1), dtype=np.float32)
    >>> step_errors(x, np.float32([[[0.0], [1.0], [-2.0]]]), "mae")
    array([[0., 1., 2.]])
    """
    errors = value_errors(windows, reconstructions, kind)  # (n_windows, n_steps, n_features)
    means: NDArray[np.float64] = errors.mean(axis=2).astype(np.float64)
    return means


def feature_errors(
    windows: FloatArray, reconstructions: FloatArray, kind: ErrorKind
) -> NDArray[np.float64]:
    """Return the reconstruction error of each feature of each window.

    Parameters
    ----------
    windows, reconstructions
        Float32, shape (n_windows, n_steps, n_features), unit: that of the scaled signal.
    kind
        See `window_errors`.

    Returns
    -------
    Errors averaged over steps only, shape (n_windows, n_features), float64, range [0, inf): an
    error below zero, which "bce" has for values outside [0, 1], counts as 0.

    Raises
    ------
    ValueError
        If the two shapes differ or `kind` is unknown: the caller's mistake.

    Examples
    --------
    >>> x = np.zeros((1, 2, 2), dtype=np.float32)
    >>> feature_errors(x, np.float32([[[0.0, 4.0], [1.0, -2.0]]]), "mae")
    array([[0.5, 3. ]])
    """
    errors = value_errors(windows, reconstructions, kind)  # (n_windows, n_steps, n_features)
    means: NDArray[np.float64] = np.maximum(errors, 0, out=errors).mean(axis=1, dtype=np.float64)
    return means


def value_errors(windows: FloatArray, reconstructions: FloatArray, kind: ErrorKind) -> FloatArray:
    """Return the reconstruction error of every single value.

    Parameters
    ----------
    windows, reconstructions
        Float32, any number of dimensions, the same shape, unit: that of the scaled signal.
    kind
        See `window_errors`.

    Returns
    -------
    A new float32 array of the same shape. With "bce" an error can be below zero where a scaled
    value is outside [0, 1].

    Raises
    ------
    ValueError
        If the two shapes differ or `kind` is unknown: the caller's mistake.

    Examples
    --------
    >>> value_errors(np.float32([0.0, 1.0]), np.float32([3.0, 1.0]), "mse")
    array([9., 0.], dtype=float32)
    """
    if windows.shape != reconstructions.shape:
        message = f"windows {windows.shape} and reconstructions {reconstructions.shape} differ"
        raise ValueError(message)
    errors: FloatArray
    if kind == "mae":
        errors = windows - reconstructions
        np.abs(errors, out=errors)
    elif kind == "mse":
        errors = windows - reconstructions
        np.square(errors, out=errors)
    elif kind == "bce":
        clipped = np.clip(reconstructions, _BCE_EPSILON, 1 - _BCE_EPSILON)
        errors = -(windows * np.log(clipped) + (1 - windows) * np.log1p(-clipped))
    else:
        message = f"error kind: expected mae, mse or bce, received {kind!r}"
        raise ValueError(message)
    return errors
