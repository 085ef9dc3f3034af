"""Bring windows to the range the network was trained on.

Pure: fitted once on training windows, stored in the bundle, applied to every
window offline and live by the same code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

SCALER_KINDS = ("none", "min-max", "standard", "pixels")

PIXEL_MAX = 255.0
"""The brightest value of a pixel of eight bits."""

_SPREAD_MIN = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, slots=True)
class Scaler:
    """One offset and one factor per feature.

    Parameters
    ----------
    kind
        One of `SCALER_KINDS`; says how the numbers came about.
    offset
        Taken away first, shape (n_features,), float32, unit: the signal's.
    scale
        Multiplied with then, shape (n_features,), float32, unit: 1 / the signal's.
    """

    kind: str
    offset: FloatArray
    scale: FloatArray

    def transform(self, windows: FloatArray) -> FloatArray:
        """Scale windows.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), or samples of shape
            (n_samples, n_features), unit: the signal's.

        Returns
        -------
        A new float32 array of the same shape, without unit. Empty stays empty, NaN stays NaN;
        a value too large for float32 becomes infinite.
        """
        shape = windows.shape
        # One offset a value instead of one a feature: the same numbers, in long loops.
        n_steps = shape[1] if windows.ndim == 3 else 1  # noqa: PLR2004
        rows = windows.reshape(shape[0], n_steps * shape[-1])
        scaled = rows - np.tile(self.offset, n_steps)  # (n_windows, n_steps * n_features)
        scaled *= np.tile(self.scale, n_steps)
        return scaled.reshape(shape)

    def inverse(self, scaled: FloatArray) -> NDArray[np.float64]:
        """Bring scaled values back to the signal's unit.

        Parameters
        ----------
        scaled
            Float32, shape (.., n_features), without unit.

        Returns
        -------
        A new float64 array of the same shape, unit: the signal's; equal to what was scaled up to
        the rounding of float32. Wide, so that no finite value becomes infinite. Empty stays
        empty, NaN stays NaN.

        Examples
        --------
        >>> Scaler("min-max", np.float32([2.0]), np.float32([0.25])).inverse(np.float32([[0.5]]))
        array([[4.]])
        """
        values: NDArray[np.float64] = np.divide(scaled, self.scale, dtype=np.float64)
        values += self.offset  # (.., n_features)
        return values


def fit_scaler(kind: str, windows: FloatArray) -> Scaler:
    """Fit a scaler to training windows.

    A feature that never changes keeps the factor 1: it carries no information, and dividing by
    its zero range would make every later change infinite. So does one that changes by less than
    the smallest normal float32, about 1.2e-38, for its factor would not be finite.

    Parameters
    ----------
    kind
        "none"; "min-max", to the range [0, 1]; "standard", to mean 0 and standard deviation 1;
        "pixels", from 0 to 255 to the range [0, 1], whatever the windows hold.
    windows
        Float32, shape (n_windows, n_steps, n_features), n_windows >= 1, finite.

    Raises
    ------
    ValueError
        If `kind` is unknown or there are no windows: the caller's mistake.

    Examples
    --------
    >>> scaler = fit_scaler("min-max", np.array([[[2.0], [6.0]]], dtype=np.float32))
    >>> scaler.transform(np.array([[[2.0], [4.0], [6.0]]], dtype=np.float32)).ravel()
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if kind not in SCALER_KINDS:
        message = f"scaling kind: expected one of {', '.join(SCALER_KINDS)}, received {kind!r}"
        raise ValueError(message)
    if len(windows) == 0:
        message = f"scaling needs windows to fit to, received shape {windows.shape}"
        raise ValueError(message)
    samples = windows.reshape(-1, windows.shape[-1]).astype(np.float64)  # (n_samples, n_features)
    n_features = samples.shape[1]
    offset, spread = np.zeros(n_features), np.ones(n_features)
    if kind == "min-max":
        offset = samples.min(axis=0)
        spread = samples.max(axis=0) - offset
    elif kind == "standard":
        offset = samples.mean(axis=0)
        spread = samples.std(axis=0)
    elif kind == "pixels":
        spread = np.full(n_features, PIXEL_MAX)
    scale = 1.0 / np.where(spread >= _SPREAD_MIN, spread, 1.0)  # (n_features,)
    return Scaler(kind, offset.astype(np.float32), scale.astype(np.float32))
