"""Scores as columns."""

import numpy as np

from stream_detector.core.results import Scores


def test_scores_compare_with_the_threshold_as_doubles() -> None:
    errors = np.array([0.1, np.nextafter(0.1, 1), np.nextafter(0.1, 0)])
    scores = Scores(np.arange(3), errors, 0.1)
    assert len(scores) == 3
    assert scores.is_anomalous.tolist() == [False, True, False]
    assert (scores.anomaly_scores > 1).tolist() == [False, True, False]


def test_no_scores_are_no_anomalies() -> None:
    scores = Scores(np.empty(0, np.intp), np.empty(0), 0.1)
    assert scores.is_anomalous.shape == scores.anomaly_scores.shape == (0,)
