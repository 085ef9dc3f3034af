"""Calibrate a threshold: scores with their times, and what was reached with them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Calibration
from stream_detector.core.intervals import rate_interval, share_interval
from stream_detector.core.scoring.tails import CalibrationScores, covered_ms
from stream_detector.core.scoring.thresholds import FalseAlarmsPerDayThreshold, ThresholdMethod
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe
from stream_detector.training.splits import Rows, Split, normal_rows, remedy, window_times


def calibration_scores(
    recipe: Recipe,
    dataset: Dataset,
    rows: Rows,
    scores: NDArray[np.float64],
    anomalous_scores: NDArray[np.float64] | None = None,
) -> CalibrationScores:
    """Return scores of training windows with the time that these stand for.

    Parameters
    ----------
    recipe
        Says how windows follow one another, and which alerts are one.
    dataset
        The windows.
    rows
        Which of them were scored.
    scores
        Of each of these, shape (n_rows,).
    anomalous_scores
        Of windows labelled anomalous, where there are some.
    """
    if recipe.window.record != "samples":
        return CalibrationScores.without_times(scores, anomalous_scores)
    series, _, ends_ms = window_times(recipe, dataset, rows)
    order = np.lexsort((ends_ms, series))
    rules = recipe.rules
    stride_ms = rules.stride * rules.sample_interval_ms
    if rules.peaks is not None:  # a window each peak, whatever the distance between searches
        stride_ms = max(stride_ms, _typical_distance_ms(series[order], ends_ms[order]))
    return CalibrationScores(
        scores[order],
        series[order],
        ends_ms[order],
        exposure_ms=covered_ms(series[order], ends_ms[order], stride_ms),
        cluster_gap_ms=float(recipe.alerting.close_after_ms),
        new_share=min(1.0, rules.stride / rules.n_steps),
        anomalous_scores=np.empty(0) if anomalous_scores is None else anomalous_scores,
    )


def _typical_distance_ms(series: NDArray[np.intp], end_ms: NDArray[np.float64]) -> float:
    """Return the median time between two windows of a series, 0 where none has two."""
    apart = np.diff(end_ms)[np.diff(series) == 0]
    return float(np.median(apart)) if len(apart) else 0.0


def calibration_warnings(recipe: Recipe, dataset: Dataset, split: Split) -> Iterator[str]:
    """Yield what is to be said of a threshold that is fitted to few windows, or without labels.

    Parameters
    ----------
    recipe
        Its threshold's method says how many windows it wants.
    dataset, split
        The windows.
    """
    method, n_windows = recipe.threshold.build(), len(split.calibrate)
    if n_windows < method.n_windows_wanted:
        yield (
            f"the threshold is fitted to {n_windows} normal windows, and its method wants at least "
            f"{method.n_windows_wanted}, so the rate of false alarms may be another than asked "
            f"for; {remedy(recipe, dataset)}"
        )
    if method.wants_anomalous and len(normal_rows(dataset)) == len(dataset.train):
        yield (
            f"no training window is labelled anomalous, so with threshold.method = "
            f"{recipe.threshold.method!r} the threshold is the largest score of a normal window; "
            "label some 1, or set threshold.method = 'false_alarm_share'"
        )


def describe(
    method: ThresholdMethod, calibration: CalibrationScores, threshold: float
) -> Calibration:
    """Return how often the calibration windows exceed a threshold, against what was stated.

    Parameters
    ----------
    method
        Fitted the threshold.
    calibration
        What it was fitted to.
    threshold
        The threshold.
    """
    n_above = int((calibration.scores > threshold).sum())
    n_clusters = calibration.n_clusters_above(threshold) if calibration.has_times else n_above
    if method.states_share or not calibration.has_times:
        part = calibration.new_share
        found = share_interval(n_above * part, calibration.n_effective)
    else:
        found = rate_interval(n_clusters, calibration.days)
    return Calibration(
        unit="share" if method.states_share or not calibration.has_times else "per day",
        days=calibration.days if calibration.has_times else None,
        n_clusters=n_clusters,
        stated=method.stated,
        reached=found.value,
        low=found.low,
        high=found.high,
        extrapolated=isinstance(method, FalseAlarmsPerDayThreshold)
        and method.fit_tail(calibration).is_extrapolated(method.rate_per_day),
    )


def lacks_test_part(recipe: Recipe, dataset: Dataset) -> bool:
    """Return whether a labelled test part was meant to be there, and makes no window.

    A file without labels has none unless its share is given, also where spans are left out of the
    training, which are labelled by that.

    Parameters
    ----------
    recipe
        Its data say whether there are labels, and how large the test part is.
    dataset
        The windows.
    """
    is_wanted = recipe.data.test_share not in ((0, None) if recipe.data.label == "" else (0,))
    return dataset.test_labels is not None and not len(dataset.test) and is_wanted
