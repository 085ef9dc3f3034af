"""How far from normal each look may be: calibrated on windows that nothing was fitted to.

Pure. A threshold method says which level normal windows exceed how often, as long as what comes is
like what was. Features show in training how far that holds. The time of each series is cut into
fifths, and each fifth is compared with the others, as what comes is with all of them::

    farthest of a fifth      limit
    0.7 0.8 0.7 0.9 0.8      0.95: they agree, and the method's level is beyond that anyway
    0.2 0.2 0.8 0.8 0.8      1.2: another fifth may go farther than all of these
    0.6 0.9 1.4 1.7 2.3      none: it goes on to what it never was, and the look is off
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import ALL_FEATURES, SPREAD_MIN, Looks, largest
from stream_detector.core.scoring.statistics import in_scaled_unit

FitThreshold = Callable[[NDArray[np.float64]], float]
"""Returns the threshold for scores of the calibration windows, shape (n_windows,)."""

Parts = NDArray[np.intp]
"""Which fifth of its series each window is in, from 0, shape (n_windows,)."""

N_PARTS = 5

_PART_WINDOWS_MIN = 10
"""Fewest windows that share no sample in a fifth, for it to say anything."""

_NEW_SHARE_MAX = 0.1
"""Share of a fifth that may be farther from normal than all others ever were."""

_N_HABIT = 2
"""Features that wander in the eyes of a check, from which on it judges none."""

_PART_SDS = 2.0
"""Standard deviations above the mean of the fifths' farthest windows, within which the farthest
one of a further fifth is expected."""

_FAR_END = 0.999
"""Quantile of normal windows at the far end."""

_STUCK = math.log(4)
"""A feature is stuck that varies by less than a quarter of its usual variation, and of the least
that fifths are expected to show: what is calmer by little than ever before is calm."""

_SCALES_MIN: Mapping[str, float] = {
    **{"sd": _STUCK, "mean_step": _STUCK, "unchanged": 9.0, "short_shift": 1.5},
    **{"relation": 0.3, "short_relation": 0.3},
}
"""Least distance from the median at which some numbers are anomalous, others `SPREAD_MIN`, since a
short quiet training part says too little of what comes. How little a feature varies has a lower end
that training comes close to: just below it, a feature is calm, not stuck. By chance, one that
varies by some of the steps of its values does not have the same one ten times in a row. A shift is
in units of what a window itself varies by. Features that agree within a hundredth may do so within
a tenth one day, which nobody has to be woken for."""

_STEPS_MIN = 1.5
"""Least usual standard deviation, in steps of the values, of a feature that can be stuck."""

_REPEATS_MAX = 0.1
"""Largest share of its steps in which a feature that can be stuck does not change: nine in a row by
chance are then one in a billion."""

_SMALL_STEP = 0.1
"""Quantile of the steps of a feature that are not 0, which is taken for the smallest one; smaller
ones come from interpolating."""


def parts_of(
    series: NDArray[np.intp], end_ms: NDArray[np.float64], new_share: float
) -> Parts | None:
    """Return which fifth of its series each window is in, by the order of their ends.

    Parameters
    ----------
    series, end_ms
        Series and end of each window, shape (n_windows,), in any order.
    new_share
        Share of a window that the one before it does not have, (0, 1].

    Returns
    -------
    None where a fifth has too few windows to say anything: fewer than 10 that share no sample.

    Examples
    --------
    >>> parts_of(np.zeros(50, np.intp), np.arange(50.0), 1.0)[[0, 9, 10, 49]].tolist()
    [0, 0, 1, 4]
    """
    order = np.lexsort((end_ms, series))
    _, first, counts = np.unique(series[order], return_index=True, return_counts=True)
    within = np.arange(len(order)) - np.repeat(first, counts)  # (n_windows,)
    parts = np.empty(len(order), np.intp)
    parts[order] = within * N_PARTS // np.repeat(counts, counts)
    n_apart = np.bincount(parts, minlength=N_PARTS).min() * new_share
    return parts if n_apart >= _PART_WINDOWS_MIN else None


def resolutions(scaled: FloatArray) -> NDArray[np.float64]:
    """Return the smallest step of each feature, as its values come in steps; see `coarse_looks`.

    Parameters
    ----------
    scaled
        Scaled windows, shape (n_windows, n_steps, n_features).

    Returns
    -------
    Shape (n_features,), unit: that of the scaled signal; 0 of a feature that never changes.
    """
    steps = np.abs(np.diff(scaled, axis=1)).reshape(-1, scaled.shape[2])  # (n_all, n_features)
    changes = [each[each > 0] for each in steps.T]
    return np.array([np.quantile(each, _SMALL_STEP) if len(each) else 0.0 for each in changes])


def coarse_looks(
    looks: Looks, values: NDArray[np.float64], smallest: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which looks of the check `flat` are at features whose values come in large steps.

    A feature that usually varies by a step or two of its values, such as a count or a rounded
    value, repeats its value whenever it is calm. Nobody can tell that from being stuck.

    Parameters
    ----------
    looks
        Their signs say what is looked for.
    values
        Numbers of normal windows; see `Looks.values`. n_windows >= 1.
    smallest
        From `resolutions`.

    Returns
    -------
    Shape (n_looks,).
    """
    is_flat, is_sd = looks.is_of("flat"), looks.is_at("sd")
    usual = np.zeros(len(smallest))
    for row in np.flatnonzero(is_flat & is_sd).tolist():
        usual[looks.features[row]] = in_scaled_unit("sd", float(np.median(values[:, row])))
    found: NDArray[np.bool_] = is_flat & (usual < _STEPS_MIN * smallest)[looks.features]
    return found


def repeating_looks(looks: Looks, scaled: FloatArray) -> NDArray[np.bool_]:
    """Return which looks ask how long features have not changed that often do not.

    Parameters
    ----------
    looks
        Of any number of features.
    scaled
        See `resolutions`.

    Returns
    -------
    Shape (n_looks,): True of features that stay where they are in more than a tenth of their
    steps, such as a count or a rounded value: in a quiet hour they do so in many in a row.
    """
    share = (scaled[:, 1:] == scaled[:, :-1]).mean(axis=(0, 1))  # (n_features,)
    found: NDArray[np.bool_] = looks.is_at("unchanged") & (share > _REPEATS_MAX)[looks.features]
    return found


def wandering_looks(looks: Looks, values: NDArray[np.float64], parts: Parts) -> NDArray[np.bool_]:
    """Return which looks at one feature do not know what is normal, since that changed in training.

    Parameters
    ----------
    looks, values
        As in `coarse_looks`.
    parts
        From `parts_of`.

    Returns
    -------
    Shape (n_looks,): True where in some fifth more than a tenth of the windows are farther from
    normal than all windows of the other fifths. So a level that rises for days is, and one that
    goes up and down every day is not.
    """
    distances = _distances(looks, values)
    farthest = _farthest(distances, parts)  # (N_PARTS, n_looks)
    is_wandering = np.zeros(len(looks), dtype=np.bool_)
    for part in range(N_PARTS):
        others = np.maximum(np.delete(farthest, part, axis=0).max(axis=0), _least(looks))
        is_wandering |= (distances[parts == part] > others).mean(axis=0) > _NEW_SHARE_MAX
    return is_wandering & _may_wander(looks)


def habitual_looks(looks: Looks, is_wandering: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which looks belong to checks in which features wander as a habit.

    Where one of many features went on to new values within the training time, others will in what
    comes, and nobody knows which. Two make a habit; one alone may have reasons of its own.

    Parameters
    ----------
    looks
        Of any number of features.
    is_wandering
        From `wandering_looks`.

    Returns
    -------
    Shape (n_looks,): the looks at single features of checks of which two features wander or more.
    """
    found = np.zeros(len(looks), dtype=np.bool_)
    for check in dict.fromkeys(looks.checks):
        is_of = looks.is_of(check)
        if len(np.unique(looks.features[is_of & is_wandering])) >= _N_HABIT:
            found |= is_of & _may_wander(looks)
    return found


def calibrate_looks(
    looks: Looks, values: NDArray[np.float64], fit: FitThreshold, parts: Parts | None = None
) -> Looks:
    """Calibrate looks on normal windows, so that the largest ratio of a window exceeds 1 as stated.

    Parameters
    ----------
    looks
        From `looks_of`.
    values
        Numbers of windows that nothing was fitted to; see `Looks.values`. n_windows >= 1.
    fit
        Fits a threshold to scores, at the stated level. It is asked for each look, for the largest
        look of each check, and for the largest of all: the more looks there are, the farther from
        normal each of them must be.
    parts
        From `parts_of`; then no look at one feature is anomalous within what another fifth of the
        time is expected to show.
    """
    distances = _distances(looks, values)  # (n_windows, n_looks)
    ends = np.maximum(np.quantile(distances, _FAR_END, axis=0), SPREAD_MIN)  # (n_looks,)
    thresholds = [
        fit(np.maximum(each, 0)) if sign else 1.0
        for each, sign in zip((distances / ends).T, looks.signs, strict=True)
    ]
    looks = replace(looks, middles=np.median(values, axis=0))
    least, scales = _least(looks), ends * np.array(thresholds)  # (n_looks,) each
    # Of numbers that normal windows hardly ever have, the scale may be next to nothing. In units of
    # it the largest ratios would be theirs alone, and make all other looks less sensitive.
    floors = np.where(looks.is_at("unchanged") | looks.is_of("relation"), least, 0)

    def ratios() -> NDArray[np.float64]:  # (n_windows, n_looks)
        return replace(looks, scales=np.maximum(scales, floors)).ratios(values)

    in_units = ratios()
    for check in dict.fromkeys(looks.checks):
        is_of = looks.is_of(check)
        if looks.signs[is_of].any():
            scales[is_of] *= fit(largest(in_units[:, is_of]))
    scales *= fit(largest(ratios()))
    if parts is not None:
        scales = np.maximum(scales, _expected(looks, distances, parts))
    return replace(looks, scales=np.maximum(scales, least))


def _expected(looks: Looks, distances: NDArray[np.float64], parts: Parts) -> NDArray[np.float64]:
    """Return how far from normal another fifth of the time is expected to go, shape (n_looks,)."""
    farthest = _farthest(distances, parts)  # (N_PARTS, n_looks)
    expected = farthest.mean(axis=0) + _PART_SDS * farthest.std(axis=0, ddof=1)
    is_variation = looks.is_at("sd") | looks.is_at("mean_step")
    return np.where(_may_wander(looks), expected + np.where(is_variation, _STUCK, 0.0), 0.0)


def _distances(looks: Looks, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far numbers are from their medians, shape (n_windows, n_looks)."""
    distances: NDArray[np.float64] = (values - np.median(values, axis=0)) * looks.signs
    return distances


def _farthest(distances: NDArray[np.float64], parts: Parts) -> NDArray[np.float64]:
    """Return the largest distances in each fifth, shape (N_PARTS, n_looks)."""
    return np.stack([distances[parts == part].max(axis=0) for part in range(N_PARTS)])


def _least(looks: Looks) -> NDArray[np.float64]:
    """Return the least distance at which each look may be anomalous, shape (n_looks,)."""
    return np.array([_SCALES_MIN.get(name, SPREAD_MIN) for name in looks.statistics])


def _may_wander(looks: Looks) -> NDArray[np.bool_]:
    """Return which looks compare a feature with what it was in training, shape (n_looks,).

    The course of all features is of no single one, and a shift is from a feature's own past.
    """
    found: NDArray[np.bool_] = (looks.features != ALL_FEATURES) & ~looks.is_at("short_shift")
    return found
