"""How well scores of samples fit labels of samples: VUS-PR, affiliation, NAB, point adjustment.

Pure. Each function judges one series, whose samples are in the order of time. What a person wants
to know (faults found, false alarms a day) is in `stream_detector.core.stream_evaluation`; the
metrics here are those by which publications compare detectors.

Notes
-----
Sources: J. Paparrizos, P. Boniol, T. Palpanas, R. S. Tsay, A. Elmore, M. J. Franklin (2022),
"Volume Under the Surface", PVLDB 15, in the definition of `RangeAUC_volume_opt` of the package
TSB-AD 1.5, whose code was read. A. Huet, J. M. Navarro, D. Rossi (2022), "Local Evaluation of Time
Series Anomaly Detection Algorithms", KDD, and the code of ahstat/affiliation-metrics-py, which was
read. A. Lavin, S. Ahmad (2015), "Evaluating Real-time Anomaly Detection Algorithms", and
`nab/sweeper.py` of numenta/NAB, which was read. The papers themselves were not read.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]
"""0 normal and 1 anomalous, shape (n_samples,)."""

Runs = NDArray[np.intp]
"""First row of each run, and the row after its last, shape (n_runs, 2)."""

VUS_WINDOW = 100
"""Widest margin around an event that VUS-PR gives some credit for, in samples, both sides."""

VUS_THRESHOLDS = 250

_CELLS = 4
"""Parts of a sample in the integrals of the affiliation: between two multiples of a quarter each
integrand is a straight line, so its value in the middle gives the integral exactly."""

_NAB_FALSE = 0.11
"""Weight of a false positive in NAB's standard profile; the weights of the others are 1."""

_NAB_FAR = 3.0
"""Widths of a window behind it from which on a false positive costs its full weight."""


class Affiliation(NamedTuple):
    """Affiliation of predicted with labelled events.

    Parameters
    ----------
    precision
        How near predictions are to events, [0, 1]; .5 is chance. NaN without a prediction.
    recall
        How near events are to predictions, [0, 1]; 0 without a prediction. NaN without events.
    """

    precision: float
    recall: float


def find_runs(mask: NDArray[np.bool_]) -> Runs:
    """Return the runs of True.

    Examples
    --------
    >>> find_runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2)


def vus_pr(
    scores: NDArray[np.float64],
    labels: Labels,
    window: int = VUS_WINDOW,
    n_thresholds: int = VUS_THRESHOLDS,
) -> float:
    """Return the volume under the surface of precision and recall, [0, 1].

    The labels are widened by a margin that fades out, and the area under the curve of range-based
    precision and recall is averaged over all margins from 0 to `window` samples, of which half lies
    on either side. So a score that is a few samples early or late is not worthless.

    Parameters
    ----------
    scores
        Float64, shape (n_samples,), any unit; higher is more anomalous. NaN, which a sample before
        the first window has, counts as the lowest.
    labels
        Shape (n_samples,).
    window
        Widest margin, samples, >= 0.
    n_thresholds
        Number of thresholds, evenly spread over the ranks of the scores, >= 2.

    Returns
    -------
    NaN without events, or without samples.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1, 0, 0, 0, 0], dtype=np.int8)
    >>> round(vus_pr(labels.astype(float), labels, window=0), 3)
    1.0
    """
    runs = find_runs(labels == 1)
    if not len(runs):
        return math.nan
    n_samples = len(scores)
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    at = np.linspace(0, n_samples - 1, n_thresholds).astype(np.intp)
    thresholds = np.sort(ranked)[::-1][at]  # (n_thresholds,), descending
    # The first threshold that each sample reaches; the last one is reached by all.
    reached = np.searchsorted(-thresholds, -ranked)  # (n_samples,)
    n_predicted = np.bincount(reached, minlength=n_thresholds).cumsum()  # (n_thresholds,)
    areas = [
        _range_area(reached, runs, width, n_predicted.astype(np.float64))
        for width in range(window + 1)
    ]
    return float(np.mean(areas))


def affiliation(is_predicted: NDArray[np.bool_], labels: Labels) -> Affiliation:
    """Return the affiliation precision and recall of predictions.

    Time is divided into a zone for each event, in which every moment is nearer to that event than
    to others. The distance of a prediction from the event of its zone counts by the probability
    that a random moment of the zone is at least as far away; the distance of an event from the
    predictions of its zone likewise. Both are means over the events.

    Parameters
    ----------
    is_predicted
        Which samples are predicted to be anomalous, shape (n_samples,).
    labels
        Shape (n_samples,).

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0], dtype=np.int8)
    >>> affiliation(labels == 1, labels)
    Affiliation(precision=1.0, recall=1.0)
    """
    events = find_runs(labels == 1).astype(np.float64)  # (n_events, 2)
    if not len(events):
        return Affiliation(math.nan, math.nan)
    predicted = find_runs(is_predicted).astype(np.float64)  # (n_predicted, 2)
    between = (events[:-1, 1] + events[1:, 0]) / 2
    borders = np.concatenate([[0.0], between, [float(len(labels))]])
    precisions, recalls = [], []
    for event, zone in zip(events, np.column_stack([borders[:-1], borders[1:]]), strict=True):
        inside = np.clip(predicted, *zone)
        inside = inside[inside[:, 0] < inside[:, 1]]
        precisions.append(_zone_precision(inside, event, zone))
        recalls.append(_zone_recall(inside, event, zone))
    known = [each for each in precisions if not math.isnan(each)]
    return Affiliation(
        float(np.mean(known)) if known else math.nan,
        float(np.mean(recalls)),
    )


def nab_score(is_detected: NDArray[np.bool_], labels: Labels) -> float:
    """Return the score of the Numenta Anomaly Benchmark, standard profile; 100 is perfect.

    Of each labelled window the first detection counts, the more the earlier it is; each detection
    outside costs, the more the farther it lies behind the window before it. A detector that finds
    nothing has 0, and one with many false alarms less.

    Parameters
    ----------
    is_detected
        At which samples something is detected, shape (n_samples,): where an alert opens, rather
        than all the samples for which it lasts.
    labels
        1 within the windows around anomalies, shape (n_samples,).

    Returns
    -------
    At most 100. NaN without windows. The benchmark's probationary period is not left out: give
    the samples after it.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1, 1, 1, 0, 0], dtype=np.int8)
    >>> nab_score(np.arange(8) == 2, labels), nab_score(np.arange(8) == 99, labels)
    (100.0, 0.0)
    >>> round(nab_score(np.arange(8) == 4, labels), 2)
    92.99
    """
    windows = find_runs(labels == 1).tolist()
    if not windows:
        return math.nan
    total = 0.0
    for start, stop in windows:
        hits = np.flatnonzero(is_detected[start:stop])
        if len(hits):
            position = -(stop - start - int(hits[0])) / (stop - start)
            total += _nab_sigmoid(position) / _nab_sigmoid(-1.0)
        else:
            total -= 1.0
    for row in np.flatnonzero(is_detected & (labels != 1)).tolist():
        before = [each for each in windows if each[1] <= row]
        total += _NAB_FALSE * (_nab_past(row, before[-1]) if before else -1.0)
    return 100.0 * (total + len(windows)) / (2 * len(windows))


def point_adjusted_f1(is_predicted: NDArray[np.bool_], labels: Labels) -> float:
    """Return F1 over samples after point adjustment; not to be trusted.

    One predicted sample within an event makes all of its samples count as predicted. Random
    predictions reach high values where events are long, so the metric says little; it is here
    because many publications give it.

    Parameters
    ----------
    is_predicted
        Which samples are predicted to be anomalous, shape (n_samples,).
    labels
        Shape (n_samples,).

    Returns
    -------
    [0, 1]; NaN with neither events nor predictions.

    Examples
    --------
    >>> labels = np.array([0, 1, 1, 1, 0], dtype=np.int8)
    >>> point_adjusted_f1(np.array([False, False, True, False, False]), labels)
    1.0
    """
    adjusted = is_predicted.copy()
    for start, stop in find_runs(labels == 1).tolist():
        adjusted[start:stop] |= is_predicted[start:stop].any()
    n_hits = int((adjusted & (labels == 1)).sum())
    n_all = int(adjusted.sum()) + int((labels == 1).sum())
    return 2 * n_hits / n_all if n_all else math.nan


def _range_area(
    reached: NDArray[np.intp], runs: Runs, window: int, n_predicted: NDArray[np.float64]
) -> float:
    """Return the area under range-based precision and recall for one margin.

    Parameters
    ----------
    reached
        The first threshold that each sample reaches, shape (n_samples,).
    runs
        The events.
    window
        Margin, samples, half of it on either side.
    n_predicted
        Samples that reach each threshold, shape (n_thresholds,).
    """
    n_samples, n_thresholds = len(reached), len(n_predicted)
    weights = _widened(runs, window, n_samples)  # (n_samples,)
    hits = np.bincount(reached, weights, n_thresholds).cumsum()  # (n_thresholds,)
    margin = weights.copy()
    for start, stop in runs.tolist():
        margin[start:stop] = 0.0
    n_labelled = int((runs[:, 1] - runs[:, 0]).sum())
    # A labelled sample always counts as labelled, one in the margin only where it is predicted.
    n_margin = np.bincount(reached, margin, n_thresholds).cumsum()  # (n_thresholds,)
    recall = np.minimum(hits / (n_labelled + n_margin / 2), 1.0)
    first = _first_reached(reached, runs, window // 2)  # (n_ranges,)
    existence = np.bincount(first, minlength=n_thresholds).cumsum() / len(first)
    recall = recall * existence  # (n_thresholds,)
    return float(np.diff(recall, prepend=0.0) @ (hits / n_predicted))


def _widened(runs: Runs, window: int, n_samples: int) -> NDArray[np.float64]:
    """Return how anomalous each sample is, [0, 1]: events with margins that fade out."""
    apart = np.arange(1, window // 2 + 1)  # (n_apart,)
    fading = np.sqrt(1 - apart / max(window, 1))
    rows = np.concatenate([runs[:, 1:] - 1 + apart, runs[:, :1] - apart])  # (2 n_runs, n_apart)
    is_inside = (rows >= 0) & (rows < n_samples)
    there = np.broadcast_to(fading, rows.shape)[is_inside]
    weights = np.bincount(rows[is_inside], there, n_samples)
    for start, stop in runs.tolist():
        weights[start:stop] = 1.0
    return np.minimum(weights, 1.0)


def _first_reached(reached: NDArray[np.intp], runs: Runs, margin: int) -> NDArray[np.intp]:
    """Return the first threshold that a sample of each range reaches, shape (n_ranges,).

    A range is an event with its margins; ranges that touch or overlap are one.
    """
    is_apart = runs[:-1, 1] - 1 + margin < runs[1:, 0] - margin  # (n_runs - 1,)
    starts = runs[np.append(True, is_apart), 0] - margin
    stops = runs[np.append(is_apart, True), 1] + margin
    ends = np.column_stack([np.maximum(starts, 0), np.minimum(stops, len(reached))])
    never = np.append(reached, np.iinfo(np.intp).max)  # a place for the end of the last range
    first: NDArray[np.intp] = np.minimum.reduceat(never, ends.ravel())[::2]
    return first


def _middles(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middles of all quarters of samples in some intervals, shape (n_quarters,)."""
    cells = [
        np.arange(round(start * _CELLS), round(stop * _CELLS)) for start, stop in intervals.tolist()
    ]
    return (np.concatenate(cells) + 0.5) / _CELLS


def _zone_precision(
    inside: NDArray[np.float64], event: NDArray[np.float64], zone: NDArray[np.float64]
) -> float:
    """Return the precision of the predictions within the zone of one event; NaN without any."""
    if not len(inside):
        return math.nan
    moments = _middles(inside)
    distance = np.maximum(np.maximum(event[0] - moments, moments - event[1]), 0.0)
    nearer = np.minimum(distance, event[0] - zone[0]) + np.minimum(distance, zone[1] - event[1])
    share = (event[1] - event[0] + nearer) / (zone[1] - zone[0])  # nearer to the event than this
    return float(np.where(distance > 0, 1 - share, 1.0).mean())


def _zone_recall(
    inside: NDArray[np.float64], event: NDArray[np.float64], zone: NDArray[np.float64]
) -> float:
    """Return the recall of one event by the predictions within its zone; 0 without any."""
    if not len(inside):
        return 0.0
    moments = _middles(event[np.newaxis])
    after = np.searchsorted(inside[:, 0], moments)  # the first prediction that starts later
    stops = np.append(-np.inf, inside[:, 1])[after]
    starts = np.append(inside[:, 0], np.inf)[after]
    distance = np.maximum(np.minimum(moments - stops, starts - moments), 0.0)
    low, high = np.maximum(moments - distance, zone[0]), np.minimum(moments + distance, zone[1])
    return float((1 - (high - low) / (zone[1] - zone[0])).mean())


def _nab_sigmoid(position: float) -> float:
    """Return what a detection is worth, -1 to 1, by its place in widths of the window.

    -1 is the first sample of the window, 0 the one after its last.
    """
    return -1.0 if position > _NAB_FAR else 2 / (1 + math.exp(5 * position)) - 1


def _nab_past(row: int, window: Sequence[int]) -> float:
    """Return what a detection behind a window is worth, -1 to 0."""
    start, stop = window
    return _nab_sigmoid((row - (stop - 1)) / max(stop - start - 1, 1))
