"""Methods of fitting a threshold to the scores of normal windows, one class a method.

Every method is pure: scores in, one number out. What a method states, a rate or a share of false
alarms, holds for later normal windows that are like those it is fitted to. A window is anomalous
iff its score exceeds the threshold; a score equal to the threshold is normal.

A new method is a class here and its section in `stream_detector.recipes.thresholds`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.tails import N_SHAPE_MIN, CalibrationScores, Tail, fit_tail
from stream_detector.errors import ConfigError

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

_BASE_QUANTILES = (0.98, 0.9, 0.75, 0.5)
"""Quantiles of the scores over which clusters are counted for `FalseAlarmsPerDayThreshold`: the
first one that is exceeded more often than the rate asked for, or the last."""

N_EXCEEDING_MIN = 3
"""A share of false alarms is stated only of data in which at least so many independent windows
are expected to exceed the threshold."""


class ThresholdMethod(Protocol):
    """A way to fit a threshold, with its parameters."""

    @property
    def n_windows_wanted(self) -> int:
        """Windows from which on the threshold is what its parameter says."""
        ...

    @property
    def stated(self) -> float | None:
        """False alarms that the method states, in its unit; None if it states none."""
        ...

    @property
    def states_share(self) -> bool:
        """Whether what is stated is a share of windows, and not a number a day."""
        ...

    @property
    def wants_anomalous(self) -> bool:
        """Whether scores of anomalous windows make a difference."""
        ...

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit a threshold to the scores of normal windows.

        Parameters
        ----------
        calibration
            Scores of at least one window, finite, >= 0. Use windows that the network was not
            trained on, or the threshold is too low.

        Returns
        -------
        The threshold, in the unit of the scores, at least `THRESHOLD_MIN`.

        Raises
        ------
        ValueError
            If there are no scores or one of them is not finite: the caller's mistake.
        ConfigError
            If what is asked for cannot be stated with these windows.
        """


class _Plain:
    """What most methods have in common: they state nothing, and need no labels."""

    __slots__ = ()

    @property
    def stated(self) -> float | None:
        """None: the method states no rate of false alarms."""
        return None

    @property
    def states_share(self) -> bool:
        """Whether what is stated is a share of windows."""
        return False

    @property
    def wants_anomalous(self) -> bool:
        """Whether scores of anomalous windows make a difference."""
        return False


@dataclass(frozen=True, slots=True)
class SigmaThreshold(_Plain):
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
    >>> SigmaThreshold(1.0).fit(CalibrationScores.without_times(np.array([1.0, 3.0])))
    3.0
    """

    n_sigma: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as a standard deviation needs."""
        return _N_FOR_MOMENTS

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        scores = _checked(calibration)
        return _floored(scores.mean() + self.n_sigma * scores.std())


@dataclass(frozen=True, slots=True)
class QuantileThreshold(_Plain):
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
    >>> scores = np.array([1.0, 2.0, 3.0, 4.0])
    >>> QuantileThreshold(0.5).fit(CalibrationScores.without_times(scores))
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

    @property
    def stated(self) -> float | None:
        """Share of the windows above the threshold."""
        return round(1 - self.quantile, 12)  # 1 - 0.995 is a little more than 0.005

    @property
    def states_share(self) -> bool:
        """Whether what is stated is a share of windows."""
        return True

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        scores = _checked(calibration)
        return _floored(np.quantile(scores, self.quantile, method="higher"))


@dataclass(frozen=True, slots=True)
class LogMadThreshold(_Plain):
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
    >>> scores = np.array([1.0, 2.0, 4.0, 400.0])
    >>> round(LogMadThreshold(1.0).fit(CalibrationScores.without_times(scores)), 3)
    7.904
    """

    n_mad: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as a median absolute deviation needs."""
        return _N_FOR_MOMENTS

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        scores = _checked(calibration)
        logs = np.log(np.maximum(scores, THRESHOLD_MIN))  # (n_windows,)
        middle = np.median(logs)
        deviation = np.median(np.abs(logs - middle))
        return _floored(np.exp(middle + self.n_mad * _MAD_SCALE * deviation))


@dataclass(frozen=True, slots=True)
class FalseAlarmShareThreshold(_Plain):
    """The score that a later normal window exceeds with at most a given probability.

    A conformal quantile: if calibration windows and a later one could change places, the
    probability is at most the share, whatever the distribution of the scores.

    Parameters
    ----------
    share
        The probability, in (0, 1).

    Notes
    -----
    Source: V. Vovk, A. Gammerman and G. Shafer (2005), "Algorithmic learning in a random world";
    not read, the correction (n + 1)(1 - share) / n is that of common introductions. For windows
    that overlap, n is the number of those that share no sample.

    Examples
    --------
    Of 19 windows the 16th, for 20 x 0.8 = 16:

    >>> scores = np.arange(1.0, 20.0)
    >>> FalseAlarmShareThreshold(0.2).fit(CalibrationScores.without_times(scores))
    16.0
    """

    share: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as `fit` takes, if they do not overlap."""
        return max(N_WINDOWS_MIN, math.ceil(round(N_EXCEEDING_MIN / self.share, 6)))

    @property
    def stated(self) -> float | None:
        """Share of the windows above the threshold."""
        return self.share

    @property
    def states_share(self) -> bool:
        """Whether what is stated is a share of windows."""
        return True

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        scores, n_effective = _checked(calibration), calibration.n_effective
        if round(self.share * n_effective, 6) < N_EXCEEDING_MIN:
            raise ConfigError(self._refusal(calibration))
        kept = (1 - self.share) * (1 + 1 / n_effective)
        rank = math.ceil(round(kept * len(scores), 6))  # 1 is the smallest score
        return _floored(np.sort(scores)[rank - 1])

    def _refusal(self, calibration: CalibrationScores) -> str:
        """Return why a share cannot be stated, and what would be needed."""
        n_windows, n_effective = len(calibration.scores), calibration.n_effective
        overlap = f", which overlap and count as {n_effective:.0f}" * (n_effective < n_windows)
        n_needed = math.ceil(round(N_EXCEEDING_MIN / self.share / calibration.new_share, 6))
        rate = ", or set threshold.method = 'false_alarms_per_day', which extrapolates"
        return (
            f"threshold.false_alarm_share: expected at least {N_EXCEEDING_MIN / n_effective:.3g} "
            f"with {n_windows} normal windows to calibrate on{overlap}, received {self.share:g}; "
            f"calibrate on {n_needed} windows (more data, or threshold.calibrate_on = "
            f"'cross-fit'), or ask for a larger share{rate if calibration.has_times else ''}"
        )


@dataclass(frozen=True, slots=True)
class FalseAlarmsPerDayThreshold(_Plain):
    """The score that clusters of normal windows exceed so many times a day and series.

    Parameters
    ----------
    rate_per_day
        False alarms a day and series, > 0.

    Notes
    -----
    The level is read off what was seen, or extrapolated where the rate is too low for that: see
    `stream_detector.core.scoring.tails`.

    Examples
    --------
    A day of minutes with five peaks far apart, of which three reach 7 or more:

    >>> scores = np.ones(1440)
    >>> scores[[100, 400, 700, 1000, 1300]] = [9, 5, 7, 8, 6]
    >>> minutes = np.arange(1440) * 60_000.0
    >>> day = CalibrationScores(scores, np.zeros(1440, np.intp), minutes, 86_400_000.0, 120_000.0)
    >>> FalseAlarmsPerDayThreshold(3.0).fit(day)
    7.0
    """

    rate_per_day: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as have enough clusters over the base for a shape of the tail, at the best."""
        return math.ceil(round(N_SHAPE_MIN / (1 - _BASE_QUANTILES[0]), 6))

    @property
    def stated(self) -> float | None:
        """False alarms a day and series."""
        return self.rate_per_day

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        _checked(calibration)
        return _floored(self.fit_tail(calibration).threshold(self.rate_per_day))

    def fit_tail(self, calibration: CalibrationScores) -> Tail:
        """Return the tail that the threshold is a level of."""
        if not calibration.has_times:
            message = (
                "threshold.method: false alarms a day can be counted of windows with times only; "
                "set threshold.method = 'false_alarm_share'"
            )
            raise ConfigError(message)
        first, *others = _BASE_QUANTILES
        tail = fit_tail(calibration, calibration.cluster_gap_ms, first)
        for quantile in others:
            if tail.rate_per_day > self.rate_per_day:
                break
            tail = fit_tail(calibration, calibration.cluster_gap_ms, quantile)
        return tail


@dataclass(frozen=True, slots=True)
class FBetaThreshold(_Plain):
    """The threshold with the best F-beta of labelled windows.

    Without anomalous windows nothing is gained by a lower threshold, and F-beta is taken to be 1
    without false alarms and 0 with any: the threshold is the largest score of a normal window.

    Parameters
    ----------
    beta
        How many times as much recall counts as precision, > 0.

    Notes
    -----
    Source: C. J. van Rijsbergen (1979), "Information retrieval", chapter 7; not read, the formula
    (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP) is that of common textbooks. Anomalous is
    the positive class. Of several thresholds with the best value the highest is taken, in the
    middle between the scores beside it.

    Examples
    --------
    >>> normal, anomalous = np.array([1.0, 2.0, 3.0]), np.array([2.5, 5.0, 6.0])
    >>> scores = CalibrationScores.without_times(normal, anomalous)
    >>> FBetaThreshold(0.5).fit(scores), FBetaThreshold(2.0).fit(scores)
    (4.0, 2.25)
    """

    beta: float

    @property
    def n_windows_wanted(self) -> int:
        """As many as a precision needs."""
        return _N_FOR_MOMENTS

    @property
    def wants_anomalous(self) -> bool:
        """Whether scores of anomalous windows make a difference."""
        return True

    def fit(self, calibration: CalibrationScores) -> float:
        """Fit the threshold; see `ThresholdMethod.fit`."""
        normal, anomalous = np.sort(_checked(calibration)), np.sort(calibration.anomalous_scores)
        if not len(anomalous):
            return _floored(normal[-1])
        levels = np.unique(np.concatenate([normal, anomalous]))  # (n_levels,)
        n_hits = len(anomalous) - np.searchsorted(anomalous, levels, "right")  # (n_levels,)
        n_false = len(normal) - np.searchsorted(normal, levels, "right")  # (n_levels,)
        square = self.beta**2
        weighted = (1 + square) * n_hits  # (n_levels,)
        value = weighted / (weighted + square * (len(anomalous) - n_hits) + n_false)
        best = len(levels) - 1 - int(np.argmax(value[::-1]))
        # Nothing is above the highest level, so the best one is below it, or all are as bad.
        return _floored((levels[best] + levels[min(best + 1, len(levels) - 1)]) / 2)


def _checked(calibration: CalibrationScores) -> NDArray[np.float64]:
    """Return the scores, and refuse those that no threshold can be fitted to."""
    scores = calibration.scores
    if scores.size == 0 or not np.isfinite(scores).all():
        message = f"a threshold needs finite scores of at least one window, received {scores!r}"
        raise ValueError(message)
    return scores


def _floored(threshold: float | np.floating) -> float:
    """Return a threshold that is not below the floor."""
    return max(float(threshold), THRESHOLD_MIN)
