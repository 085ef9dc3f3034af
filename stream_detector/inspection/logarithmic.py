"""Features that vary by factors, such as traffic: they count by their logarithm.

Such a feature is never below 0, has bursts far above its usual level, and is about symmetric in its
logarithm: what is half of the usual is as frequent as twice as much. That is asked of the middle
96 % of the values, so that faults in the data do not decide it.

A temperature varies by amounts, a share that is mostly 0 has no usual level, and what is either on
or off is symmetric in neither. These count as they are.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.logarithmic import UNIT_SHARE
from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.roles import Layout

_WHY = "vary by factors: a tenth of the usual is judged to be as unusual as ten times as much"

_SKEW_MIN = 0.3
"""How much farther from the median the upper end is than the lower one at least, as a share of what
lies between them."""

_LOG_SKEW_MAX = 0.15
"""How much farther one of the ends is at most in logarithms. Both were chosen on simulated data of
eight kinds; values that are distributed log-normally by a factor of 1.7 or more have the first."""

_N_VALUES_MIN = 100
"""Fewest values of which two in a hundred are known."""


def choose_logarithmic(
    layout: Layout, values: NDArray[np.float64], is_candidate: NDArray[np.bool_]
) -> Mapping[str, Chosen]:
    """Return which features are logarithmic, where some are, in more than half of the series.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.
    is_candidate
        Which features can be, shape (n_features,).
    """
    series = [values[rows] for rows in layout.normal_rows()]
    names = [
        name
        for at, name in enumerate(layout.features)
        if is_candidate[at] and np.mean([varies_by_factors(each[:, at]) for each in series]) > 0.5  # noqa: PLR2004
    ]
    return {"logarithmic": Chosen(names, _WHY)} if names else {}


def varies_by_factors(values: NDArray[np.float64]) -> bool:
    """Return whether the values of a feature vary by factors.

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


def _skew(ends: NDArray[np.float64]) -> float:
    """Return how much farther the upper end is from the middle; 0 where both are as far."""
    low, middle, high = ends.tolist()
    return (high + low - 2 * middle) / (high - low) if high > low else 0.0
