"""Where normal ends: thresholds fitted to the errors of normal windows.

Pure: errors in, one number out. A window is anomalous iff its error exceeds
the threshold; equal is normal.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ThresholdMethod = Literal["sigma", "quantile", "log-mad"]

THRESHOLD_MIN = 1e-9
"""Floor. A constant signal reconstructed exactly has error 0 and would have threshold 0; with
the floor, error / threshold stays finite and the signal stays normal."""

_MAD_SCALE = 1.4826
"""Median absolute deviation to standard deviation, where the errors are normally distributed."""

_BLOCK_SPANS = 16
_HELD_OUT_BLOCKS_MIN = 2
"""A held-out block is so many windows long, or shorter where it takes that to have two of them."""


def fit_threshold(
    errors: NDArray[np.float64],
    method: ThresholdMethod,
    *,
    n_sigma: float | None = None,
    quantile: float | None = None,
    n_mad: float | None = None,
) -> float:
    """Fit a threshold to the reconstruction errors of normal windows.

    Parameters
    ----------
    errors
        Shape (n_windows,), n_windows >= 1, finite. Best from windows the network was not
        trained on.
    method
        "sigma": mean + `n_sigma` population standard deviations. "quantile": the smallest error
        that is at least as large as the share `quantile` of all errors. "log-mad": the
        exponential of median + `n_mad` x 1.4826 median absolute deviations of the errors'
        logarithms. Errors are never negative and a few are large; their logarithms lie more
        evenly around the middle, and a few odd windows among the normal ones move neither median.
    n_sigma
        For "sigma", >= 0.
    quantile
        For "quantile", in (0, 1).
    n_mad
        For "log-mad", >= 0. Errors below `THRESHOLD_MIN` count as that.

    Returns
    -------
    The threshold, unit of `errors`, at least `THRESHOLD_MIN`.

    Raises
    ------
    ValueError
        If there are no errors, one is not finite, or the method's parameter is missing: the
        caller's mistake.

    Notes
    -----
    Source: "mean + 1 standard deviation" as in TensorFlow, "Intro to Autoencoders", third
    example, section "Detect anomalies"; the quantile is NumPy's method "higher". 1.4826 is one
    over the normal distribution's quantile at 3/4, as commonly used.

    Examples
    --------
    >>> fit_threshold(np.array([1.0, 3.0]), "sigma", n_sigma=1.0)
    3.0
    >>> fit_threshold(np.array([1.0, 2.0, 3.0, 4.0]), "quantile", quantile=0.5)
    3.0
    >>> round(fit_threshold(np.array([1.0, 2.0, 4.0, 400.0]), "log-mad", n_mad=1.0), 3)
    7.904
    """
    if errors.size == 0 or not np.isfinite(errors).all():
        message = f"a threshold needs finite errors of at least one window, received {errors!r}"
        raise ValueError(message)
    if method == "sigma" and n_sigma is not None:
        fitted = float(errors.mean() + n_sigma * errors.std())
    elif method == "quantile" and quantile is not None:
        fitted = float(np.quantile(errors, quantile, method="higher"))
    elif method == "log-mad" and n_mad is not None:
        logs = np.log(np.maximum(errors, THRESHOLD_MIN))
        middle = np.median(logs)
        fitted = float(np.exp(middle + n_mad * _MAD_SCALE * np.median(np.abs(logs - middle))))
    else:
        message = (
            "threshold: expected method sigma with n_sigma, quantile with quantile or log-mad "
            f"with n_mad, received {method!r}, n_sigma={n_sigma}, quantile={quantile}, "
            f"n_mad={n_mad}"
        )
        raise ValueError(message)
    return max(fitted, THRESHOLD_MIN)


def hold_out_blocks(
    series: NDArray[np.intp],
    starts_ms: NDArray[np.float64],
    ends_ms: NDArray[np.float64],
    share: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Part overlapping windows by blocks of time, so that no sample is in both parts.

    Overlapping windows share samples. Held out one by one at random, nearly all of each held-out
    window would have been trained on as part of others, and a threshold fitted to them would be
    too low. Blocks spread over the whole time rather than its end, for a signal drifts.

    Parameters
    ----------
    series
        Which series each window is of, shape (n_windows,).
    starts_ms, ends_ms
        Times of first and last samples, shape (n_windows,).
    share
        Of the time to hold out, in (0, 1).

    Returns
    -------
    Two masks, shape (n_windows,): windows that lie outside the held-out blocks, and windows that
    lie in one of them. Those across a border are in neither. The second is empty where a series
    is too short for a block that holds a window.

    Examples
    --------
    >>> starts_ms = np.arange(0.0, 100.0)
    >>> rest, held_out = hold_out_blocks(np.zeros(100, int), starts_ms, starts_ms + 1, 0.2)
    >>> int(rest.sum()), int(held_out.sum())
    (78, 18)
    """
    rest = np.zeros(len(series), dtype=np.bool_)
    held_out = np.zeros(len(series), dtype=np.bool_)
    for one in np.unique(series):
        rows = np.flatnonzero(series == one)
        first_ms = starts_ms[rows].min()
        starts, ends = starts_ms[rows] - first_ms, ends_ms[rows] - first_ms
        longest = ends.max() * share / _HELD_OUT_BLOCKS_MIN
        block_ms = max(min(_BLOCK_SPANS * float((ends - starts).max()), longest), 1e-9)
        first, last = np.floor(starts / block_ms), np.floor(ends / block_ms)
        held_out[rows] = (first == last) & _is_held_out(first, share)
        rest[rows] = ~_is_held_out(first, share) & ~_is_held_out(last, share)
    return rest, held_out


def _is_held_out(blocks: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return which blocks, counted from 0, are held out: the share of them, spread evenly."""
    return np.floor((blocks + 1) * share + 0.5) > np.floor(blocks * share + 0.5)
