"""Features that count by their logarithm, since they vary by factors: traffic, latency, a flow.

Pure. Such a feature is far above its usual level now and then, and never as far below. Counted as
it is, its deviation is that of its bursts, beside which no traffic at all is close to the usual. In
its logarithm, a tenth of the usual level is as far from it as ten times as much.

There is no logarithm of 0, so this is the inverse hyperbolic sine: that of a value many times the
unit is the logarithm of twice as many units, and around 0 it is the number of units. With a unit of
5 % of the usual level::

    of the usual level     0     0.05     0.5    1      2      20
    is counted as          0     0.88     3.0    3.7    4.4    6.7
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.text import snake_case

UNIT_SHARE = 0.05
"""The unit, as a share of the usual level. A smaller one makes 0 stand farther from the rest, and
what is noise there, too; with a larger one half of the usual level is less far than twice as much.
"""

FACTOR_MAX = 1 / UNIT_SHARE
"""Where a factor is larger, one of the two values is less than the unit, and may be 0."""

_SKEW_MIN = 0.3
"""How much farther from the median the upper end is than the lower one at least, as a share of what
lies between them."""

_LOG_SKEW_MAX = 0.15
"""How much farther one of the ends is at most in logarithms. Both were chosen on simulated data of
14 kinds. Values that are distributed log-normally have the first from a deviation of 1.35 on, as a
factor."""

_N_VALUES_MIN = 100
"""Fewest values of which two in a hundred are known."""

_TEMPERATURE = re.compile(r"(?<![a-z])(temps?|temperatures?|celsius|fahrenheit|dew)(?![a-z])")

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_UNIT_MIN = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, slots=True, eq=False)
class Logarithmic:
    """Which features are logarithmic.

    Parameters
    ----------
    unit
        Of each, shape (n_features,), float32, unit: the signal's; 0 of those that are not.
    """

    unit: FloatArray

    @property
    def is_logarithmic(self) -> NDArray[np.bool_]:
        """Return which features are, shape (n_features,)."""
        return self.unit > 0

    def counted(self, values: FloatArray) -> FloatArray:
        """Return values whose logarithmic features are their logarithms.

        Parameters
        ----------
        values
            Float32, shape (.., n_features), unit: the signal's. The result for a window does not
            depend, in any bit, on the others. NaN stays NaN.

        Examples
        --------
        >>> logarithmic = Logarithmic(np.float32([2.0, 0.0]))
        >>> logarithmic.counted(np.float32([[0.0, 9.0], [40.0, 9.0], [400.0, 9.0]])).round(1)
        array([[0. , 9. ],
               [3.7, 9. ],
               [6. , 9. ]], dtype=float32)
        """
        is_logarithmic = self.is_logarithmic
        found = values.astype(np.float32)
        found[..., is_logarithmic] = np.arcsinh(
            values[..., is_logarithmic] / self.unit[is_logarithmic]
        )
        return found

    def as_values(self, counted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what `counted` was given, float64, same shape; at most the largest float32.

        Parameters
        ----------
        counted
            Shape (.., n_features).
        """
        values = counted.copy()
        for feature in np.flatnonzero(self.is_logarithmic).tolist():
            unit = float(self.unit[feature])
            most = np.arcsinh(_FLOAT32_MAX / unit)
            values[..., feature] = unit * np.sinh(np.clip(counted[..., feature], -most, most))
        return values


def usual_level(values: NDArray[np.float64]) -> float:
    """Return the median size of the values of one feature that are not 0; 0 where all are.

    Parameters
    ----------
    values
        Shape (n_values,), finite.

    Examples
    --------
    >>> usual_level(np.array([0.0, 0.0, 0.0, 4.0, 5.0, 900.0]))
    5.0
    """
    sizes = np.abs(values)
    present = sizes[sizes > 0]
    return float(np.median(present)) if len(present) else 0.0


def fit_logarithmic(samples: FloatArray, is_logarithmic: NDArray[np.bool_]) -> Logarithmic:
    """Return the units of features, by the values they are trained on.

    Parameters
    ----------
    samples
        Shape (n_samples, n_features), finite.
    is_logarithmic
        Which features are, shape (n_features,).
    """
    unit = np.zeros(samples.shape[1], np.float32)
    for feature in np.flatnonzero(is_logarithmic).tolist():
        values = samples[:, feature].astype(np.float64)
        unit[feature] = max(UNIT_SHARE * usual_level(values), _UNIT_MIN)
    return Logarithmic(unit)


def vary_by_factors(
    names: Sequence[str], series: Sequence[NDArray[np.floating]]
) -> NDArray[np.bool_]:
    """Return which features vary by factors in more than half of the series, shape (n_features,).

    Parameters
    ----------
    names
        Of the features. No temperature does: none of its units but the kelvin begins where nothing
        is, and in a winter to come a logarithm would take -5 for farther from 20 than 500.
    series
        Their values, each of shape (n_samples, n_features); NaN is a missing value. At least one.

    Examples
    --------
    >>> values = np.exp(np.random.default_rng(0).normal(size=(1000, 3)))
    >>> vary_by_factors(["requests", "panelTemp", "attempts"], [values]).tolist()
    [True, False, True]
    """
    found = [[varies_by_factors(column) for column in values.T] for values in series]
    is_temperature = [_TEMPERATURE.search(snake_case(name)) is not None for name in names]
    is_most: NDArray[np.bool_] = np.mean(found, axis=0) > 0.5  # noqa: PLR2004
    return is_most & ~np.array(is_temperature, np.bool_)


def varies_by_factors(values: NDArray[np.floating]) -> bool:
    """Return whether the values of a feature vary by factors.

    Such a feature is never below 0, has bursts far above its usual level, and is about symmetric in
    its logarithm: half of the usual is as frequent as twice as much. That is asked of the middle
    96 % of the values, so that faults among them do not decide it. A temperature varies by amounts,
    a share that is mostly 0 has no usual level, and what is on or off is symmetric in neither.

    Parameters
    ----------
    values
        Of one series, shape (n_values,); NaN is a missing value.

    Examples
    --------
    >>> amounts = np.random.default_rng(0).normal(size=1000)
    >>> varies_by_factors(np.exp(amounts)), varies_by_factors(9 + amounts)
    (True, False)
    """
    present = values[np.isfinite(values)]
    if len(present) < _N_VALUES_MIN or present.min() < 0:
        return False
    ends = np.quantile(present, [0.02, 0.5, 0.98])  # (3,)
    if not ends[1] > 0 or _skew(ends) < _SKEW_MIN:
        return False
    return abs(_skew(np.arcsinh(ends / (UNIT_SHARE * ends[1])))) <= _LOG_SKEW_MAX


def _skew(ends: NDArray[np.floating]) -> float:
    """Return how much farther the upper end is from the middle; 0 where both are as far."""
    low, middle, high = ends.tolist()
    return (high + low - 2 * middle) / (high - low) if high > low else 0.0
