"""What normal windows scored, by which a score can be put in words: how rare it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.tails import CalibrationScores, Tail, fit_tail

RATE_MIN = 1e-3
"""Lowest rate that is named, once in three years: days of data say nothing of rarer things,
whatever the tail gives for them."""

N_KEPT_MAX = 1_024
"""Most scores that are kept, evenly spread over all."""


@dataclass(frozen=True, slots=True, eq=False)
class NormalScores:
    """Scores of normal windows that nothing was fitted to.

    Parameters
    ----------
    scores
        Some of them, ascending, float64, shape (n_kept,), n_kept >= 1, the least and the largest
        included.
    n_windows
        How many there were.
    tail
        How often a day they reach which score; None where windows have no times.
    """

    scores: NDArray[np.float64]
    n_windows: int
    tail: Tail | None

    def p_value(self, score: float) -> float:
        """Return the share of normal windows that are expected to reach a score, in (0, 1].

        Notes
        -----
        The window itself counts as one of them, as in conformal prediction, so that it is never 0.

        Examples
        --------
        >>> calibration = NormalScores(np.array([1.0, 2.0, 3.0]), 3, None)
        >>> calibration.p_value(3.0), calibration.p_value(3.1)
        (0.5, 0.25)
        """
        n_kept = len(self.scores)
        n_reached = n_kept - int(np.searchsorted(self.scores, score, side="left"))
        share = n_reached / n_kept
        return (share * self.n_windows + 1) / (self.n_windows + 1)

    def false_alarms_per_day(self, score: float) -> float | None:
        """Return how often a day a normal series reaches a score; None without times.

        Never below `RATE_MIN`.
        """
        return None if self.tail is None else max(self.tail.rate_above(score), RATE_MIN)


def keep_scores(calibration: CalibrationScores) -> NormalScores:
    """Return what is kept of the scores of normal windows.

    Parameters
    ----------
    calibration
        At least one score.
    """
    ordered = np.sort(calibration.scores)  # (n_windows,)
    n_windows = len(ordered)
    kept = np.unique(np.linspace(0, n_windows - 1, min(n_windows, N_KEPT_MAX)).round())
    tail = fit_tail(calibration, calibration.cluster_gap_ms) if calibration.has_times else None
    return NormalScores(ordered[kept.astype(np.intp)], n_windows, tail)
