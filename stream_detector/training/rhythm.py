"""Which intervals between the peaks of training windows say what is normal."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.rhythm import RHYTHM
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets import Dataset
from stream_detector.errors import DatasetError
from stream_detector.recipes import Recipe
from stream_detector.training.splits import N_NORMAL_MIN, Rows, stream_times, window_times


def pause_ms(recipe: Recipe) -> float:
    """Return how long a pause is, in whole steps; 0 where the recipe does not say."""
    rules = recipe.rules
    return 0.0 if rules.peaks is None else rules.peaks.n_pause * rules.sample_interval_ms


def normal_intervals(recipe: Recipe, dataset: Dataset, rows: Rows) -> PeakIntervals | None:
    """Return the intervals of normal windows, by which the check `rhythm` is calibrated.

    A normal beat that follows an anomalous one comes too late, and what follows a pause comes after
    who knows how long. Their intervals say nothing of what is normal, and the median stands in
    their place.

    Parameters
    ----------
    recipe
        Its checks decide.
    dataset
        The windows.
    rows
        Which of them are normal.

    Returns
    -------
    Of these windows; None where the recipe has no check `rhythm`.

    Raises
    ------
    DatasetError
        If there are too few intervals between normal windows.
    """
    intervals = dataset.train_intervals
    if intervals is None or all(each.kind != RHYTHM for each in recipe.check):
        return None
    follows, follows_second = _after_strange(recipe, dataset)
    is_normal = ~follows[rows] & (intervals.since_ms[rows] < pause_ms(recipe))  # (n_rows,)
    if is_normal.sum() < N_NORMAL_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_NORMAL_MIN} intervals between two normal "
            f"peaks for the check 'rhythm', received {int(is_normal.sum())}; add more data, or "
            "leave the check out"
        )
        raise DatasetError(message)
    median_ms = float(np.median(intervals.since_ms[rows][is_normal]))
    has_before = is_normal & ~follows_second[rows]
    return PeakIntervals(
        np.where(is_normal, intervals.since_ms[rows], median_ms),
        np.where(has_before, intervals.before_ms[rows], 0.0),
        np.zeros(len(rows), dtype=np.bool_),
    )


def _after_strange(recipe: Recipe, dataset: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which training windows follow a strange one, and which follow one that does.

    What a window follows may be one of those that are not in memory.
    """
    stream = dataset.stream
    if stream is not None:
        is_strange, held = stream.is_train & ~stream.is_used, stream.rows
        series, starts_ms, _ = stream_times(recipe, stream)
    else:
        held, labels = np.arange(len(dataset.train)), dataset.train_labels
        is_strange = np.zeros(len(held), np.bool_) if labels is None else labels != 0
        series, starts_ms, _ = window_times(recipe, dataset, held)
    order = np.lexsort((starts_ms, series))
    is_same = np.diff(series[order]) == 0
    follows = np.zeros_like(is_strange)
    follows[order[1:]] = is_strange[order[:-1]] & is_same
    follows_second = np.zeros_like(is_strange)
    follows_second[order[1:]] = follows[order[:-1]] & is_same
    return follows[held], follows_second[held]
