"""Figures with the interval that the truth lies in, 95 times in 100.

Notes
-----
Source: the interval of a rate is that of F. Garwood (1936), "Fiducial limits for the Poisson
distribution", Biometrika 28, by quantiles of the chi-squared distribution, here computed from the
Poisson distribution itself; that of a share is E. B. Wilson's (1927), JASA 22. Neither was read;
the formulas are those of common textbooks.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution: intervals hold the truth 95 times in 100."""


class Interval(NamedTuple):
    """A figure, and the 95 % interval in which the truth lies."""

    value: float
    low: float
    high: float


def rate_interval(n: int, exposure: float) -> Interval:
    """Return n / exposure with the 95 % interval of a Poisson rate; NaN without exposure.

    Examples
    --------
    >>> [round(each, 2) for each in rate_interval(4, 2.0)]
    [2.0, 0.54, 5.12]
    >>> [round(each, 2) for each in rate_interval(0, 1.0)]
    [0.0, 0.0, 3.69]
    """
    if exposure <= 0:
        return Interval(math.nan, math.nan, math.nan)
    low, high = _poisson_bounds(n)
    return Interval(n / exposure, low / exposure, high / exposure)


def share_interval(n: float, n_all: float) -> Interval:
    """Return n / n_all with Wilson's 95 % interval; NaN of nothing.

    Windows that overlap count as parts of one: then both numbers may be fractions.

    Examples
    --------
    >>> [round(each, 3) for each in share_interval(9, 10)]
    [0.9, 0.596, 0.982]
    """
    if n_all == 0:
        return Interval(math.nan, math.nan, math.nan)
    share, square = n / n_all, _Z**2 / n_all
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / n_all + square / (4 * n_all)) / (1 + square)
    low, high = (middle - half if n else 0.0), (middle + half if n < n_all else 1.0)
    return Interval(share, low, high)


# A sweep over thresholds counts the same few numbers of alerts again and again.
@functools.lru_cache(maxsize=4_096)
def _poisson_bounds(n: int) -> tuple[float, float]:
    """Return the means between which that of a count of n lies."""
    low = _solve(lambda mean: _poisson_cdf(n - 1, mean) - 0.975, n) if n else 0.0
    return low, _solve(lambda mean: _poisson_cdf(n, mean) - 0.025, n)


def _poisson_cdf(n: int, mean: float) -> float:
    """Return the probability of at most n events where `mean` are expected."""
    log_mean = math.log(mean)
    logs = (k * log_mean - mean - each for k, each in enumerate(_log_factorials(n)))
    return min(1.0, math.fsum(map(math.exp, logs)))


@functools.lru_cache(maxsize=2)  # one search for a mean asks for those of one n
def _log_factorials(n: int) -> list[float]:
    """Return the logarithms of 0!, 1! up to n!."""
    return [math.lgamma(k + 1) for k in range(n + 1)]


def _solve(falling: Callable[[float], float], n: int) -> float:
    """Return the mean at which a function that falls from above 0 to below 0 is 0."""
    low, high = 0.0, n + 10.0 * math.sqrt(n + 1.0) + 10.0
    while low < (middle := (low + high) / 2) < high:  # until no number lies between them
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low
