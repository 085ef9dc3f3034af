"""The check of the input that all engines share."""

import numpy as np

from stream_detector.core.records import FloatArray


def check_windows(windows: FloatArray, n_steps: int, n_features: int) -> None:
    """Refuse anything but a float32, C-contiguous batch of windows of the network's shape.

    Nothing is converted silently, since another type or layout could give other bits.

    Raises
    ------
    ValueError
        If type, shape or layout differ: the caller's mistake, never bad data.

    Examples
    --------
    >>> check_windows(np.zeros((2, 3, 1), dtype=np.float32), n_steps=3, n_features=1)
    >>> check_windows(np.zeros((2, 3, 1)), n_steps=3, n_features=1)
    Traceback (most recent call last):
    ...
    ValueError: windows: expected float32 of shape (n_windows, 3, 1), received float64 (2, 3, 1)
    """
    if windows.dtype != np.float32 or windows.shape != (len(windows), n_steps, n_features):
        message = (
            f"windows: expected float32 of shape (n_windows, {n_steps}, {n_features}), "
            f"received {windows.dtype} {windows.shape}"
        )
        raise ValueError(message)
    if not windows.flags.c_contiguous:
        message = "windows: expected a C-contiguous array, received another layout"
        raise ValueError(message)
