"""Methods of fitting a threshold to the scores of normal windows, one class a method.

Every method is pure: scores in, one number out. A window is anomalous iff its score exceeds the
threshold; a score equal to the threshold is normal.

A new method is a class here and its section in `stream_detector.recipes.thresholds`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

THRESHOLD_MIN = 1e-9
"""Floor of every threshold. A constant signal that is reconstructed exactly has scores of 0 and
would get the threshold 0; with the floor, score / threshold stays finite and the signal normal."""

_MAD_SCALE = 1.4826
"""Turns a median absolute deviation into a standard deviation of normally distributed values."""


N_WINDOWS_MIN = 10
"""Fewest windows that a threshold is fitted to: of fewer, the next one is the largest so far more
often than one time in ten."""

_N_FOR_MOMENTS = 30
"""With fewer windows a standard deviation or a median is known to a few tenths of itself only."""


class ThresholdMethod(Protocol):
    """A way to fit a threshold, with its parameters."""

    @property
    def n_windows_wanted(self) -> int:
        """Windows from which on the threshold is what its parameter says."""
        ...

    def fit(self, scores: NDArray[np.float64]) -> float:
        """Fit a threshold to the scores of normal windows.

        Parameters
        ----------
        scores
            Shape (n_windows,), n_windows >= 1, finite, >= 0. Use windows that the network was not
            trained on, or the threshold is too low.

        Returns
        -------
        The threshold, in the unit of `scores`, at least `THRESHOLD_MIN`.

        Raises
        ------
        ValueError
            If there are no scores or one of them is not finite: the caller's mistake.
        """


@dataclass(frozen=True, slots=True)
class SigmaThreshold:
    """Mean plus a number of population standard deviations.

    Parameters
    ----------
    n_sigma
        Number of standard deviations, finite.

    Notes
    -----
    Source: TensorFlow, "Intro to Autoencoders", third example, section "Detect anomalies", which
    takes one standard deviation.

    Examples
    --------
    >>> SigmaThreshold(1.0).fit(np.array([1.0, 3.0]))
    3.0
    """

    n_sigma: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as a standard deviation needs."""
        return _N_FOR_MOMENTS

    def fit(self, scores: NDArray[np.float64]) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        _check(scores)
        return _floored(scores.mean() + self.n_sigma * scores.std())


@dataclass(frozen=True, slots=True)
class QuantileThreshold:
    """The smallest score that is at least as large as a given share of all scores.

    Parameters
    ----------
    quantile
        The share, in (0, 1).

    Notes
    -----
    NumPy's method "higher", so the threshold is one of the scores.

    Examples
    --------
    >>> QuantileThreshold(0.5).fit(np.array([1.0, 2.0, 3.0, 4.0]))
    3.0
    """

    quantile: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as have one window above the quantile; of fewer it is the largest score.

        Examples
        --------
        >>> QuantileThreshold(0.9).n_windows_wanted, QuantileThreshold(0.995).n_windows_wanted
        (10, 200)
        """
        # Rounded, for 1 / (1 - 0.9) is a little more than 10.
        return max(N_WINDOWS_MIN, math.ceil(round(1 / (1 - self.quantile), 6)))

    def fit(self, scores: NDArray[np.float64]) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        _check(scores)
        return _floored(np.quantile(scores, self.quantile, method="higher"))


@dataclass(frozen=True, slots=True)
class LogMadThreshold:
    """Median plus a number of scaled median absolute deviations, both of the scores' logarithms.

    Reconstruction errors are never negative and a few of them are large. Their logarithms are
    spread more evenly around the middle, and a few odd windows among the normal ones move neither
    median.

    Parameters
    ----------
    n_mad
        Number of deviations, finite, >= 0. Scores below `THRESHOLD_MIN` count as `THRESHOLD_MIN`.

    Notes
    -----
    The median absolute deviation is scaled by 1.4826, one over the quantile of the normal
    distribution at 3/4, as is common.

    Examples
    --------
    >>> round(LogMadThreshold(1.0).fit(np.array([1.0, 2.0, 4.0, 400.0])), 3)
    7.904
    """

    n_mad: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as a median absolute deviation needs."""
        return _N_FOR_MOMENTS

    def fit(self, scores: NDArray[np.float64]) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        _check(scores)
        logs = np.log(np.maximum(scores, THRESHOLD_MIN))  # (n_windows,)
        middle = np.median(logs)
        deviation = np.median(np.abs(logs - middle))
        return _floored(np.exp(middle + self.n_mad * _MAD_SCALE * deviation))


def _check(scores: NDArray[np.float64]) -> None:
    """Refuse scores that no threshold can be fitted to."""
    if scores.size == 0 or not np.isfinite(scores).all():
        message = f"a threshold needs finite scores of at least one window, received {scores!r}"
        raise ValueError(message)


def _floored(threshold: np.floating) -> float:
    """Return a threshold that is not below the floor."""
    return max(float(threshold), THRESHOLD_MIN)
