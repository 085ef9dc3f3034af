"""Find windows that look like faults among the training windows of a fleet without labels.

What is normal shows in most machines of a fleet, if rarely: a change of load, a start. A fault
shows in one of them. So for each number that a check looks at, the farthest window of each key is
found, and a window that is much farther from normal than those of most keys is left out::

    farthest windows of 8 keys    1.1 0.9 1.0 4.2 1.3 0.8 1.0 1.2
    their median                  1.05
    left out beyond               1.58, so in one key only

With few keys nothing can be said: there, what is rare in one key may be rare in all.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import SPREAD_MIN, Looks
from stream_detector.core.timestamps import describe_time
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe
from stream_detector.text import printable, shorten

N_KEYS_MIN = 8
"""Fewest keys of which most say what is normal."""

FAR = 1.5
"""How many times as far from normal as the farthest windows of most keys a fault is at least. On
a simulated fleet of 20 without faults, one window of 2,000 was beyond 1.5."""

FAULT_SHARE_MAX = 0.1
"""Largest share of the windows that are faults. Where more of them look like some, keys differ from
each other, or have so few windows that most show little of what is normal. On simulated fleets of
20 pumps with 45 faults in eight hours, 1.7 % do (`benchmarks/fleet.py --mixed`)."""

_N_SHOWN = 5


def find_faults(
    looks: Looks, values: NDArray[np.float64], series: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which windows look like faults, shape (n_windows,).

    Parameters
    ----------
    looks
        Say on which side of normal each number is anomalous; they need not be calibrated.
    values
        Numbers of the windows, shape (n_windows, n_looks); see `Looks.values`.
    series
        Number of each window's key, from 0, shape (n_windows,).

    Returns
    -------
    False for all where there are fewer than `N_KEYS_MIN` keys.

    Examples
    --------
    >>> from stream_detector.core.scoring.checks import looks_of
    >>> looks = looks_of(("flat",), 1, has_courses=False)
    >>> values = np.zeros((24, len(looks)))  # three windows of each of eight keys
    >>> values[::3] = -1.0  # in each key one window varies less than the others
    >>> values[9] = [-1.6, -1.0, -1.0]  # and in the fourth key much less
    >>> np.flatnonzero(find_faults(looks, values, np.repeat(np.arange(8), 3)))
    array([9])
    """
    keys = np.unique(series)
    if len(keys) < N_KEYS_MIN:
        return np.zeros(len(values), dtype=np.bool_)
    distances = (values - np.median(values, axis=0)) * looks.signs  # (n_windows, n_looks)
    farthest = np.stack([distances[series == key].max(axis=0) for key in keys])
    usual = np.maximum(np.median(farthest, axis=0), SPREAD_MIN)  # (n_looks,)
    is_far: NDArray[np.bool_] = (distances > FAR * usual).any(axis=1)
    return is_far


def describe_too_many(is_fault: NDArray[np.bool_]) -> str | None:
    """Say that so many windows look like faults that none is one; None where they are fewer.

    Parameters
    ----------
    is_fault
        From `find_faults`, shape (n_windows,).
    """
    share = float(is_fault.mean())
    if share <= FAULT_SHARE_MAX:
        return None
    return (
        f"{int(is_fault.sum()):,} of {len(is_fault):,} training windows ({share:.1%}) are unlike "
        "those of most keys, too many to be faults, and none was left out: either keys differ from "
        "each other, or they have too few windows to show what most have; give more data of each, "
        "or label what is not normal"
    )


def describe_faults(
    is_fault: NDArray[np.bool_],
    keys: Sequence[str],
    start_ms: NDArray[np.int64],
    end_ms: NDArray[np.float64],
    why: str,
) -> str:
    """Say which windows were left out, and what to do about it.

    Parameters
    ----------
    is_fault
        From `find_faults` or `find_strange`, at least one is.
    keys, start_ms, end_ms
        Of the same windows.
    why
        Why they were left out, in the middle of a sentence, and how they would not be.
    """
    rows = np.flatnonzero(is_fault)
    rows = rows[np.lexsort((start_ms[rows], np.array(keys)[rows]))]
    names = [keys[row] for row in rows.tolist()]
    is_new = np.array([True, *(one != other for one, other in pairwise(names))])
    is_new[1:] |= start_ms[rows[1:]] > end_ms[rows[:-1]]
    firsts = np.flatnonzero(is_new)  # (n_spans,)
    lasts = np.append(firsts[1:], len(rows)) - 1
    spans = [
        f"{shorten(printable(names[first]), 64)} from "
        f"{describe_time(float(start_ms[rows[first]]))} to "
        f"{describe_time(float(end_ms[rows[last]]))}"
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]
    more = f", and {len(spans) - _N_SHOWN} more spans" if len(spans) > _N_SHOWN else ""
    return (
        f"{len(rows):,} of {len(is_fault):,} training windows ({len(rows) / len(is_fault):.1%}) "
        f"{why.partition(';')[0]}, and were left out: "
        f"{'; '.join(spans[:_N_SHOWN])}{more};{why.partition(';')[2]}"
    )


SEED_SHARE = 0.4
"""Share of a key's windows, those nearest its median window, that are normal to begin with."""

_N_ROUNDS, _N_MAD = 4, 5.0
"""How often what is normal grows, and how many median absolute deviations beyond the median a
window's distance to its nearest normal one may be. On records of an ECG, 3.5 left out a fifth of
all normal beats, and those that came later were then anomalous."""

_N_SERIES_MIN = 20
"""Fewest windows of a key among which the most can be told."""

_WHY_STRANGE = (
    "are unlike most of their key; look at them, and set training.trim = false to train on all "
    "that are labelled normal"
)

_N_COMPARED_MAX = 4_096
"""Most normal windows that others are compared with."""


def find_strange(windows: FloatArray, series: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which windows are unlike most windows of their key, without any label.

    What is nearest the median window of a key is normal to begin with. Then every window is normal
    that is about as near to a normal one as these are to each other; so what is normal grows, by
    windows that change little from one to the next, and stops where there is a gap.

    Parameters
    ----------
    windows
        Scaled, float32, shape (n_windows, n_steps, n_features).
    series
        Number of each window's key, from 0, shape (n_windows,).

    Returns
    -------
    Shape (n_windows,). False for all windows of a key with fewer than 20.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> windows = rng.normal(0, 0.1, (60, 8, 1)).astype(np.float32)
    >>> windows[[7, 30]] += 3
    >>> np.flatnonzero(find_strange(windows, np.zeros(60, np.intp)))
    array([ 7, 30])
    """
    found = np.zeros(len(windows), dtype=np.bool_)
    for key in np.unique(series).tolist():
        rows = np.flatnonzero(series == key)
        if len(rows) >= _N_SERIES_MIN:
            found[rows] = ~_grow(windows[rows])
    return found


def trim_strange(recipe: Recipe, dataset: Dataset) -> tuple[Dataset, str | None]:
    """Label training windows by what most of their key are like, where the recipe asks for it.

    Parameters
    ----------
    recipe
        Its `training.trim` decides.
    dataset
        The windows; labels of its training part are not used.

    Returns
    -------
    The data set, and a sentence that names the windows left out; None without any.
    """
    if not recipe.training.trim:
        return dataset, None
    keys, starts = dataset.train_keys, dataset.train_timestamps_ms
    n_windows = len(dataset.train)
    series = np.zeros(n_windows, np.intp)
    if keys is not None and recipe.window.record == "samples":
        series = np.unique(np.array(keys), return_inverse=True)[1]  # (n_windows,)
    is_strange = find_strange(dataset.train, series)  # (n_windows,)
    dataset = replace(dataset, train_labels=is_strange.astype(np.int8))
    if not is_strange.any():
        return dataset, None
    if keys is None or starts is None:
        return dataset, (
            f"{int(is_strange.sum()):,} of {n_windows:,} training windows "
            f"({is_strange.mean():.1%}) are unlike most, and were left out; set training.trim = "
            "false to train on all that are labelled normal"
        )
    ends_ms = starts.astype(np.float64) + recipe.rules.span_ms  # (n_windows,)
    return dataset, describe_faults(is_strange, keys, starts, ends_ms, _WHY_STRANGE)


def _grow(windows: FloatArray) -> NDArray[np.bool_]:
    """Return which windows of one key are normal."""
    spread = windows.std(axis=(0, 1), dtype=np.float64)  # (n_features,)
    # Around the median window, so that little is lost in products of values far from zero.
    apart = (windows - np.median(windows, axis=0)) / np.maximum(spread, np.finfo(np.float32).tiny)
    values = apart.astype(np.float32).reshape(len(windows), -1)  # (n_windows, n_values)
    distances = np.square(values).sum(axis=1)  # (n_windows,)
    is_normal = np.zeros(len(values), dtype=np.bool_)
    is_normal[np.argsort(distances, kind="stable")[: math.ceil(SEED_SHARE * len(values))]] = True
    for _ in range(_N_ROUNDS):
        nearest = _nearest(values, np.flatnonzero(is_normal))  # (n_windows,)
        middle = np.median(nearest[is_normal])
        spread = 1.4826 * np.median(np.abs(nearest[is_normal] - middle))
        is_normal = nearest <= middle + _N_MAD * spread
    return is_normal


def _nearest(values: FloatArray, normal: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the distance of each window to the nearest normal one that is not itself."""
    step = -(-len(normal) // _N_COMPARED_MAX)
    compared = normal[::step]
    others = values[compared]  # (n_compared, n_values)
    lengths = np.square(others).sum(axis=1)  # (n_compared,)
    nearest = np.empty(len(values))
    for start in range(0, len(values), _N_COMPARED_MAX):
        part = values[start : start + _N_COMPARED_MAX]
        distances = np.square(part).sum(axis=1)[:, np.newaxis] + lengths - 2 * part @ others.T
        rows = np.arange(start, start + len(part))
        distances[rows[:, np.newaxis] == compared] = np.inf
        nearest[start : start + len(part)] = np.sqrt(np.maximum(distances.min(axis=1), 0))
    return nearest
