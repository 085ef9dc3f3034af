"""Simple detectors whose figures stand beside those of a bundle.

A network is worth its trouble only where it beats them. Each looks at one series at a time, at all
features in units of their normal spread, and gives every sample a score; those of windows give it
when the window ends (causal), and put back on all samples of the window. Missing values are
replaced by the value before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.evaluation.offline import PointScores

Values = NDArray[np.float64]
"""Values of one series in units of normal, shape (n_samples, n_features)."""

N_STEPS = 20
"""Samples of a window of the floors that look at windows."""

_N_PROTOTYPES = 1_024
_N_NEAREST = 3
_N_AXES_MAX = 24
_EXPLAINED = 0.9
"""Share of the variance that the axes kept of PCA explain at least, up to their largest number."""

_N_RECENT = 60
_N_RUNNING = 6_400
"""Samples that the running Gaussian looks back on, as the Numenta Anomaly Benchmark's does."""

_N_DEBOUNCED = 3
_ROWS_AT_ONCE = 8_192
_TINY = 1e-9


class _Scale(NamedTuple):
    """Median and spread of each feature, shape (n_features,)."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """Windows of normal samples.

    Parameters
    ----------
    mean
        Shape (N_STEPS * n_features,).
    axes
        Directions of most variance, shape (n_axes, N_STEPS * n_features).
    prototypes
        Some windows, shape (n_prototypes, N_STEPS * n_features).
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    prototypes: NDArray[np.float64]


def score_floors(samples: Samples, train: Samples | None, seed: int = 0) -> dict[str, PointScores]:
    """Return the scores that simple detectors give samples, by the name of the detector.

    Parameters
    ----------
    samples
        What is judged.
    train
        Normal samples of the same features; those labelled 1 are left out. None, or none long
        enough for a window, leaves out the floors that learn from them, and takes the units from
        `samples`.
    seed
        Of the random scores.

    Returns
    -------
    Scores in the order of the samples. Where a floor looks at single samples, both are the same.
    """
    known = samples if train is None else _normal(train)
    scale = _scale(known.values)
    windows = None if train is None else _learn(known, scale)
    rng = np.random.default_rng(seed)
    floors: dict[str, Callable[[Values], tuple[Values, Values]]] = {
        "random": lambda values: _twice(rng.random(len(values))),
        "last value": lambda values: _twice(_last_value(values)),
        "moving z": lambda values: _twice(_moving_z(values)),
        "running Gaussian": lambda values: _twice(_running_gaussian(values)),
    }
    if windows is not None:
        floors |= {
            f"PCA of {N_STEPS} samples": lambda values: _of_windows(values, windows, _residual),
            f"3-NN of {N_STEPS} samples": lambda values: _of_windows(values, windows, _nearest),
        }
    found = {name: _nothing(len(samples)) for name in floors}
    for rows in _series_rows(samples):
        values = _filled(samples.values[rows], scale)
        for name, score in floors.items():
            found[name].causal[rows], found[name].put_back[rows] = score(values)
    return found


def _nothing(n_samples: int) -> PointScores:
    """Return scores to be filled in."""
    return PointScores(np.full(n_samples, np.nan), np.full(n_samples, np.nan))


def _series_rows(samples: Samples) -> list[NDArray[np.intp]]:
    """Return the rows of each series that has any, in the order of time."""
    groups = [np.flatnonzero(samples.series == number) for number in range(len(samples.keys))]
    return [rows[np.argsort(samples.times_ms[rows], kind="stable")] for rows in groups if len(rows)]


def _normal(samples: Samples) -> Samples:
    """Return the samples that are not labelled anomalous."""
    if samples.labels is None:
        return samples
    rows = np.flatnonzero(samples.labels == 0)
    return Samples(samples.keys, samples.series[rows], samples.times_ms[rows], samples.values[rows])


def _scale(values: NDArray[np.float64]) -> _Scale:
    """Return median and spread of each feature; a feature that never moves has a spread of 1."""
    known = np.where(np.isnan(values).all(axis=0), 0.0, values)  # no median of nothing
    middle = np.nanmedian(known, axis=0) if len(known) else np.zeros(values.shape[1])
    spread = np.nanstd(known, axis=0) if len(known) else np.ones(values.shape[1])
    return _Scale(middle.astype(np.float64), np.where(spread > _TINY, spread, 1.0))


def _filled(values: NDArray[np.float64], scale: _Scale) -> Values:
    """Return values in units of normal, missing ones replaced by those before; at first by 0."""
    scaled = (values.astype(np.float64) - scale.middle) / scale.spread
    rows = np.arange(len(scaled))[:, np.newaxis]
    at = np.maximum.accumulate(np.where(np.isnan(scaled), -1, rows), axis=0)
    filled = np.take_along_axis(scaled, np.maximum(at, 0), axis=0)
    known: Values = np.where(at < 0, 0.0, filled)
    return known


def _twice(scores: Values) -> tuple[Values, Values]:
    """Return the scores of a floor that looks at single samples, causal and put back."""
    return scores, scores


def _last_value(values: Values) -> Values:
    """Return the largest change of a feature since the sample before."""
    change: Values = np.abs(np.diff(values, axis=0, prepend=values[:1])).max(axis=1)
    return change


def _z_before(values: Values, n_before: int) -> Values:
    """Return how many deviations of the samples before a value lies off their mean.

    Returns
    -------
    Shape (n_samples, n_features), absolute; 0 for the first two samples.
    """
    rows = np.arange(len(values))
    starts = np.maximum(rows - n_before, 0)
    counts = np.maximum(rows - starts, 1)[:, np.newaxis]
    sums, squares = (
        np.concatenate([np.zeros((1, values.shape[1])), each.cumsum(axis=0)])
        for each in (values, values**2)
    )
    mean = (sums[rows] - sums[starts]) / counts
    variance = np.maximum((squares[rows] - squares[starts]) / counts - mean**2, 0.0)
    z: Values = np.abs(values - mean) / np.sqrt(variance + _TINY)
    z[:2] = 0.0
    return z


def _moving_z(values: Values) -> Values:
    """Return the largest deviation of a feature from its newest values."""
    largest: Values = _z_before(values, _N_RECENT).max(axis=1)
    return largest


def _running_gaussian(values: Values) -> Values:
    """Return the deviation from a long past that a feature has had for some samples in a row."""
    z = _z_before(values, _N_RUNNING)
    padded = np.concatenate([np.zeros((_N_DEBOUNCED - 1, z.shape[1])), z])
    held = sliding_window_view(padded, _N_DEBOUNCED, axis=0).min(axis=-1)
    largest: Values = held.max(axis=1)
    return largest


def _learn(train: Samples, scale: _Scale) -> _Windows | None:
    """Return what the floors of windows know; None if no series has enough samples."""
    parts = [
        sliding_window_view(_filled(train.values[rows], scale), N_STEPS, axis=0)
        for rows in _series_rows(train)
        if len(rows) >= N_STEPS
    ]
    if not parts:
        return None
    n_windows = sum(map(len, parts))
    every = max(n_windows // (4 * _N_PROTOTYPES), 1)
    windows = np.concatenate([part[::every].reshape(len(part[::every]), -1) for part in parts])
    mean = windows.mean(axis=0)
    centred = windows - mean
    variances, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    shares = variances[::-1].cumsum() / max(float(variances.sum()), _TINY)
    n_axes = min(int(np.searchsorted(shares, _EXPLAINED)) + 1, _N_AXES_MAX)
    chosen = np.unique(np.linspace(0, len(windows) - 1, _N_PROTOTYPES).astype(np.intp))
    return _Windows(mean, axes[:, ::-1][:, :n_axes].T, windows[chosen])


def _of_windows(
    values: Values, known: _Windows, score: Callable[[Values, _Windows], Values]
) -> tuple[Values, Values]:
    """Return the scores of windows when they end, and put back on their samples."""
    causal, put_back = np.full(len(values), np.nan), np.full(len(values), np.nan)
    if len(values) < N_STEPS:
        return causal, put_back
    views = sliding_window_view(values, N_STEPS, axis=0)  # (n_windows, n_features, N_STEPS)
    scores = np.concatenate(
        [
            score(views[at : at + _ROWS_AT_ONCE].reshape(-1, known.mean.size), known)
            for at in range(0, len(views), _ROWS_AT_ONCE)
        ]
    )  # (n_windows,)
    causal[N_STEPS - 1 :] = scores
    sums = np.convolve(scores, np.ones(N_STEPS))
    return causal, sums / np.convolve(np.ones(len(scores)), np.ones(N_STEPS))


def _residual(windows: Values, known: _Windows) -> Values:
    """Return how far windows are from the axes of most variance."""
    centred = windows - known.mean
    residual = centred - centred @ known.axes.T @ known.axes
    distance: Values = np.sqrt((residual**2).mean(axis=1))
    return distance


def _nearest(windows: Values, known: _Windows) -> Values:
    """Return the mean distance of windows from the nearest normal ones."""
    prototypes = known.prototypes
    squares = (windows**2).sum(axis=1)[:, np.newaxis] + (prototypes**2).sum(axis=1)
    squares -= 2 * windows @ prototypes.T  # (n_windows, n_prototypes)
    n_nearest = min(_N_NEAREST, len(prototypes))
    nearest = np.partition(squares, n_nearest - 1, axis=1)[:, :n_nearest]
    distance: Values = np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1)
    return distance


FLOOR_NOTES: Mapping[str, str] = {
    "random": "a random number",
    "last value": "the largest change of a feature since the sample before",
    "moving z": f"the largest deviation of a feature from its newest {_N_RECENT} values",
    "running Gaussian": (
        f"the same from up to {_N_RUNNING:,} values, held for {_N_DEBOUNCED} samples in a row"
    ),
    f"PCA of {N_STEPS} samples": "what the main directions of normal windows do not explain",
    f"3-NN of {N_STEPS} samples": (
        f"the mean distance from the nearest {_N_NEAREST} of {_N_PROTOTYPES:,} normal windows"
    ),
}
"""What each floor scores by, for reports."""
