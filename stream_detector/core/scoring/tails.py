"""How often normal windows reach a score: false alarms a day, also beyond what was seen.

Pure. Neighbouring windows overlap, so one disturbance lifts the scores of many. What a person
counts are *clusters*: scores over a base level that follow each other within a given time. The
peaks of these clusters tell which level is exceeded how often::

    score            *                         level      clusters a day
                *   ***                        7          0.2   extrapolated by the tail
    base -------*---*-*------**------          5          1     one peak in one day
         *******  **   ******  ******          base       3     three clusters in one day

Where the data have at least `N_SEEN_MIN` clusters for a rate, its level is read off their peaks.
For rarer ones a generalised Pareto distribution is fitted to the peaks over the base. It is never
lighter than an exponential one: the scores of a few days say little of the worst week.

Notes
-----
Source: J. R. M. Hosking and J. R. Wallis (1987), "Parameter and quantile estimation for the
generalized Pareto distribution", Technometrics 29: the estimates by probability-weighted moments;
not read, the formulas are those of textbooks. The shape has the sign of S. Coles (2001), "An
introduction to statistical modeling of extreme values", section 4: 0 is exponential, and positive
is heavier.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.intervals import Interval, rate_interval

DAY_MS = 86_400_000.0

N_SEEN_MIN = 3
"""A rate of which so many clusters are expected in the calibration data was seen; a rarer one is
extrapolated. Of 3 the 95 % interval of a Poisson count reaches from 0.6 to 8.8."""

SHAPE_MAX = 0.5
"""Heaviest tail. Beyond it the variance is infinite, and estimates say nothing."""

N_SHAPE_MIN = 10
"""With fewer clusters the tail is taken to be exponential, with a scale that is too large rather
than too small; see `fit_tail`."""

_STRIDES_MAX = 3.0
"""Longest time between two windows, in strides, without a gap between them."""

_TINY = 1e-9
"""Least scale in units of the base: without any spread the levels stay finite and different."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationScores:
    """Scores of normal windows, with the time that they stand for.

    Parameters
    ----------
    scores
        Float64, shape (n_windows,), finite.
    series
        Number of each window's series, shape (n_windows,); the order of series does not matter.
    end_ms
        End of each window, milliseconds, float64, shape (n_windows,), ascending within a series.
    exposure_ms
        Time that the windows cover, all series together; see `covered_ms`. 0 where windows have no
        times.
    cluster_gap_ms
        Anomalous windows of a series that follow one another within this time are one alert.
    new_share
        Share of a window that the one before it does not have: stride / length, 1 for windows that
        do not overlap, (0, 1].
    anomalous_scores
        Scores of windows labelled anomalous, for a method that weighs them against normal ones;
        empty where there are none.
    """

    scores: NDArray[np.float64]
    series: NDArray[np.intp]
    end_ms: NDArray[np.float64]
    exposure_ms: float
    cluster_gap_ms: float = 0.0
    new_share: float = 1.0
    anomalous_scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def without_times(
        cls,
        scores: NDArray[np.float64],
        anomalous_scores: NDArray[np.float64] | None = None,
    ) -> "CalibrationScores":
        """Return scores of whole windows, which have no times and do not overlap."""
        nowhere = np.zeros(len(scores), dtype=np.intp)
        others = np.empty(0) if anomalous_scores is None else anomalous_scores
        return cls(scores, nowhere, np.zeros(len(scores)), 0.0, anomalous_scores=others)

    @property
    def has_times(self) -> bool:
        """Return whether false alarms can be counted by the day."""
        return self.exposure_ms > 0

    @property
    def days(self) -> float:
        """Return the time that the windows cover, in days of one series."""
        return self.exposure_ms / DAY_MS

    @property
    def n_effective(self) -> float:
        """Return how many windows that share no sample say as much as these."""
        return len(self.scores) * self.new_share

    def n_clusters_above(self, level: float) -> int:
        """Return how many alerts these windows would be with a threshold."""
        return len(cluster_peaks(self, level, self.cluster_gap_ms))


def covered_ms(series: NDArray[np.intp], end_ms: NDArray[np.float64], stride_ms: float) -> float:
    """Return the time that windows stand for, gaps left out.

    A window stands for the time since the window before it in its series. The first one, and one
    after a gap, stands for one stride.

    Parameters
    ----------
    series, end_ms
        As in `CalibrationScores`.
    stride_ms
        Time between two windows without a gap, > 0.

    Returns
    -------
    Milliseconds, summed over all series; 0 without windows.

    Examples
    --------
    Three windows, a gap, and one window more:

    >>> end_ms = np.array([0.0, 1000.0, 2000.0, 60_000.0])
    >>> covered_ms(np.zeros(4, np.intp), end_ms, 1000.0)
    4000.0
    """
    order = np.argsort(series, kind="stable")
    since_ms = np.diff(end_ms[order], prepend=np.nan)  # (n_windows,)
    is_first = np.diff(series[order], prepend=-1) != 0
    # NaN compares False, so the very first window counts as one after a gap.
    follows = ~is_first & (since_ms <= _STRIDES_MAX * stride_ms)
    return float(np.where(follows, since_ms, stride_ms).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Which score is exceeded how often by clusters of normal windows.

    Parameters
    ----------
    base
        Level over which clusters were counted.
    scale, shape
        Of the generalised Pareto distribution of the peaks over the base; scale > 0, in the unit
        of the scores; shape in [0, `SHAPE_MAX`], 0 is exponential.
    days
        Days of one series in which the clusters were seen, > 0.
    peaks
        Highest score of each cluster, descending, float64, shape (n_clusters,), all over the base.
    """

    base: float
    scale: float
    shape: float
    days: float
    peaks: NDArray[np.float64]

    @property
    def n_clusters(self) -> int:
        """Return how many clusters were seen."""
        return len(self.peaks)

    @property
    def rate_per_day(self) -> float:
        """Return how many clusters exceed the base a day and series; none counts as one."""
        return max(self.n_clusters, 1) / self.days

    def is_extrapolated(self, rate_per_day: float) -> bool:
        """Return whether a rate is too low to have been seen often enough: see `N_SEEN_MIN`."""
        return rate_per_day * self.days < N_SEEN_MIN

    def threshold(self, rate_per_day: float) -> float:
        """Return the level that clusters exceed at a rate.

        Parameters
        ----------
        rate_per_day
            Clusters a day and series, > 0.

        Returns
        -------
        A level that falls as the rate rises; the base for all rates from that of the base on.

        Raises
        ------
        ValueError
            If the rate is not above 0: the caller's mistake.
        """
        if not rate_per_day > 0:
            message = f"expected a rate above 0, received {rate_per_day!r}"
            raise ValueError(message)
        count = rate_per_day * self.days
        counts, levels = self._seen()
        if count >= counts[0]:
            return float(np.interp(math.log(count), np.log(counts), levels))
        return self._tail_level(count) + self._shift()

    def rate_above(self, level: float) -> float:
        """Return how often clusters exceed a level: the inverse of `threshold`.

        Parameters
        ----------
        level
            A score, not NaN.

        Returns
        -------
        Clusters a day and series, >= 0; at and below the base the rate of the base, which is the
        least that can be said there.
        """
        if level <= self.base:
            return self.rate_per_day
        counts, levels = self._seen()
        if level <= levels[0]:
            log_count = np.interp(level, levels[::-1], np.log(counts[::-1]))
            return math.exp(float(log_count)) / self.days
        excess = max(level - self._shift() - self.base, 0.0) / self.scale
        survival = (
            (1 + self.shape * excess) ** (-1 / self.shape) if self.shape else math.exp(-excess)
        )
        # Between the level that was seen and a higher one of the tail the rate stays.
        return min(self.rate_per_day * survival, float(counts[0]) / self.days)

    def rate_interval(self, level: float) -> Interval:
        """Return how often the calibration windows exceeded a level of at least the base.

        Returns
        -------
        Clusters a day and series, as counted, with the 95 % interval of a Poisson rate.
        """
        return rate_interval(int((self.peaks > level).sum()), self.days)

    def _seen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return counts of clusters, ascending, and the level that so many exceed, descending."""
        n_clusters = max(self.n_clusters, 1)
        counts = np.arange(min(N_SEEN_MIN, n_clusters), n_clusters + 1, dtype=np.float64)
        inner = self.peaks[N_SEEN_MIN - 1 : n_clusters - 1]  # (n_counts - 1,)
        return counts, np.append(inner, self.base)

    def _tail_level(self, count: float) -> float:
        """Return the level that the distribution says `count` clusters exceed."""
        log_ratio = math.log(self.rate_per_day * self.days / count)
        if not self.shape:
            return self.base + self.scale * log_ratio
        return self.base + self.scale * math.expm1(self.shape * log_ratio) / self.shape

    def _shift(self) -> float:
        """Return what lifts the tail to the rarest level that was seen; 0 where it is above it."""
        counts, levels = self._seen()
        return max(float(levels[0]) - self._tail_level(float(counts[0])), 0.0)


def fit_tail(
    calibration: CalibrationScores, cluster_gap_ms: float, base_quantile: float = 0.98
) -> Tail:
    """Fit how often clusters of normal windows reach which score.

    Parameters
    ----------
    calibration
        Scores of at least one window, with the time that they cover, > 0.
    cluster_gap_ms
        Scores over the base that follow one another within this time in one series are one cluster,
        >= 0.
    base_quantile
        The base is this quantile of all scores, in (0, 1).

    Returns
    -------
    The tail. With at least `N_SHAPE_MIN` clusters, scale and shape are estimated from their peaks.
    With fewer the shape is 0, and the scale is the mean excess of the peaks over the base, with the
    distance between the median score and the base added to the sum: as if one more cluster of that
    height had been seen and not counted. Of exponential scores this distance is 3.2 scales, so of
    5 clusters the scale is about 1.6 times what it should be, and of none 3.2 times.

    Raises
    ------
    ValueError
        If there are no scores, one is not finite, or they cover no time: the caller's mistake.
    """
    scores = calibration.scores
    if not len(scores) or not np.isfinite(scores).all() or not calibration.exposure_ms > 0:
        message = (
            "a tail needs finite scores of at least one window that cover some time, received "
            f"{scores!r} over {calibration.exposure_ms!r} ms"
        )
        raise ValueError(message)
    base = float(np.quantile(scores, base_quantile, method="higher"))
    peaks = np.sort(cluster_peaks(calibration, base, cluster_gap_ms))[::-1]  # (n_clusters,)
    scale, shape = _fit_excesses(peaks - base, base - float(np.median(scores)))
    least = _TINY * max(1.0, abs(base))
    return Tail(base, max(scale, least), shape, calibration.days, peaks)


def cluster_peaks(
    calibration: CalibrationScores, level: float, cluster_gap_ms: float
) -> NDArray[np.float64]:
    """Return the highest score of each cluster over a level, shape (n_clusters,), by series."""
    order = np.argsort(calibration.series, kind="stable")
    rows = order[calibration.scores[order] > level]  # (n_over,)
    if not len(rows):
        return np.empty(0)
    is_new_series = np.diff(calibration.series[rows], prepend=-1) != 0
    # Times of different series are not compared: the first of a series begins a cluster anyway.
    is_late = np.diff(calibration.end_ms[rows], prepend=-np.inf) > cluster_gap_ms
    starts = np.flatnonzero(is_new_series | is_late)  # (n_clusters,)
    return np.maximum.reduceat(calibration.scores[rows], starts)


def _fit_excesses(excesses: NDArray[np.float64], spread: float) -> tuple[float, float]:
    """Return scale and shape for peaks over the base, given descending; see `fit_tail`."""
    n_clusters = len(excesses)
    if n_clusters < N_SHAPE_MIN:
        return (float(excesses.sum()) + spread) / max(n_clusters, 1), 0.0
    mean = float(excesses.mean())
    # Descending, so the largest has the weight 0 and the smallest the weight 1.
    weights = np.arange(n_clusters) / (n_clusters - 1)  # (n_clusters,)
    weighted = float((weights * excesses).mean())
    # Ascending weights on a descending order keep mean > 2 weighted unless all are equal.
    difference = mean - 2 * weighted
    shape = 2 - mean / difference if difference > 0 else 0.0
    shape = min(max(shape, 0.0), SHAPE_MAX)
    return mean * (1 - shape), shape
