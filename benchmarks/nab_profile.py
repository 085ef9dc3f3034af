"""The standard profile of the Numenta Anomaly Benchmark over many series, and its best floor.

The benchmark adds up what detections are worth over all series before it divides by what a perfect
detector has; `stream_detector.core.point_metrics.nab_score` is of one series. A series without
windows has no score of its own, and its false detections count here. The first 15 % of a series are
not scored.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.point_metrics import find_runs, nab_score

LABELLED = "n_windows"
FALSE = 0.11
"""What a detection costs before the first window of a series, or in one that has none."""

N_PAST, N_STEP = 6_400, 100
"""Samples that the windowed Gaussian knows, and after how many of them it learns again."""

DEBOUNCE = (0, 48, 96, 144, 288)
"""Samples after a detection in which the debounced Gaussian detects nothing."""

LEVELS = np.round(np.geomspace(2.0, 12.0, 40), 2)


def score_rows(rows: NDArray[np.intp], labels: NDArray[np.int8], n_skipped: int) -> dict[str, Any]:
    """Return what detections at some rows are worth.

    Parameters
    ----------
    rows
        At which samples something was detected, >= n_skipped.
    labels
        1 within windows, shape (n_samples,).
    n_skipped
        Samples at the beginning that are not scored.
    """
    judged = labels[n_skipped:]
    is_detected = np.zeros(len(judged), np.bool_)
    is_detected[np.asarray(rows, np.intp) - n_skipped] = True
    score, n_windows = nab_score(is_detected, judged), len(find_runs(judged == 1))
    n_alerts = int(is_detected.sum())
    sum_of = n_windows * (2 * score / 100 - 1) if n_windows else -FALSE * n_alerts
    shown = score if n_windows else math.nan
    return {"nab": shown, "sum": sum_of, LABELLED: n_windows, "n_alerts": n_alerts}


def pooled(scores: Sequence[Mapping[str, Any]]) -> float:
    """Return the benchmark's score of all series together; see `score_rows`."""
    n_windows = sum(each[LABELLED] for each in scores)
    return float(100 * (sum(each["sum"] for each in scores) + n_windows) / (2 * n_windows))


def score_gaussian(
    values: NDArray[np.float64], labels: NDArray[np.int8], n_skipped: int
) -> dict[str, dict[str, Any]]:
    """Return what the windowed Gaussian is worth, by debouncing and threshold.

    Parameters
    ----------
    values
        Of one feature, shape (n_samples,).
    labels, n_skipped
        See `score_rows`.
    """
    deviations = gaussian_deviations(values)
    found: dict[str, dict[str, Any]] = {}
    for n_quiet in DEBOUNCE:
        name = f"windowed Gaussian, {n_quiet} samples quiet after a detection"
        found[name] = {}
        for level in LEVELS.tolist():
            rows = debounced(np.flatnonzero(deviations > level), n_quiet)
            found[name][str(level)] = score_rows(rows[rows >= n_skipped], labels, n_skipped)
    return found


def debounced(rows: NDArray[np.intp], n_quiet: int) -> NDArray[np.intp]:
    """Return rows of which each lies more than so many samples behind the one before."""
    kept: list[int] = []
    for row in rows.tolist():
        if not kept or row - kept[-1] > n_quiet:
            kept.append(row)
    return np.array(kept, np.intp)


def gaussian_deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many deviations each value lies from the mean of those before it.

    Notes
    -----
    As `windowed_gaussian_detector.py` of numenta/NAB does: the past grows to 6,400 samples and then
    moves on by 100 at a time. The rank of a tail probability is that of the deviation.
    """
    shifted = values - values[0]
    sums, squares = (np.concatenate([[0.0], each.cumsum()]) for each in (shifted, shifted**2))
    rows = np.arange(len(values))
    moves = np.maximum(rows - N_PAST, 0) // N_STEP
    first = moves * N_STEP
    last = np.minimum(rows, N_PAST + first)
    n_known = np.maximum(last - first, 1)
    mean = (sums[last] - sums[first]) / n_known
    variance = np.maximum((squares[last] - squares[first]) / n_known - mean**2, 0.0)
    deviations: NDArray[np.float64] = np.abs(shifted - mean) / np.sqrt(np.maximum(variance, 1e-12))
    deviations[0] = 0.0
    return deviations
