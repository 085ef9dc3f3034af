"""The check `rhythm`: whether the peaks that windows are cut round come when they should.

Pure. A scorer looks at the course of a window; when its peak came only the windowing knows. So this
check stands beside the scorer, and lifts the scores of windows whose peak came out of time::

    peaks        |      |      |  |          |      |     . . . . . . . . .
    verdict             -      -  early      late   -             missing

A peak is `irregular` where its interval is normal by itself but not beside the one before. Limits
are those of normal windows, brought to the stated level as every other check (`checks`); how long a
pause is says the recipe.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import (
    ALL_FEATURES,
    JUST_ABOVE,
    CheckKind,
    Looks,
    lifted,
)
from stream_detector.core.scoring.explanation import (
    RhythmExplanation,
    RhythmKind,
    WindowContext,
)
from stream_detector.core.scoring.normal_scores import NormalScores
from stream_detector.core.scoring.scorer import Finding, ScoreParts, WindowScores
from stream_detector.core.windowing.pauses import PeakIntervals

RHYTHM: CheckKind = "rhythm"

_LOOKS: tuple[tuple[str, int], ...] = (("interval", -1), ("interval", 1), ("change", 1))
"""What is calibrated: the interval on both sides, and how much it differs from the one before."""

_KINDS: tuple[RhythmKind, ...] = ("early", "late", "irregular")
"""What each of these finds."""


@dataclass(frozen=True, slots=True)
class RhythmLimits:
    """Between which limits the time from one peak to the next is normal.

    Parameters
    ----------
    median_ms
        Median interval of normal windows.
    low_ms, high_ms
        A shorter interval is early, a longer one late; low_ms < median_ms < high_ms.
    change_max
        By which factor an interval may be longer or shorter than the one before, > 1.
    pause_ms
        Time without a peak that is a pause, > 0.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    change_max: float
    pause_ms: float

    def ratios(self, intervals: PeakIntervals) -> NDArray[np.float64]:
        """Return how early, late and irregular peaks are, shape (n_windows, 3).

        Above 1 beyond the limit, and 0 within it. A pause is late.
        """
        since_ms, before_ms = intervals.since_ms, intervals.before_ms
        away = np.log(since_ms / self.median_ms)  # (n_windows,)
        has_before = before_ms > 0
        factor = since_ms / np.where(has_before, before_ms, since_ms)  # (n_windows,)
        factor = np.maximum(factor, 1 / factor)
        sizes = np.stack(
            [
                away / np.log(self.low_ms / self.median_ms),
                away / np.log(self.high_ms / self.median_ms),
                np.log(factor) / np.log(self.change_max),
            ],
            axis=1,
        )
        is_beyond = np.stack(
            [
                since_ms < self.low_ms,
                (since_ms > self.high_ms) | intervals.is_pause,
                factor > self.change_max,
            ],
            axis=1,
        )
        return np.where(is_beyond, np.maximum(sizes, JUST_ABOVE), 0.0)

    def lift(self, scores: NDArray[np.float64], intervals: PeakIntervals) -> NDArray[np.float64]:
        """Return scores that are above 1 where the interval of a window is out of its limits.

        Parameters
        ----------
        scores
            Of the windows, from a scorer whose threshold is 1, shape (n_windows,).
        intervals
            Of the same windows.
        """
        return lifted(scores, self.ratios(intervals).max(axis=1, initial=0.0))


@dataclass(frozen=True, slots=True)
class RhythmCheck:
    """Finds peaks that come too early, too late, irregularly or not at all.

    Parameters
    ----------
    limits
        What is normal.
    normal
        What normal windows scored, with this check among the others.
    """

    limits: RhythmLimits
    normal: NormalScores

    def join(self, found: WindowScores, intervals: PeakIntervals) -> WindowScores:
        """Return the scores of windows, lifted, with what explains them.

        Parameters
        ----------
        found
            From a scorer whose threshold is 1.
        intervals
            Of the same windows.

        Returns
        -------
        As for each window alone. An alert names the check rhythm where nothing else is as far from
        normal, and always of a pause.
        """
        ratios = self.limits.ratios(intervals)  # (n_windows, 3)
        scores = self.limits.lift(found.scores, intervals)  # (n_windows,)

        def explain_window(index: int, context: WindowContext) -> Finding:
            finding = found.explain(index, context)
            rhythm = self._explain(intervals, ratios[index], index)
            explanation = replace(finding.explanation, rhythm=rhythm)
            finding = finding._replace(explanation=explanation)
            if rhythm.kind == "normal":
                return finding
            score = float(scores[index])
            finding = finding._replace(
                false_alarms_per_day=self.normal.false_alarms_per_day(score),
                p_value=self.normal.p_value(score),
            )
            if rhythm.kind != "missing" and ratios[index].max() <= found.scores[index]:
                return finding
            return finding._replace(check=RHYTHM, facts=rhythm)

        def parts() -> ScoreParts:
            inner = found.made_of()
            own = ratios.max(axis=1, initial=0.0, keepdims=True)  # (n_windows, 1)
            of_checks = np.concatenate([inner.of_checks, own], axis=1)
            return ScoreParts((*inner.checks, RHYTHM), of_checks, inner.of_features)

        return WindowScores(scores, explain_window, parts=parts)

    def _explain(
        self, intervals: PeakIntervals, ratios: NDArray[np.float64], index: int
    ) -> RhythmExplanation:
        """Say what is unusual about the interval of one window."""
        kind: RhythmKind = _KINDS[int(ratios.argmax())] if ratios.max() > 1 else "normal"
        if intervals.is_pause[index]:
            kind = "missing"
        limits = self.limits
        since_ms, before_ms = float(intervals.since_ms[index]), float(intervals.before_ms[index])
        return RhythmExplanation(
            kind=kind,
            interval_ms=since_ms if since_ms < limits.pause_ms else None,
            before_ms=before_ms or None,
            low_ms=limits.low_ms,
            high_ms=limits.high_ms,
            change_max=limits.change_max,
            pause_ms=limits.pause_ms,
        )


def rhythm_looks() -> Looks:
    """Return what of the rhythm is calibrated, not calibrated yet."""
    n_looks = len(_LOOKS)
    return Looks(
        checks=(RHYTHM,) * n_looks,
        statistics=tuple(name for name, _ in _LOOKS),
        features=np.full(n_looks, ALL_FEATURES),
        signs=np.array([sign for _, sign in _LOOKS], dtype=np.float64),
        middles=np.zeros(n_looks),
        scales=np.ones(n_looks),
    )


def rhythm_values(intervals: PeakIntervals) -> NDArray[np.float64]:
    """Return the numbers that `rhythm_looks` look at, shape (n_windows, 3).

    Where the interval before is not known, the median change stands in its place, which says
    nothing.

    Examples
    --------
    >>> none = np.zeros(3, bool)
    >>> intervals = PeakIntervals(np.array([800.0, 800, 400]), np.array([0.0, 800, 800]), none)
    >>> np.exp(rhythm_values(intervals)).round(3)
    array([[800.   , 800.   ,   1.414],
           [800.   , 800.   ,   1.   ],
           [400.   , 400.   ,   2.   ]])
    """
    has_before = intervals.before_ms > 0
    interval = np.log(intervals.since_ms)  # (n_windows,)
    change = np.zeros(len(intervals))
    change[has_before] = np.abs(interval - np.log(np.where(has_before, intervals.before_ms, 1.0)))[
        has_before
    ]
    if has_before.any():
        change[~has_before] = np.median(change[has_before])
    return np.stack([interval, interval, change], axis=1)


def limits_of(looks: Looks, pause_ms: float) -> RhythmLimits:
    """Return the limits that calibrated looks say.

    Parameters
    ----------
    looks
        `rhythm_looks` after their calibration.
    pause_ms
        Time without a peak that is a pause.
    """
    ends = looks.middles + looks.signs * looks.scales  # (3,)
    low_ms, high_ms, change_max = np.exp(ends).tolist()
    median_ms = float(np.exp(looks.middles[0]))
    return RhythmLimits(median_ms, low_ms, high_ms, change_max, pause_ms)
