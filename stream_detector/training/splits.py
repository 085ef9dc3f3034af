"""Share the normal training windows out between fitting a network and calibrating its threshold.

Windows that are whole records are shared out at random, windows cut from samples by blocks of
time: overlapping windows share samples, and a threshold fitted to windows that the network has
seen most of would be too low.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import is_fitted
from stream_detector.core.scoring.thresholds import N_WINDOWS_MIN
from stream_detector.datasets import Dataset
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.errors import DatasetError
from stream_detector.recipes import Recipe

N_NORMAL_MIN = 20
"""With fewer normal windows there is too little to learn from and to calibrate on."""

N_FIT_MIN = 10
"""Fewest windows that a network is fitted to."""

BLOCK_SPANS = 16
_HELD_OUT_BLOCKS_MIN = 2
"""A held-out block is `BLOCK_SPANS` windows long, or shorter if that is needed to have
`_HELD_OUT_BLOCKS_MIN` of them."""

Rows = NDArray[np.intp]
"""Numbers of training windows of a data set, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Normal windows by use, unscaled; each (n_windows, n_steps, n_features).

    Parameters
    ----------
    fit
        Windows that the network and the scaling are fitted to.
    calibrate
        Windows that the threshold is fitted to: others, or the same with
        `threshold.calibrate_on = "train"` and `"cross-fit"`.
    fit_rows, calibrate_rows
        Which of the training windows these are.
    stream
        The windows that the network is fitted to, where `fit` are only those in memory.
    """

    fit: FloatArray
    calibrate: FloatArray
    fit_rows: Rows
    calibrate_rows: Rows
    stream: WindowStream | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One part of a cross-fit.

    Parameters
    ----------
    fit_rows
        Windows to fit to: none of them shares a sample with one of `score_rows`.
    score_rows
        Windows that what is fitted then scores.
    stream
        What a network is fitted to, where `fit_rows` are only those in memory.
    """

    fit_rows: Rows
    score_rows: Rows
    stream: WindowStream | None = None


def split_normal(recipe: Recipe, dataset: Dataset) -> Split:
    """Share the normal training windows out between fitting and calibration.

    Windows that are whole records are held out at random, windows cut from samples by blocks of
    time.

    Raises
    ------
    DatasetError
        If there are too few normal windows, or too few to fit to or to calibrate on.
    """
    normal = normal_rows(dataset)
    if len(normal) < N_NORMAL_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_NORMAL_MIN} normal windows to train on, "
            f"received {len(normal)} of {len(dataset.train)}; add more, and label normal ones 0"
        )
        raise DatasetError(message)
    if recipe.threshold.calibrate_on != "held-out":
        windows = dataset.normal_train
        return Split(windows, windows, normal, normal, dataset.stream)
    stream = dataset.stream
    if recipe.window.record == "samples":
        fit, held_out, stream = _split_by_time(recipe, dataset, normal)
    else:
        fit, held_out = _split_at_random(recipe, normal)
        stream = None if stream is None else stream.without(held_out)
    if len(fit) < N_FIT_MIN or len(held_out) < N_WINDOWS_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_FIT_MIN} normal windows to fit to and "
            f"{N_WINDOWS_MIN} others to calibrate the threshold on, received {len(fit)} and "
            f"{len(held_out)} of {len(normal)} that share no sample; {remedy(recipe, dataset)}"
        )
        raise DatasetError(message)
    return Split(dataset.train[fit], dataset.train[held_out], fit, held_out, stream)


def normal_rows(dataset: Dataset) -> Rows:
    """Return which training windows are labelled normal; all of them if there are no labels."""
    if dataset.train_labels is None:
        return np.arange(len(dataset.train))
    return np.flatnonzero(dataset.train_labels == 0)


def assign_folds(recipe: Recipe, dataset: Dataset) -> tuple[Fold, ...]:
    """Return the parts of a cross-fit: every normal training window is scored in one of them.

    Windows that are whole records are assigned at random. Those cut from samples are assigned by
    blocks of time, which alternate between the folds; what is scored in a fold shares no sample
    with what is fitted to in it. Where no check of the recipe looks at what is fitted, there is one
    part with all windows.

    Raises
    ------
    DatasetError
        If a fold would be fitted to too few windows.
    """
    n_folds, normal = recipe.threshold.folds, normal_rows(dataset)
    stream = dataset.stream
    if recipe.check and not any(is_fitted(each.kind) for each in recipe.check):
        return (Fold(normal, normal, None if stream is None else stream.without(normal)),)
    found = _folds(recipe, dataset, normal)
    n_fewest = min(len(fold.fit_rows) for fold in found)
    if n_fewest < N_FIT_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_FIT_MIN} normal windows to fit to in each "
            f"of {n_folds} folds, received {n_fewest} of {len(normal)} that share no sample with "
            f"those to calibrate on; {remedy(recipe, dataset)}"
        )
        raise DatasetError(message)
    return tuple(found)


def cross_fit(
    folds: Sequence[Fold], fit_and_score: Callable[[Fold], NDArray[np.float64]]
) -> tuple[Rows, NDArray[np.float64]]:
    """Score every window by what was not fitted to it.

    Parameters
    ----------
    folds
        As `assign_folds` gives them.
    fit_and_score
        Fits to the `fit_rows` of a fold, and returns a score for each of its `score_rows`, or
        several, shape (n_rows, ...).

    Returns
    -------
    All scored rows, ascending, and their scores in that order, shape (n_windows, ...).

    Examples
    --------
    Each window is scored by the distance from the mean of the other fold:

    >>> values = np.array([0.0, 10.0, 2.0, 20.0])
    >>> folds = [Fold(np.array([1, 3]), np.array([0, 2])), Fold(np.array([0, 2]), np.array([1, 3]))]
    >>> cross_fit(folds, lambda fold: abs(values[fold.score_rows] - values[fold.fit_rows].mean()))
    (array([0, 1, 2, 3]), array([15.,  9., 13., 19.]))
    """
    scores = np.concatenate([fit_and_score(fold) for fold in folds])
    rows = np.concatenate([fold.score_rows for fold in folds])  # (n_windows,)
    order = np.argsort(rows, kind="stable")
    return rows[order], scores[order]


def remedy(recipe: Recipe, dataset: Dataset) -> str:
    """Return how there are more windows to calibrate a threshold on."""
    more = "add more data"
    if dataset.stream is not None:
        more = "hold more windows, by data.n_windows_in_memory"
    if recipe.window.record == "samples":
        more += ", take fewer window.steps"
    if recipe.threshold.calibrate_on == "train":
        return more
    if recipe.threshold.calibrate_on == "cross-fit":
        return f"{more}, or set threshold.calibrate_on = 'train'"
    return (
        f"{more}, or set a larger threshold.calibration_share, or "
        "threshold.calibrate_on = 'cross-fit' or 'train'"
    )


def _split_at_random(recipe: Recipe, normal: Rows) -> tuple[Rows, Rows]:
    """Return which windows that are whole records to fit to, and which to hold out."""
    order = np.random.default_rng(recipe.training.seed).permutation(len(normal))
    share = round(recipe.threshold.calibration_share * len(normal))
    n_held_out = min(max(share, 1), len(normal) - 1)
    # Sorted, so that the order within a part does not depend on the draw.
    return normal[np.sort(order[n_held_out:])], normal[np.sort(order[:n_held_out])]


def _folds(recipe: Recipe, dataset: Dataset, normal: Rows) -> list[Fold]:
    """Return the folds that score something, whatever they are fitted to."""
    stream, n_folds = dataset.stream, recipe.threshold.folds
    if recipe.window.record == "samples":
        if stream is not None:
            return _streamed_folds(recipe, stream, normal)
        folds = fold_blocks(*window_times(recipe, dataset, normal), n_folds)
    else:
        numbers = np.random.default_rng(recipe.training.seed).permutation(len(normal)) % n_folds
        folds = [(numbers != fold, numbers == fold) for fold in range(n_folds)]
    return [
        Fold(normal[fit], scored, None if stream is None else stream.without(scored))
        for fit, score in folds
        if len(scored := normal[score])
    ]


def _streamed_folds(recipe: Recipe, stream: WindowStream, normal: Rows) -> list[Fold]:
    """Return the folds of windows of which only the normal ones of some rows are in memory."""
    every = np.flatnonzero(stream.is_used)  # normal, as the others
    series, starts_ms, ends_ms = stream_times(recipe, stream)
    found = []
    times = series[every], starts_ms[every], ends_ms[every]
    for masks in fold_blocks(*times, recipe.threshold.folds):
        fit, score = (np.isin(stream.rows[normal], every[mask]) for mask in masks)
        is_fit = np.zeros(len(stream.is_used), np.bool_)
        is_fit[every[masks[0]]] = True
        if score.any():
            found.append(Fold(normal[fit], normal[score], stream.only(is_fit)))
    return found


def _split_by_time(
    recipe: Recipe, dataset: Dataset, normal: Rows
) -> tuple[Rows, Rows, WindowStream | None]:
    """Share out overlapping windows so that no sample is used for both fitting and calibration."""
    stream = dataset.stream
    if stream is None:
        times = window_times(recipe, dataset, np.arange(len(dataset.train)))
    else:
        times = stream_times(recipe, stream)
    rest, held_out = hold_out_blocks(*times, recipe.threshold.calibration_share)
    if stream is not None:
        stream = stream.only(rest)
        rest, held_out = rest[stream.rows], held_out[stream.rows]
    return normal[rest[normal]], normal[held_out[normal]], stream


def stream_times(
    recipe: Recipe, stream: WindowStream
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return what `window_times` does, of all training windows in a file."""
    if stream.series is None or stream.start_ms is None:
        message = "windows cut from samples need keys and times"
        raise ValueError(message)
    starts_ms = stream.start_ms.astype(np.float64)  # (n_windows,)
    return stream.series.astype(np.intp), starts_ms, starts_ms + recipe.rules.span_ms


def window_times(
    recipe: Recipe, dataset: Dataset, rows: Rows
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return series, start and end in milliseconds of some training windows, each (n_rows,)."""
    starts, keys = dataset.train_timestamps_ms, dataset.train_keys
    if starts is None or keys is None:
        message = f"data {dataset.name}: windows cut from samples need keys and times"
        raise ValueError(message)
    series = np.unique(np.array(keys), return_inverse=True)[1]  # (n_windows,)
    starts_ms = starts[rows].astype(np.float64)  # (n_rows,)
    return series[rows], starts_ms, starts_ms + recipe.rules.span_ms


def fold_blocks(
    series: NDArray[np.intp],
    starts_ms: NDArray[np.float64],
    ends_ms: NDArray[np.float64],
    n_folds: int,
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Assign overlapping windows to folds by blocks of time.

    Parameters
    ----------
    series, starts_ms, ends_ms
        As in `hold_out_blocks`.
    n_folds
        Number of folds, >= 2.

    Returns
    -------
    Of each fold two masks, shape (n_windows,): windows that share no sample with those of the
    fold, and the windows of the fold. Every window is in one fold.

    Examples
    --------
    >>> starts_ms = np.arange(0.0, 100.0)
    >>> folds = fold_blocks(np.zeros(100, int), starts_ms, starts_ms + 1, 2)
    >>> [(int(fit.sum()), int(score.sum())) for fit, score in folds]
    [(42, 52), (46, 48)]
    """
    numbers = np.zeros(len(series), dtype=np.intp)
    each_series = np.unique(series)
    for at, one in enumerate(each_series):
        rows = np.flatnonzero(series == one)  # (n_rows,)
        begins, _ = _blocks(starts_ms[rows], ends_ms[rows], 1 / n_folds)
        # Short series have one block, so each begins with another fold.
        numbers[rows] = (begins.astype(np.intp) + at) % n_folds
    folds = []
    for fold in range(n_folds):
        is_scored = numbers == fold
        is_free = np.zeros(len(series), dtype=np.bool_)
        for one in each_series:
            rows = np.flatnonzero(series == one)  # (n_rows,)
            held = rows[is_scored[rows]]
            n_begun = np.searchsorted(np.sort(starts_ms[held]), ends_ms[rows], "right")
            n_ended = np.searchsorted(np.sort(ends_ms[held]), starts_ms[rows], "left")
            is_free[rows] = n_begun == n_ended
        folds.append((is_free, is_scored))
    return folds


def hold_out_blocks(
    series: NDArray[np.intp],
    starts_ms: NDArray[np.float64],
    ends_ms: NDArray[np.float64],
    share: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Split overlapping windows by blocks of time, so that no sample is in both parts.

    Overlapping windows share samples. If single windows were held out at random, nearly all
    samples of a held-out window would also be in windows that the network is trained on, and a
    threshold fitted to such windows would be too low. The blocks are spread over the whole time,
    since a signal drifts and its end differs from the rest.

    Parameters
    ----------
    series
        Number of each window's series, shape (n_windows,).
    starts_ms, ends_ms
        Times of first and last samples, shape (n_windows,), milliseconds.
    share
        Share of the time to hold out, in (0, 1).

    Returns
    -------
    Two masks, shape (n_windows,): windows outside all held-out blocks, and windows inside one of
    them. Windows across a border are in neither. The second mask is empty for a series too short
    for a block that holds a window.

    Examples
    --------
    >>> starts_ms = np.arange(0.0, 100.0)
    >>> rest, held_out = hold_out_blocks(np.zeros(100, int), starts_ms, starts_ms + 1, 0.2)
    >>> int(rest.sum()), int(held_out.sum())
    (78, 18)
    """
    rest = np.zeros(len(series), dtype=np.bool_)
    held_out = np.zeros(len(series), dtype=np.bool_)
    for one in np.unique(series):
        rows = np.flatnonzero(series == one)  # (n_rows,)
        first, last = _blocks(starts_ms[rows], ends_ms[rows], share)  # (n_rows,)
        held_out[rows] = (first == last) & _is_held_out(first, share)
        rest[rows] = ~_is_held_out(first, share) & ~_is_held_out(last, share)
    return rest, held_out


def _blocks(
    starts_ms: NDArray[np.float64], ends_ms: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return in which blocks of time, numbered from 0, windows of a series begin and end."""
    starts, ends = starts_ms - starts_ms.min(), ends_ms - starts_ms.min()  # (n_rows,)
    longest = ends.max() * share / _HELD_OUT_BLOCKS_MIN
    block_ms = max(min(BLOCK_SPANS * float((ends - starts).max()), longest), 1e-9)
    return np.floor(starts / block_ms), np.floor(ends / block_ms)


def _is_held_out(blocks: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return which blocks, numbered from 0, are held out: the given share, evenly spread."""
    return np.floor((blocks + 1) * share + 0.5) > np.floor(blocks * share + 0.5)
