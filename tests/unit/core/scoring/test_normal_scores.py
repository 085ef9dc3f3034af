"""What is kept of the scores of normal windows, and how rare a score is by it."""

import numpy as np
import pytest
from present import present

from stream_detector.core.scoring.normal_scores import N_KEPT_MAX, RATE_MIN, keep_scores
from stream_detector.core.scoring.tails import CalibrationScores

DAY_MS = 86_400_000.0


def day_of(scores: list[float]) -> CalibrationScores:
    """Return scores spread over a day."""
    end_ms = np.linspace(0, DAY_MS, len(scores))
    return CalibrationScores(
        np.array(scores), np.zeros(len(scores), np.intp), end_ms, DAY_MS, cluster_gap_ms=1.0
    )


def test_the_share_of_windows_that_reach_a_score_counts_the_window_itself() -> None:
    kept = keep_scores(CalibrationScores.without_times(np.arange(1.0, 10.0)))
    assert kept.p_value(9.0) == pytest.approx(2 / 10)
    assert kept.p_value(9.1) == pytest.approx(1 / 10)
    assert kept.p_value(0.0) == 1.0
    assert kept.false_alarms_per_day(9.0) is None


def test_of_many_scores_some_are_kept_with_the_least_and_the_largest() -> None:
    scores = np.random.default_rng(0).permutation(5_000).astype(np.float64)
    kept = keep_scores(CalibrationScores.without_times(scores))
    assert len(kept.scores) == N_KEPT_MAX
    assert (kept.scores[0], kept.scores[-1], kept.n_windows) == (0.0, 4_999.0, 5_000)
    assert kept.p_value(2_500.0) == pytest.approx(0.5, abs=0.002)


def test_the_rate_falls_with_the_score_to_the_lowest_that_can_be_claimed() -> None:
    rng = np.random.default_rng(1)
    kept = keep_scores(day_of(rng.exponential(size=5_000).tolist()))
    low, high = (present(kept.false_alarms_per_day(each)) for each in (6.0, 8.0))
    assert low > high > RATE_MIN
    assert kept.false_alarms_per_day(1e3) == RATE_MIN
