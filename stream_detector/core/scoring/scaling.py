"""Bring windows to the range the network was trained on.

Pure: fitted once on training windows, stored in the bundle, applied to every
window offline and live by the same code.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import AS_IT_IS, Counting
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.logarithmic import UNIT_SHARE, Logarithmic, usual_level
from stream_detector.core.scoring.relative import Relative

SCALER_KINDS = ("none", "min-max", "standard", "pixels", "robust")

PIXEL_MAX = 255.0
"""The brightest value of a pixel of eight bits."""

BEND = 10.0
"""Robust deviations up to which `robust` is about linear: 10 has become 8.8, and 1,000 is 53."""

CONSTANT_MAX = 10.0
"""Most robust deviations of a feature that never moved in training. How far it may move is not
known, so it must not hide what the other features say."""

CONSTANT_SPREAD = 0.01
"""Deviation that is taken for such a feature where deviations are robust or of each key: a share of
its magnitude, or of 1 where it is 0."""

_MAD_TO_SD = 1.4826
"""Standard deviation of normally distributed values over their median absolute deviation
(Rousseeuw and Croux 1993, Alternatives to the Median Absolute Deviation, section 1)."""

_ROBUST_MAX = 1_000.0
"""No float32 is scaled further than 871 by `robust`; the inverse of more would overflow."""

SPREAD_MIN = float(np.finfo(np.float32).smallest_normal)
"""A smaller deviation is none: float32 could not divide by it."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """One offset and one factor per feature; where the kind is robust, large values are bent too.

    Parameters
    ----------
    kind
        One of `SCALER_KINDS`; says how the numbers came about.
    offset
        Taken away first, shape (n_features,), float32, unit: the signal's.
    scale
        Multiplied with then, shape (n_features,), float32, unit: 1 / the signal's.
    is_constant
        Which features never moved in training, shape (n_features,); these are limited to
        `CONSTANT_MAX`. For "standard" and "robust" only, else None.
    relative
        Which features count from the mean of their own window; None where none does.
    logarithmic
        Which others count by their logarithm, whose offset and factor they have; None where none
        does.
    """

    kind: str
    offset: FloatArray
    scale: FloatArray
    is_constant: NDArray[np.bool_] | None = None
    relative: Relative | None = None
    logarithmic: Logarithmic | None = None

    def transform(self, windows: FloatArray) -> FloatArray:
        """Scale windows.

        The kind "robust" gives 10 asinh(z / 10) of the deviations z that `linear` gives.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), unit: the signal's.

        Returns
        -------
        A new float32 array of the same shape, without unit. Empty stays empty, NaN stays NaN;
        a value too large for float32 becomes infinite.

        Examples
        --------
        >>> scaler = Scaler("robust", np.float32([2.0]), np.float32([1.0]))
        >>> scaler.transform(np.float32([[[2.0], [12.0], [1002.0]]])).round(2).ravel()
        array([ 0.  ,  8.81, 52.98], dtype=float32)
        """
        scaled = self.linear(windows if self.relative is None else self.relative.counted(windows))
        if self.is_constant is not None and self.is_constant.any():
            limited = scaled[..., self.is_constant]  # (.., n_constant)
            scaled[..., self.is_constant] = np.clip(limited, -CONSTANT_MAX, CONSTANT_MAX)
        if self.kind == "robust":
            scaled /= np.float32(BEND)
            np.arcsinh(scaled, out=scaled)
            scaled *= np.float32(BEND)
        return scaled

    def linear(self, windows: FloatArray) -> FloatArray:
        """Take the offset away and multiply with the factor: no value is limited or bent.

        Of a logarithmic feature that is done with its logarithm.

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
        shape, log = windows.shape, self.logarithmic
        # One offset a value instead of one a feature: the same numbers, in long loops.
        n_steps = shape[1] if windows.ndim == 3 else 1  # noqa: PLR2004
        rows = windows.reshape(shape[0], n_steps * shape[-1])
        with np.errstate(over="ignore"):
            if log is not None:
                rows = log.counted(windows).reshape(rows.shape)
            scaled = rows - np.tile(self.offset, n_steps)  # (n_windows, n_steps * n_features)
            scaled *= np.tile(self.scale, n_steps)
        return scaled.reshape(shape)

    def inverse(self, scaled: FloatArray, windows: FloatArray | None = None) -> NDArray[np.float64]:
        """Bring scaled values back to the signal's unit.

        Parameters
        ----------
        scaled
            Float32, shape (.., n_features), without unit.
        windows
            The windows that were scaled or reconstructed, of the shape of `scaled`: where they are
            is where relative features are. Without them these stay relative.

        Returns
        -------
        A new float64 array of the same shape, unit: the signal's; equal to what was scaled up to
        the rounding of float32, where it was not limited. Wide, so that no finite value becomes
        infinite. Empty stays empty, NaN stays NaN.

        Examples
        --------
        >>> Scaler("min-max", np.float32([2.0]), np.float32([0.25])).inverse(np.float32([[0.5]]))
        array([[4.]])
        """
        deviations: NDArray[Any] = scaled
        if self.kind == "robust":
            within = np.clip(scaled.astype(np.float64), -_ROBUST_MAX, _ROBUST_MAX)
            deviations = BEND * np.sinh(within / BEND)
        values: NDArray[np.float64] = np.divide(deviations, self.scale, dtype=np.float64)
        values += self.offset  # (.., n_features)
        if self.logarithmic is not None:
            values = self.logarithmic.as_values(values)
        if windows is not None and self.relative is not None:
            values += self.relative.taken_away(windows)
        return values


def fit_scaler(
    kind: str,
    windows: FloatArray,
    relative: Relative | None = None,
    logarithmic: Logarithmic | None = None,
) -> Scaler:
    """Fit a scaler to training windows.

    A feature that never changes keeps the factor 1: it carries no information, and dividing by
    its zero range would make every later change infinite. So does one that changes by less than
    the smallest normal float32, about 1.2e-38, for its factor would not be finite. With "robust"
    its deviation is `CONSTANT_SPREAD`. With "standard" and "robust" it is limited.

    Parameters
    ----------
    kind
        "none"; "min-max", to the range [0, 1]; "standard", to mean 0 and standard deviation 1;
        "pixels", from 0 to 255 to the range [0, 1], whatever the windows hold; "robust", to
        median 0 and median absolute deviation 1 / 1.4826, with large values bent.
    windows
        Float32, shape (n_windows, n_steps, n_features), n_windows >= 1, finite.
    relative, logarithmic
        See `Scaler`.

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
    samples = _samples(windows, relative, logarithmic)  # (n_samples, n_features)
    found = _fit_robust(samples) if kind == "robust" else _fit_plain(kind, samples)
    return replace(found, relative=relative, logarithmic=logarithmic)


def _fit_plain(kind: str, samples: NDArray[np.float64]) -> Scaler:
    """Return the scaler of a kind that is not robust, shape (n_samples, n_features)."""
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
    return _by_spread(kind, offset, spread)


def fit_scaler_by_parts(
    kind: str,
    parts: Iterable[FloatArray],
    relative: Relative | None = None,
    logarithmic: Logarithmic | None = None,
) -> Scaler:
    """Fit a scaler to training windows that come some at a time.

    Parameters
    ----------
    kind
        "min-max" or "standard": what one pass over the windows can tell. With the first the scaler
        is that of `fit_scaler`; with the second sums are rounded in another order.
    parts
        Each as the windows of `fit_scaler`; together they have at least one.
    relative, logarithmic
        See `Scaler`.

    Raises
    ------
    ValueError
        If `kind` is another, or there are no windows: the caller's mistake.

    Examples
    --------
    >>> windows = np.arange(8, dtype=np.float32).reshape(4, 2, 1)
    >>> fit_scaler_by_parts("standard", [windows[:1], windows[1:]]).offset
    array([3.5], dtype=float32)
    """
    if kind not in ("min-max", "standard"):
        message = f"scaling kind: expected min-max or standard, received {kind!r}"
        raise ValueError(message)
    found: _Moments | None = None
    for windows in parts:
        if len(windows):
            of_part = _Moments.of(_samples(windows, relative, logarithmic))
            found = of_part if found is None else found.joined(of_part)
    if found is None:
        message = "scaling needs windows to fit to, received none"
        raise ValueError(message)
    offset, spread = found.mean, np.sqrt(found.squares / found.n)
    if kind == "min-max":
        offset, spread = found.low, found.high - found.low
    scaler = _by_spread(kind, offset, spread)
    return replace(scaler, relative=relative, logarithmic=logarithmic)


def _samples(
    windows: FloatArray, relative: Relative | None, logarithmic: Logarithmic | None
) -> NDArray[np.float64]:
    """Return the samples of windows as they are scaled, shape (n_samples, n_features)."""
    counted = windows if relative is None else relative.counted(windows)
    if logarithmic is not None:
        counted = logarithmic.counted(counted)
    return counted.reshape(-1, windows.shape[-1]).astype(np.float64)


class _Moments(NamedTuple):
    """Extremes, mean, and sum of squared deviations of some samples, each (n_features,)."""

    n: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> "_Moments":
        """Return those of samples, at least one, shape (n, n_features)."""
        mean = samples.mean(axis=0)
        squares = np.square(samples - mean).sum(axis=0)
        return cls(len(samples), samples.min(axis=0), samples.max(axis=0), mean, squares)

    def joined(self, other: "_Moments") -> "_Moments":
        """Return those of both; about the joint mean, squares gain by how far means are apart."""
        n = self.n + other.n
        apart = other.mean - self.mean
        return _Moments(
            n,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mean + apart * (other.n / n),
            self.squares + other.squares + np.square(apart) * (self.n * other.n / n),
        )


def _by_spread(kind: str, offset: NDArray[np.float64], spread: NDArray[np.float64]) -> Scaler:
    """Return the scaler that brings a spread to 1, where there is one."""
    is_constant = spread < SPREAD_MIN  # (n_features,)
    scale = (1.0 / np.where(is_constant, 1.0, spread)).astype(np.float32)
    limited = is_constant if kind == "standard" else None
    return Scaler(kind, offset.astype(np.float32), scale, limited)


_END_SHARE = 0.02
"""Share of the values at either end whose size does not count. Of 18 simulated turbines, whose
blades turn out of the wind in 5 to 27 % of their time, deviations differed by a factor of 4.5 with
a fiftieth, and of 21 with a tenth."""


def robust_spread(values: NDArray[np.float64], n_steps: int = 0) -> tuple[float, float]:
    """Return the median and the robust standard deviation of the values of one feature.

    Parameters
    ----------
    values
        Shape (n_values,), finite, n_values >= 1.
    n_steps
        The deviation is from the mean of each block of so many values, as that of a relative
        feature; with 0 it is from the median of all.

    Returns
    -------
    The median, and 1.4826 times the median absolute deviation from it, or if it is more, the
    standard deviation of the values, of which the lowest and the highest fiftieth are limited to
    where these begin: of a machine that is off most of the time, the first says how much it varies
    while it is off. Where nearly all values are equal but some differ, both are 0 and the standard
    deviation takes their place. 0 where all are equal, or differ by less than float32 can divide
    by.

    Examples
    --------
    >>> robust_spread(np.array([1.0, 2.0, 3.0, 4.0, 900.0]))
    (3.0, 1.4826)
    >>> robust_spread(np.array([5.0, 5.0, 5.0, 9.0]))
    (5.0, 1.7320508075688772)
    >>> on_and_off = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 41.0, 40.0, 41.0])
    >>> round(robust_spread(on_and_off)[1], 1)
    18.4
    >>> robust_spread(np.array([1.0, 3.0, 901.0, 903.0]), 2)
    (452.0, 1.4826)
    """
    median = float(np.median(values))
    deviations = _from_blocks(values, n_steps) if n_steps else values - median
    spread = _MAD_TO_SD * float(np.median(np.abs(deviations)))
    low = np.quantile(deviations, _END_SHARE, method="higher")
    high = np.quantile(deviations, 1 - _END_SHARE, method="lower")
    spread = max(spread, float(np.clip(deviations, low, high).std()))
    if not spread >= SPREAD_MIN:
        spread = float(deviations.std())
    return median, spread if spread >= SPREAD_MIN else 0.0


def level_and_spread(
    values: NDArray[np.float64], counting: Counting = AS_IT_IS
) -> tuple[float, float]:
    """Return the level and the deviation of one feature of a key, as `KeyScales` takes them.

    Parameters
    ----------
    values
        Shape (n_values,), finite, n_values >= 1.
    counting
        How the feature counts.

    Returns
    -------
    Median and robust deviation; see `robust_spread`. Of a logarithmic feature, 0 and its unit.
    0 where all are equal, or too close; a logarithmic one has no unit where all are 0.

    Examples
    --------
    >>> level_and_spread(np.array([1.0, 2.0, 3.0, 4.0, 900.0]))
    (3.0, 1.4826)
    >>> level_and_spread(np.array([10.0, 20.0, 300.0]), Counting(is_logarithmic=True))
    (0.0, 1.0)
    """
    if not counting.is_logarithmic:
        return robust_spread(values, counting.relative_steps)
    unit = UNIT_SHARE * usual_level(values)
    return 0.0, unit if unit >= SPREAD_MIN else 0.0


def _from_blocks(values: NDArray[np.float64], n_steps: int) -> NDArray[np.float64]:
    """Return how far values are from the mean of their block, of all blocks that are full."""
    n_steps = min(n_steps, len(values))
    blocks = values[: len(values) // n_steps * n_steps].reshape(-1, n_steps)
    deviations: NDArray[np.float64] = blocks - blocks.mean(axis=1, keepdims=True)
    return deviations.ravel()


def _fit_robust(samples: NDArray[np.float64]) -> Scaler:
    """Return the scaler by median and median absolute deviation, shape (n_samples, n_features)."""
    found = np.array([robust_spread(column) for column in samples.T])  # (n_features, 2)
    median, spread = found.T
    is_constant = spread == 0  # (n_features,)
    magnitude = np.where(np.abs(median) >= SPREAD_MIN / CONSTANT_SPREAD, np.abs(median), 1.0)
    spread = np.where(is_constant, CONSTANT_SPREAD * magnitude, spread)  # (n_features,)
    scale = (1.0 / spread).astype(np.float32)
    return Scaler("robust", median.astype(np.float32), scale, is_constant)
